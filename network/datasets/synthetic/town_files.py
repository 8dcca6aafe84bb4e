"""Synthetic scenes as files with ISPRS Vaihingen's names."""

from dataclasses import dataclass
from pathlib import Path

from network.datasets.files import write_image
from network.datasets.info import VAIHINGEN
from network.datasets.synthetic.town import erode_labels, make_scene


@dataclass(frozen=True)
class SceneTile:
    """One scene to make.

    Args:
        split: split whose folders get the files.
        area: number in the file names.
        seed: seed of the scene.
        height: height in pixels.
        width: width in pixels.
    """

    split: str
    area: int
    seed: int
    height: int
    width: int

    @property
    def names(self) -> dict[str, str]:
        """Paths of image, mask and eroded mask, relative to the folder of all tiles."""
        stem, endings = f"top_mosaic_09cm_area{self.area}", VAIHINGEN.tile_names
        return {
            "image": f"{self.split}_images/{stem}{endings.image}",
            "mask": f"{self.split}_masks/{stem}{endings.mask}",
            "eroded": f"{self.split}_masks_eroded/{stem}{endings.eroded_mask}",
        }


def write_scene(folder: Path, tile: SceneTile) -> list[str]:
    """Write image, mask and eroded mask of one scene; return their paths below ``folder``."""
    image, labels = make_scene(tile.seed, tile.height, tile.width)
    eroded = erode_labels(labels, ignore_index=VAIHINGEN.ignore_index)
    pixels = {
        "image": image,
        "mask": VAIHINGEN.to_rgb(labels),
        "eroded": VAIHINGEN.to_rgb(eroded),
    }
    for what, name in tile.names.items():
        write_image(folder / name, pixels[what])
    return list(tile.names.values())
