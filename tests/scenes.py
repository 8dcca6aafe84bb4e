"""Tiny data sets on disk, in the folders that the facts of a data set name."""

import warnings
import zlib
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from network.datasets.files import write_image
from network.datasets.schema import DatasetInfo

UNITS = {
    "uint8": (1, 0),
    "uint16": (16, 0),  # as of sensors of 12 bits
    "uint32": (70_000, 0),
    "int16": (16, -2000),
    "int32": (70_000, -10_000_000),
    "float32": (0.1, -10),
}
"""Factor and shift that turn values of 0 to 255 into those of each type of pixels."""


def make_dataset(
    root: Path,
    info: DatasetInfo,
    counts: dict[str, int],
    sizes: tuple[tuple[int, int], ...] = ((64, 64),),
) -> Path:
    """Blocky random labels, and images whose colors tell the class.

    Args:
        counts: images in each folder of a split.
        sizes: (height, width) of the images, in turn.
    """
    for split, count in counts.items():
        for number, folder in enumerate(info.splits[split]):
            for index in range(count):
                name = f"{split}-{number}-{index}"  # not like a patch of a tile
                height, width = sizes[index % len(sizes)]
                image, labels = make_pair(info, zlib.crc32(name.encode()), height, width)
                if info.is_rgb8:
                    write_image(root / folder.images / f"{name}.png", image)
                else:
                    write_bands(root / folder.images / f"{name}.tif", image)
                for kind in folder.masks:
                    is_rgb = kind.folder.endswith("_rgb")
                    mask = info.to_rgb(labels) if is_rgb else labels
                    write_image(root / kind.folder / f"{name}.png", mask)
    return root


def make_pair(
    info: DatasetInfo, seed: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image (h, w, bands) and labels (h, w), some of them ignored."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, info.num_classes, (-(-height // 16), -(-width // 16)))
    labels = np.kron(blocks, np.ones((16, 16), int))[:height, :width].astype(np.uint8)
    image = info.to_rgb(labels) // 2 + rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    labels[:2] = info.ignore_index
    factor, shift = UNITS[info.dtype]
    image = image[..., np.arange(info.bands) % 3].astype(np.float64) * factor + shift
    return image.astype(info.dtype), labels


def write_bands(path: Path, image: np.ndarray, **options) -> None:
    """Write (h, w, bands) as a GeoTIFF.

    Args:
        options: rasterio's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, bands = image.shape
    size = {"height": height, "width": width, "count": bands, "dtype": image.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **size, **options) as file:
            file.write(image.transpose(2, 0, 1))


def write_band_masks(path: Path, valid: np.ndarray) -> None:
    """Write masks (bands, h, w) of the single bands of a raster, into a file beside it."""
    beside = path.with_name(f"{path.name}.msk")
    write_bands(beside, 255 * valid.transpose(1, 2, 0).astype(np.uint8))
    with rasterio.open(beside, "r+") as file:
        file.update_tags(**{f"INTERNAL_MASK_FLAGS_{n + 1}": 0 for n in range(len(valid))})
