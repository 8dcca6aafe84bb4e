"""The report of a map that was scored against truth on Earth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from network.datasets.on_earth.areas import Area, Areas, open_areas
from network.datasets.on_earth.files import AreaFile, LabelFile
from network.datasets.on_earth.labels import Labels
from network.datasets.on_earth.open_labels import open_labels
from network.datasets.schema import DatasetInfo
from network.datasets.thumbnails import mask_uri
from network.datasets.windows import Window
from network.errors import InputError, listed
from network.evaluation.on_earth.open_map import SIDE, MapFile, OpenMap
from network.evaluation.records import check_counts, read_records
from network.evaluation.results import read_protocol
from network.evaluation.stamp import MapTruth, Stamp
from network.rasters.source import content_hash
from network.reporting.gallery import choose_images
from network.reporting.page import SIDES, page_context, write_page
from network.reporting.pictures import Layers, error_colors

_SAMPLED = 2 * SIDES[0]
"""Largest side of the pixels that are picked from an area, from which pictures are made."""


def write_map_report(
    folder: Path, output: Path, info: DatasetInfo | None, *, images: int = 20
) -> None:
    """Write the report of a scored map as an HTML page.

    Args:
        folder: folder with the scores of the map.
        output: the HTML file to write.
        info: description of the data set with the classes of the map; None if the map names them.
        images: number of areas to show; half are the worst, half the best.

    Raises:
        InputError: the map was not scored, or the map, the truth or the areas have changed.
    """
    protocol = read_protocol(folder)
    facts = protocol.on_earth
    if facts is None:
        raise InputError(folder, "holds no scores of a map", "give the folder of score_map.py")
    found = read_records(folder)
    check_counts(folder, found.values(), protocol.label_kinds, len(protocol.classes))
    _check_files(facts, protocol)
    file = MapFile(path=Path(facts.map), info=info, values=facts.map_values)
    with OpenMap(file) as map_:
        if map_.info.classes != protocol.classes:
            raise InputError(
                folder,
                f"the map had other classes when it was scored: {listed(protocol.classes, 30)}",
                "score it again",
            )
        gallery = choose_images(list(found.values()), protocol, map_.info, images)
        context = page_context(protocol, map_.info, list(found.values()), gallery)
        context["no_heatmaps"] = "Only the network has heatmaps, not its map."
        truth = open_labels(_truth_file(facts), map_.grid, map_.info)
        try:
            areas = _areas(facts, map_, truth.window)
            pictures = _Pictures(map_, truth.labels, areas)
            write_page(output, context, gallery, pictures.draw)
        finally:
            truth.labels.close()


def _check_files(facts: MapTruth, protocol: Stamp) -> None:
    expected = {facts.map: protocol.checkpoint_sha256, facts.truth: facts.truth_sha256}
    if facts.areas:
        expected[facts.areas] = facts.areas_sha256 or ""
    for name, digest in expected.items():
        path = Path(name)
        if not path.exists():
            raise InputError(
                path,
                "no such file, but it was there when the map was scored",
                "put it back, or score the map again",
            )
        if content_hash(path) != digest:
            raise InputError(path, "has changed since the map was scored", "score it again")


def _truth_file(facts: MapTruth) -> LabelFile:
    return LabelFile(
        path=Path(facts.truth),
        values=facts.truth_values,
        attribute=facts.attribute,
        layer=facts.layer,
        all_are=facts.all_are,
        background=facts.background,
    )


def _areas(facts: MapTruth, map_: OpenMap, window: Window) -> Areas:
    if facts.areas is None:
        return Areas([Area(map_.path.stem, window)])
    file = AreaFile(
        path=Path(facts.areas), attribute=facts.areas_attribute, layer=facts.areas_layer
    )
    return open_areas(file, map_.grid)


class _Pictures:
    """Pictures of areas, from some of their pixels; what was picked is kept for other sizes."""

    def __init__(self, map_: OpenMap, truth: Labels, areas: Areas):
        self._map, self._truth, self._areas = map_, truth, areas
        self._positions = {area.name: n for n, area in enumerate(areas.found)}
        self._picked: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def draw(self, name: str, side: int) -> Layers:
        """Draw the layers of an area: truth, prediction and errors.

        Args:
            name: name of the area.
            side: largest side of the pictures, in pixels.
        """
        if name not in self._picked:
            self._picked[name] = self._pick(self._positions[name])
        truth, prediction = self._picked[name]
        info = self._map.info
        uris = {
            "truth": mask_uri(info.to_rgb(truth), side),
            "prediction": mask_uri(info.to_rgb(prediction), side),
            "errors": mask_uri(error_colors(truth, prediction, info), side),
        }
        return Layers(uris, *truth.shape)

    def _pick(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Pick pixels of truth and map that are spread evenly over an area."""
        window, ignored = self._areas.found[position].window, self._map.info.ignore_index

        def read_truth(rows: slice, columns: slice) -> np.ndarray:
            labels = self._truth.read(rows, columns)
            labels[~self._areas.inside(position, rows, columns)] = ignored
            return labels

        truth = _thinned(read_truth, window)
        prediction = _thinned(self._map.labels.read, window)
        truth[prediction == ignored] = ignored
        return truth, prediction


def _thinned(read: Callable[[slice, slice], np.ndarray], window: Window) -> np.ndarray:
    """Read every n-th row and column of a window, part by part."""
    step = max(1, *(-(-(side.stop - side.start) // _SAMPLED) for side in window))
    length = SIDE // step * step
    rows, columns = (
        [
            slice(start, min(side.stop, start + length))
            for start in range(side.start, side.stop, length)
        ]
        for side in window
    )
    return np.block([[read(down, across)[::step, ::step] for across in columns] for down in rows])
