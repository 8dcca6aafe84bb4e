"""Time of cutting tiles into patches, divided by the floor.

The floor is the time in which OpenCV only reads the tiles and writes the same patches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from network.benchmark.scenes import write_tiles
from network.benchmark.timing import interleave, median, ratio
from network.datasets.files import ENCODING
from network.datasets.preparation.patches import (
    PatchSplit,
    Tile,
    find_tiles,
    read_tile_labels,
    split_tiles,
)
from network.datasets.schema import DatasetInfo
from network.datasets.windows import inner_windows, padding
from network.datasets.workers import available_cores, map_parallel


def benchmark_patches(
    info: DatasetInfo, *, tiles: int = 2, size: int = 6000, repeats: int = 5
) -> dict:
    """Measure the seconds to cut synthetic tiles in train mode with default flags, on all cores.

    The floor does not compute labels from colors, since it gets the labels.

    Args:
        info: description of the data set, which must have whole tiles.
        tiles: number of tiles.
        size: height and width of a tile in pixels.
        repeats: number of rounds.
    """
    workers = available_cores()
    with TemporaryDirectory() as folder:
        root = Path(folder)
        images, masks = write_tiles(root, info, tiles, size)
        split = PatchSplit(
            info=info,
            img_dir=images,
            mask_dir=masks,
            output_img_dir=root / "patches",
            output_mask_dir=root / "patch_masks",
            rgb_image=True,
        )
        found = find_tiles(split)
        for tile in found:
            np.save(root / f"{tile.name}.npy", read_tile_labels(tile, split))
        floor = _Floor(split, root)

        def read_and_write() -> None:
            map_parallel(floor, found, workers=workers, unit="tile")

        functions: dict[str, Callable[[], object]] = {
            "floor": read_and_write,
            "split": partial(split_tiles, split, workers=workers),
        }
        times = interleave(functions, repeats, label="patches")
        _check_same(root / "floor", split)
    return {
        "tiles": tiles,
        "size": size,
        "workers": workers,
        "seconds": median(times["split"]) / 1000,
        "floor_seconds": median(times["floor"]) / 1000,
        "ratio": ratio(times, "split", "floor"),
    }


@dataclass(frozen=True)
class _Floor:
    """A function that reads a tile and its mask, and writes the patches; it runs in a worker."""

    split: PatchSplit
    root: Path

    def __call__(self, tile: Tile) -> None:
        image = cv2.imread(str(tile.image))
        assert image is not None  # it was written just now
        cv2.imread(str(tile.mask))
        labels = np.load(self.root / f"{tile.name}.npy")
        size, stride = self.split.split_size, self.split.stride
        top, left = (padding(length, size, stride) for length in labels.shape)
        image = np.pad(image, ((top, 0), (left, 0), (0, 0)))
        labels = np.pad(labels, ((top, 0), (left, 0)), constant_values=self.split.padding_label)
        height, width = labels.shape
        folder = self.root / "floor"
        folder.mkdir(exist_ok=True)
        for variant, flip in enumerate((np.s_[:, :], np.s_[:, ::-1], np.s_[::-1, :])):
            flipped, flipped_labels = image[flip], labels[flip]
            for index, window in enumerate(inner_windows(height, width, size, stride)):
                name = f"{tile.name}_{variant}_{index}"
                for suffix, array in ((".tif", flipped), (".png", flipped_labels)):
                    pixels = np.ascontiguousarray(array[window])
                    cv2.imwrite(str(folder / f"{name}{suffix}"), pixels, ENCODING[suffix])


def _check_same(floor: Path, split: PatchSplit) -> None:
    """Check that the floor has done the same work, byte by byte."""
    for folder in (split.output_img_dir, split.output_mask_dir):
        for path in folder.iterdir():
            if path.suffix in ENCODING and (floor / path.name).read_bytes() != path.read_bytes():
                raise RuntimeError(f"{path}: the floor wrote another file")
