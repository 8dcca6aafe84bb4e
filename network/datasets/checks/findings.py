"""Facts about each image that the check of a data set gathers, and the faults that it finds."""

from dataclasses import dataclass
from pathlib import Path

from network.datasets.on_earth.scenes import Scenes
from network.errors import InputError
from network.rasters.earth_grid import EarthGrid


@dataclass(frozen=True)
class Finding:
    """One fault of a data set.

    Args:
        where: the file, tile or split.
        problem: what is wrong.
        remedy: what the user can do.
    """

    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


def finding_of(error: InputError) -> Finding:
    """Turn the error of a file into a finding."""
    return Finding(error.where, error.problem, error.remedy or "correct or remove the file")


@dataclass(frozen=True)
class Examined:
    """Result of the examination of one image.

    Attributes:
        split: name of its split.
        image: the image file.
        masks: mask files by label kind.
        findings: faults of the image and its masks.
        size: height and width in pixels; None if the image cannot be read.
        pixels: number of pixels of each label in the first readable mask, with the ignored ones
            last; empty without masks.
        content: hash of the decoded pixels; empty if they cannot be decoded.
        no_data: number of pixels without data.
        grid: its pixels on Earth; None if it does not say where it lies.
        scenes: the description of the scenes that it belongs to; None for an image in a folder.
    """

    split: str
    image: Path
    masks: dict[str, Path]
    findings: tuple[Finding, ...]
    size: tuple[int, int] | None = None
    pixels: tuple[int, ...] = ()
    content: str = ""
    no_data: int = 0
    grid: EarthGrid | None = None
    scenes: Scenes | None = None
