"""Synthetic images of buildings on varied ground, to try the chain from image-level labels.

Every roof has a bright ridge along its middle, and the ground has none. So a classifier looks for
ridges, and its activation maps leave out the rest of the roofs.
"""

from pathlib import Path

import cv2
import numpy as np

from network.datasets.files import write_image

ROOFS = ((150, 70, 60), (110, 110, 125), (160, 120, 80))
GROUND = ((90, 120, 70), (120, 110, 95), (70, 100, 75))


def building_scene(
    side: int, built: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene.

    Args:
        side: height and width in pixels.
        built: whether the scene has a building.
        rng: source of all random decisions.

    Returns:
        Image (side, side, 3) and mask (side, side), 1 for the building and 0 elsewhere, uint8.
    """
    image = np.empty((side, side, 3), np.float32)
    image[:] = GROUND[rng.integers(len(GROUND))]
    for _ in range(4):  # lawns and paths
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(side // 6, side // 2, 2)
        color = np.array(GROUND[rng.integers(len(GROUND))]) + rng.normal(0, 12, 3)
        image[top : top + height, left : left + width] = color
    mask = np.zeros((side, side), np.uint8)
    if built:
        half = rng.uniform(0.24, 0.36, 2) * side
        center = rng.uniform(0.4, 0.6, 2) * side
        box = (tuple(center), tuple(2 * half), float(rng.uniform(0, 90)))
        corners = cv2.boxPoints(box)
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
        image[mask == 1] = np.array(ROOFS[rng.integers(len(ROOFS))]) + rng.normal(0, 8, 3)
        ends = (corners[0] + corners[1]) / 2, (corners[2] + corners[3]) / 2
        start, end = (np.round(0.8 * end + 0.2 * center).astype(int).tolist() for end in ends)
        cv2.line(image, start, end, (235, 230, 220), max(1, side // 24))
    image += rng.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def make_building_scenes(root: Path, counts: dict[str, int], side: int, seed: int = 0) -> list[str]:
    """Write images and masks to ``{split}/{images,masks}``; every other image has a building.

    Args:
        root: folder of the data set.
        counts: number of images in each split.
        side: height and width in pixels.
        seed: another seed makes other scenes.

    Returns:
        Paths of the written files, relative to ``root``.
    """
    made = []
    for number, (split, count) in enumerate(counts.items(), start=seed * len(counts)):
        for index in range(count):
            rng = np.random.default_rng([number, index])
            pixels = building_scene(side, index % 2 == 0, rng)
            for kind, own in zip(("images", "masks"), pixels, strict=True):
                name = f"{split}/{kind}/{split}_{index:03d}.png"
                write_image(root / name, own)
                made.append(name)
    return made
