"""Description of scenes: images on Earth of any size, with labels from rasters or polygons."""

from dataclasses import dataclass

from network.datasets.on_earth.files import AreaFile, LabelFile


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Images on Earth of any size, and the files that have their labels.

    Scenes are read in windows, in training and test, so they may be larger than the memory. Their
    labels may be rasters or polygons, in any reference system. They are brought onto the grid of
    each image once, see :func:`network.datasets.on_earth.label_raster.find_label_raster`.

    All paths are relative to the root of the data set, and may be patterns such as ``*.tif``.

    Args:
        images: the images: anything that GDAL reads, such as GeoTIFF, COG, JPEG 2000 and VRT.
        labels: files of labels. Where they overlap, the last one counts. Empty if the labels are
            not public.
        areas: the areas that belong to this split; None if these are the whole images. Pixels
            outside are ignored, so an image may be in several splits.
        border: width in pixels of the band that is ignored at each side of the border between two
            classes, where polygons are seldom exact.
        bands: numbers of the bands that are read, from 1 on; empty for all.
        leave_out: images that are not used, although a pattern of ``images`` names them.
    """

    images: tuple[str, ...]
    labels: tuple[LabelFile, ...] = ()
    areas: AreaFile | None = None
    border: int = 0
    bands: tuple[int, ...] = ()
    leave_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "labels", "leave_out"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"{name} must be a tuple, such as {name}=(...,)")
        if self.border < 0:
            raise ValueError(f"border={self.border}, expected 0 or more")
