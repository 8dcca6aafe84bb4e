"""Images of a data set that are opened to be read in windows."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from network.datasets.files import check_header
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.rasters.source import Source, UnreadableImage


def open_image(image: str | Path, info: DatasetInfo, bands: Sequence[int] | None = None) -> Source:
    """Open an image and check that a network that was trained on ``info`` can predict it.

    Args:
        image: a file, or a path that GDAL understands.
        info: description of the training images.
        bands: numbers of the bands to read, from 1 on; by default all. An alpha band is one of them
            if the training images have as many bands as this image.

    Raises:
        UnreadableImage: the image cannot be opened, or has other bands or values.
    """
    try:
        source = Source(image, bands, turn=info.exif_orientation == "shown")
        try:
            header = source.header
            if bands is None and header.has_alpha and header.bands == info.bands:
                source.close()
                source = Source(image, range(1, info.bands + 1), turn=source.is_turned)
            used = header if bands is None else replace(header, bands=len(bands), has_alpha=False)
            other = source.dtypes - {info.dtype}
            if other:
                used = replace(used, dtype=other.pop())
            check_header(Path(image), used, info)
            if source.is_turned and header.place:
                raise turned_on_earth(Path(image))
        except InputError:
            source.close()
            raise
    except UnreadableImage:
        raise
    except InputError as error:
        raise UnreadableImage(*error.args) from error
    return source


def turned_on_earth(path: Path) -> InputError:
    """Make the error for an image that is turned, so that its georeference does not fit it."""
    return InputError(
        path,
        "viewers turn this image by its EXIF orientation, and it lies on Earth",
        "remove the orientation, or turn the image (gdalwarp)",
    )
