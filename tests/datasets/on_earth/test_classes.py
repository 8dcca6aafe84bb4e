"""The classes of maps and the meaning of their values, whatever way names are written."""

import unicodedata
from dataclasses import replace

import numpy as np
import pytest

from network.datasets.on_earth.classes import label_of, text_labels, value_labels
from network.rasters.legend_files import write_attribute_table
from network.rasters.source import Source
from network.rasters.tiles import Legend
from tests.datasets.on_earth.scenes import dataset
from tests.scenes import write_bands

NAMES = ("Forêt", "Blé", "Eau")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("form_of_the_map", ["NFC", "NFD"])
def test_names_with_accents_and_outer_spaces(tmp_path, form, form_of_the_map):
    """Unicode writes an accented letter as one character or as two; both name the same class."""
    path = tmp_path / "map.tif"
    write_bands(path, np.zeros((4, 4, 1), np.uint8))
    # The map has another order, so that its values are not the labels by chance.
    stored = [f" {unicodedata.normalize(form_of_the_map, name)}" for name in reversed(NAMES)]
    write_attribute_table(path, Legend([""], stored, [(n, n, n) for n in range(3)]), [1, 2, 3])
    classes = tuple(f"{unicodedata.normalize(form, name)} " for name in NAMES)
    info = replace(dataset(), classes=classes, palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    with Source(path) as source:
        assert value_labels(path, source, info, {}, "map_values").labels == {0: 2, 1: 1, 2: 0}
    assert label_of(stored[0], info, "map_values") == 2
    assert text_labels(info, {}, "values")["Forêt"] == 0
