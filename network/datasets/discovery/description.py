"""What is found out about a data set: all that its config says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rasterio.crs import CRS

from network.datasets.discovery.classes import Proposal
from network.datasets.discovery.images import Images
from network.datasets.discovery.layout import Layout
from network.datasets.discovery.mask_classes import coding_of
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import DatasetInfo, MaskCoding
from network.errors import InputError
from network.rasters.earth_grid import Bounds, EarthGrid, between
from network.rasters.header import Header

if TYPE_CHECKING:
    from network.datasets.on_earth.split import Division

IGNORE_INDEX = 255

AREAS = "areas.gpkg"
"""Name of the file of areas that is written beside the config."""

CROPS_AN_EPOCH = 400
"""Number of training crops in an epoch, at least."""

_CROPS = (512, 384, 256, 192, 128, 96, 64, 32)

_DEGREES = CRS.from_epsg(4326)


@dataclass(frozen=True)
class Sizes:
    """Settings that fit the images.

    Attributes:
        crop: side of the training crops in pixels.
        window: side of the windows of scenes in pixels; None if the images are no scenes.
        repeat: passes over the training images in an epoch.
        mean: mean of each band, in the units of :class:`network.settings.Data`; None for three
            bands of 8 bits, which take that of the pretrained encoder.
        std: standard deviation of each band, in these units; None as for ``mean``.
        val: the split that chooses the model; None if there are too few images.
        test: the split to test on.
    """

    crop: int
    window: int | None
    repeat: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    val: str | None = "val"
    test: str = "test"


@dataclass(frozen=True)
class Description:
    """All that a config says about a data set.

    Attributes:
        info: the data set.
        images: facts of the images.
        proposal: the classes and where they come from.
        sizes: settings that fit.
        counts: number of images in each split.
        resolution: side of a pixel on the ground in meters; None if it is not known.
        division: areas that are written beside the config; None if none are needed.
        notes: what the user should know, a sentence each.
    """

    info: DatasetInfo
    images: Images
    proposal: Proposal
    sizes: Sizes
    counts: Mapping[str, int]
    resolution: float | None = None
    division: "Division | None" = None
    notes: list[str] = field(default_factory=list)


def dataset_info(
    name: str,
    layout: Layout,
    images: Images,
    proposal: Proposal,
    splits: Mapping[str, tuple],
    orientation: str | None = None,
    patch_names: str = "",
) -> DatasetInfo:
    """Make the description of a data set for its config.

    Args:
        name: its name.
        layout: the files.
        images: facts of the images.
        proposal: the classes.
        splits: folders or scenes of each split.
        orientation: how images with an EXIF orientation are read; None if there are none.
        patch_names: where names of images say the larger image that they are a part of.
    """
    coding = coding_of(proposal)
    if any(isinstance(part, Scenes) for parts in splits.values() for part in parts):
        coding = MaskCoding(ignored=tuple(coding.ignored_colors))  # their files say the rest
    return DatasetInfo(
        name=name,
        root=layout.root.as_posix(),
        classes=tuple(one.name for one in proposal.classes),
        palette=tuple(one.color for one in proposal.classes),
        ignore_index=IGNORE_INDEX,
        splits=splits,
        mask_coding=coding,
        bands=images.bands,
        bits=images.bits,
        values=images.values,
        exif_orientation=orientation,
        patch_names=patch_names,
    )


def grid_of(path: Path, header: Header) -> EarthGrid | None:
    """Make the grid of an image; None if it does not lie on Earth."""
    try:
        return EarthGrid.of(path, header.place, header.height, header.width)
    except InputError:
        return None


def box_of(path: Path, header: Header) -> Bounds:
    """Find west, south, east and north of an image on Earth in degrees."""
    grid = EarthGrid.of(path, header.place, header.height, header.width)
    return in_degrees(grid.crs, grid.bounds, path)


def in_degrees(crs: CRS, bounds: Bounds, path: Path) -> Bounds:
    """Find west, south, east and north of a box; beyond the date line, east is more than 180."""
    west, south, east, north = between(crs, _DEGREES, bounds, path)
    return west, south, east + 360 * (east < west), north


def crop_for(smallest: int) -> int:
    """Choose the side of the training crops for images whose smallest side is this."""
    return next((crop for crop in _CROPS if crop <= smallest), _CROPS[-1])


def val_and_test(splits: Mapping[str, object]) -> dict:
    """Choose the splits for the model and for the test among those that there are."""
    val = "val" if "val" in splits else None
    return {"val": val, "test": "test" if "test" in splits else val or "train"}
