"""Cutting of UAVid's video frames (2160 rows, 3840 or 4096 columns) into patches.

Source: Lyu et al., "UAVid: A semantic segmentation dataset for UAV imagery", ISPRS Journal 2020.
The flags are those of GeoSeg's tool, which leaves out the first 112 rows. Here the last patches of
a frame are moved back to its edge, so every pixel is in a patch. In ``val`` mode, each pixel keeps
its label in only one patch.
"""

from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from network.datasets.files import (
    ignore_invalid,
    read_mask,
    read_valid_image,
)
from network.datasets.folder_jobs import check_folders, check_replaceable, replacing_folders
from network.datasets.frames import LABELS, find_frames
from network.datasets.info import UAVID
from network.datasets.preparation.patches import MODES
from network.datasets.provenance import Provenance, is_provenance, write_hashed, write_provenance
from network.datasets.segmentation import Sample
from network.datasets.windows import covering_windows
from network.datasets.workers import map_parallel
from network.errors import InputError, nearest


@dataclass(frozen=True, kw_only=True)
class FrameSplit:
    """Settings that say how frames are cut; the fields are the flags of the command line.

    Args:
        input_dir: folder of the sequences, ``seqN/{Images,Labels}/NNNNNN.png``.
        output_img_dir: folder of the image patches, replaced as a whole.
        output_mask_dir: folder of the mask patches, replaced as a whole.
        mode: with ``"train"``, patches have all their labels. With ``"val"``, pixels that two
            patches share are labeled in the first one and ignored in the second.
        split_size_h: height of a patch in pixels.
        split_size_w: width of a patch in pixels.
        stride_h: rows from the start of a patch to the start of the next one, at most
            ``split_size_h``.
        stride_w: columns from the start of a patch to the start of the next one, at most
            ``split_size_w``.

    Raises:
        InputError: a value is out of range.
    """

    input_dir: Path
    output_img_dir: Path
    output_mask_dir: Path
    mode: str = "train"
    split_size_h: int = 1024
    split_size_w: int = 1024
    stride_h: int = 1024
    stride_w: int = 1024

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"mode={self.mode}", f"not a choice{nearest(self.mode, MODES)}")
        for side in ("h", "w"):
            size, stride = getattr(self, f"split_size_{side}"), getattr(self, f"stride_{side}")
            if size < 1:
                raise InputError(f"split_size_{side}={size}", "expected 1 or more pixels")
            if not 1 <= stride <= size:
                raise InputError(
                    f"stride_{side}={stride}",
                    f"expected 1 to {size}, the side of a patch",
                    "a larger stride would leave out the pixels between the patches",
                )


def cut(
    image: np.ndarray, labels: np.ndarray, split: FrameSplit
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut one frame into patches of image (h, w, 3) and labels (h, w).

    Args:
        image: the frame, (H, W, 3).
        labels: its labels, (H, W).
        split: settings of the patches.
    """
    size = split.split_size_h, split.split_size_w
    is_labeled = np.zeros(labels.shape, bool)
    height, width = labels.shape
    for window in covering_windows(height, width, size, (split.stride_h, split.stride_w)):
        own = labels[window].copy()
        if split.mode == "val":
            own[is_labeled[window]] = UAVID.ignore_index
            is_labeled[window] = True
        yield image[window], own


def split_frames(split: FrameSplit, *, workers: int = 1) -> Provenance:
    """Cut all frames and return the provenance that is stored beside the patches.

    Args:
        split: settings of the patches.
        workers: number of processes.

    Raises:
        InputError: frames, labels or folders cannot be used. Nothing is changed then.
    """
    outputs = split.output_img_dir, split.output_mask_dir
    check_folders((split.input_dir,), outputs)
    for folder in outputs:
        check_replaceable(folder, _is_ours)
    frames = find_frames(split.input_dir, UAVID)
    if not frames[0].masks:
        raise InputError(split.input_dir, f"no seqN/{LABELS}", "give a labeled part of UAVid")
    with replacing_folders(*outputs) as (images_to, masks_to):
        write = partial(_write_frame, split, images_to, masks_to)
        written = map_parallel(write, frames, workers=workers, unit="frame")
        images, masks = (dict(ChainMap(*checksums)) for checksums in zip(*written, strict=True))
        provenance = Provenance(
            tool="uavid_patch_split",
            dataset=UAVID.name,
            mode=split.mode,
            split_size=f"{split.split_size_h} x {split.split_size_w}",
            stride=f"{split.stride_h} x {split.stride_w}",
            pad_policy="none",
            label_kind="full",
            frames=len(frames),
            patches=len(images),
        )
        write_provenance(images_to, provenance, images)
        write_provenance(masks_to, provenance, masks)
    return provenance


def _write_frame(
    split: FrameSplit, images_to: Path, masks_to: Path, frame: Sample
) -> tuple[dict[str, str], dict[str, str]]:
    """Write all patches of one frame and return the checksums of images and masks, by name."""
    sequence, _, stem = frame.name.split("/")
    image, valid = read_valid_image(frame.image, UAVID)
    labels = ignore_invalid(read_mask(frame.masks["full"], UAVID), valid, UAVID)
    images: dict[str, str] = {}
    masks: dict[str, str] = {}
    for number, (patch, own) in enumerate(cut(image, labels, split)):
        # Tile, variant and index as in ISPRS patches, so the name tells the frame.
        name = f"{sequence}_{stem}_0_{number}.png"
        images[name] = write_hashed(images_to / name, patch)
        masks[name] = write_hashed(masks_to / name, own)
    return images, masks


def _is_ours(path: Path) -> bool:
    return is_provenance(path) or (
        path.name.startswith("seq") and path.suffix == ".png" and "_0_" in path.name
    )
