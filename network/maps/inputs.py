"""The images that a user means, the outputs of each, and the check that they can be predicted."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from network.datasets.files import list_images
from network.errors import InputError
from network.maps.layers import LAYERS
from network.rasters.source import is_part, is_virtual


def find_inputs(given: str) -> list[str]:
    """List the images that a user means.

    Args:
        given: an image, or a path that GDAL understands; a folder, which stands for its PNG, JPEG
            and TIFF files; a pattern such as ``tiles/*.tif``; or a text file with an image in
            each line.

    Raises:
        InputError: there is no such image.
    """
    path = Path(given)
    if is_virtual(given):
        return [given]
    if path.is_dir():
        return [str(found) for found in list_images(path).values()]
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise InputError(path, "is not UTF-8", "save it as UTF-8") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise InputError(path, "names no image", "write one path in each line")
        return found
    if any(letter in given for letter in "*?[") and not path.exists():
        found = sorted(glob.glob(given, recursive=True))
        if not found:
            raise InputError(given, "matches no file")
        return found
    return [given]


def find_outputs(images: Sequence[str | Path], output: Path) -> list[Path]:
    """Find the output of each image: a file of its name in the folder, or the given file.

    Args:
        images: the images.
        output: the folder, or for a single image the file.

    Raises:
        InputError: outputs would have the same name, or replace an image, or the folder belongs to
            a test.
    """
    if output.suffix.lower() in (".tif", ".png") and not output.is_dir():
        if len(images) > 1:
            raise InputError(output, f"is one file for {len(images)} images", "give a folder")
        if output.resolve() == Path(str(images[0])).resolve():
            raise InputError(output, "is the image itself", "choose another output")
        return [output]
    if output.is_file():
        raise InputError(output, "is a file", "choose another output")
    if (output / "protocol.json").exists():  # PROTOCOL_FILE, whose module needs torch
        what = "holds the results of a test script, or of predict.py before it wrote maps"
        raise InputError(output, what, "choose another output")
    found: dict[str, str | Path] = {}
    for image in images:
        path = Path(str(image))
        if path.resolve().parent == output.resolve():
            raise InputError(output, f"is the folder of the image {path}", "choose another output")
        name = _name_of(str(image))
        if name in found:
            raise InputError(
                path, f"has the same name as {found[name]}", "predict them into two folders"
            )
        found[name] = image
    for name in found:
        stem, _, layer = name.rpartition("_")
        if layer in LAYERS and stem in found:
            raise InputError(
                Path(str(found[name])),
                f"has the name of a layer of the map of {found[stem]}",
                "predict them into two folders",
            )
    return [output / name for name in found]


def _name_of(image: str) -> str:
    """Choose the name of the map of an image, without an ending.

    GDAL's name of one raster of a file may have quotes, colons and a path in it.

    Examples:
        >>> [_name_of(path) for path in ("in/a.tif", 'NETCDF:"in/b.nc":water', "GTIFF_DIR:2:c.tif")]
        ['a', 'b_water', 'c_2']
    """
    if not is_part(image):
        return Path(image).stem
    _, *words = (word.strip('"') for word in re.findall(r'"[^"]*"|[^:"]+', image))
    file = next((word for word in words if Path(word).suffix), (words or [image])[-1])
    name = "_".join([Path(file).stem, *(word for word in words if word != file)])
    return re.sub(r"_*[^\w.-]+_*", "_", name).strip("_")


def check_polygon_file(file: Path, images: int) -> None:
    """Raise an :class:`InputError` if a file cannot take the polygons of so many images.

    Args:
        file: the file that the user has named.
        images: number of images.
    """
    if images > 1:
        raise InputError(
            f"polygons={file}",
            f"is one file for {images} images",
            f"give the format alone: polygons={file.suffix[1:].lower()}",
        )
    if file.is_dir():
        raise InputError(f"polygons={file}", "is a folder", "choose another file")
