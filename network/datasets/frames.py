"""Search for video frames in folders of sequences, ``seqN/Images/NNNNNN.png``."""

from pathlib import Path

from network.datasets.files import check_pair, fitting_header, list_images, used_size
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.errors import InputError

IMAGES, LABELS = "Images", "Labels"


def find_frames(folder: Path, info: DatasetInfo) -> list[Sample]:
    """Find the frames of all sequences; each is named as its mask is, ``seqN/Labels/NNNNNN``.

    Raises:
        InputError: there are no sequences, only some frames have labels, or sizes differ.
    """
    sequences = sorted(folder.glob(f"seq*/{IMAGES}"))
    if not sequences:
        raise InputError(folder, f"no seqN/{IMAGES} in it", "give the folder of the sequences")
    frames = []
    for images in sequences:
        labels = images.parent / LABELS
        masks = list_images(labels) if labels.is_dir() else {}
        for stem, path in list_images(images).items():
            header = fitting_header(path, info)
            if masks and stem not in masks:
                raise InputError(labels, f"no labels of {path}", "add them, or remove the folder")
            if masks:
                check_pair(path, masks[stem], header, info)
            name = f"{images.parent.name}/{LABELS}/{stem}"
            own = {"full": masks[stem]} if masks else {}
            frames.append(Sample(name=name, image=path, size=used_size(header, info), masks=own))
    unlabeled = [frame for frame in frames if not frame.masks]
    if unlabeled and len(unlabeled) < len(frames):
        raise InputError(
            f"{unlabeled[0].image.parent.parent}",
            f"no {LABELS} folder ({len(unlabeled)} of {len(frames)} frames without labels)",
            "add them, or keep these sequences elsewhere",
        )
    return frames
