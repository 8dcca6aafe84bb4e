"""Images with their masks: one by one, or all patches of a folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np

from network.datasets.on_earth.find import Scene
from network.datasets.windows import Part
from network.rasters.header import read_header
from network.rasters.place import Place, ground_resolution


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image and its masks.

    Args:
        name: stem of the image file.
        image: the image file.
        size: height and width in pixels.
        masks: mask files by label kind; empty if the labels are not public.
        scene: the scene that the image is; None for an image in a folder.
        part: the window that is read, and its core, outside of which labels are ignored; ``size``
            is that of the window. None for the whole image.
    """

    name: str
    image: Path
    size: tuple[int, int]
    masks: dict[str, Path] = field(default_factory=dict)
    scene: Scene | None = None
    part: Part | None = None

    def place(self) -> tuple[Place | None, tuple[int, int]]:
        """Read the place of the whole image on Earth, and its height and width in pixels."""
        if self.scene is not None:
            grid = self.scene.grid
            return (Place(grid.crs, grid.transform) if grid else None), self.scene.size
        return read_header(self.image).place, self.size

    def ground_resolution(self) -> float | None:
        """Read the side of a pixel on the ground in meters; None if it is not known."""
        if self.scene is not None:
            return self.scene.resolution
        place, size = self.place()
        return ground_resolution(place, *size)


class FolderSamples(Sequence[Sample]):
    """The images of folders and their masks. A sample is made when it is asked for.

    With 200,000 patches, it would take a second to make all of them, and each data worker would
    end up with a copy of its own.

    Args:
        names: names of the images.
        images: paths of the image files.
        masks: paths of the mask files, by label kind.
        sizes: height and width of each image in pixels, (n, 2) int64.
    """

    def __init__(
        self,
        names: Sequence[str],
        images: Sequence[str],
        masks: dict[str, Sequence[str]],
        sizes: np.ndarray,
    ):
        self.names, self.images, self.masks, self.sizes = names, images, masks, sizes

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        height, width = self.sizes[index].tolist()
        return Sample(
            name=self.names[index],
            image=Path(self.images[index]),
            size=(height, width),
            masks={kind: Path(paths[index]) for kind, paths in self.masks.items()},
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


def joined(parts: Sequence[Sequence[Sample]]) -> Sequence[Sample]:
    """Put the samples of several folders or scenes one after another.

    Args:
        parts: the samples of each of them, at least one.
    """
    if len(parts) == 1:
        return parts[0]
    folders = [part for part in parts if isinstance(part, FolderSamples)]
    kinds = list(folders[0].masks) if folders else []
    if len(folders) < len(parts) or any(list(folder.masks) != kinds for folder in folders):
        return [sample for part in parts for sample in part]
    return FolderSamples(
        [name for folder in folders for name in folder.names],
        [path for folder in folders for path in folder.images],
        {kind: [path for folder in folders for path in folder.masks[kind]] for kind in kinds},
        np.concatenate([folder.sizes for folder in folders]),
    )


def names_of(samples: Sequence[Sample]) -> Sequence[str]:
    """List the names of samples."""
    if isinstance(samples, FolderSamples):
        return samples.names
    return [sample.name for sample in samples]


def sizes_of(samples: Sequence[Sample]) -> np.ndarray:
    """List height and width of samples, (n, 2) int64."""
    if isinstance(samples, FolderSamples):
        return samples.sizes
    return np.array([sample.size for sample in samples], np.int64).reshape(-1, 2)


def spread_samples(samples: Sequence[Sample], most: int = 10) -> list[Sample]:
    """Choose samples that are evenly spread over a sequence.

    Args:
        samples: the samples.
        most: the largest number of samples.
    """
    count = min(len(samples), most)
    return [samples[number * len(samples) // count] for number in range(count)]
