"""The part of the report that shows what ``tools/explain.py`` has found in the tested network."""

from dataclasses import dataclass
from pathlib import Path

from network.datasets.files import read_rgb
from network.datasets.thumbnails import photo_uri
from network.evaluation.results import FIGURES
from network.evaluation.stamp import Stamp
from network.explanation.results import (
    CONFUSION,
    EMBEDDINGS,
    FOLDER,
    Explanation,
    read_explanation,
)

SIDE = 1400
"""Longest side of a figure, in pixels."""

MOST = 8
"""Number of figures that are shown, so that the page stays small."""


@dataclass(frozen=True)
class Explained:
    """The part of a report that shows a look inside the network.

    Attributes:
        record: the record of the look; None if it is of another checkpoint.
        figures: data URIs of the figures by their file names.
        folder: folder of the figures, below that of the test.
    """

    record: Explanation | None
    figures: dict[str, str]
    folder: str


def read_explained(folder: Path, protocol: Stamp) -> Explained | None:
    """Read the figures that lie with a test; None if there are none.

    Args:
        folder: folder of the test.
        protocol: its protocol stamp.

    Raises:
        InputError: a file is damaged.
    """
    place, shown_as = folder / FIGURES / FOLDER, f"{FIGURES}/{FOLDER}"
    record = read_explanation(place)
    if record is None:
        return None
    if record.checkpoint_sha256 != protocol.checkpoint_sha256:
        return Explained(None, {}, shown_as)
    shared = [name for name in record.figures if name in (EMBEDDINGS, CONFUSION)]
    others = [name for name in record.figures if name not in (EMBEDDINGS, CONFUSION)]
    shown = [*others[: MOST - len(shared)], *shared]
    paths = {name: place / name for name in shown}
    figures = {
        name: photo_uri(read_rgb(path), SIDE) for name, path in paths.items() if path.is_file()
    }
    return Explained(record, figures, shown_as)
