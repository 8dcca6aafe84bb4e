"""Published scores of other models, which the report shows beside measured scores.

Sources: the papers named; BiCoR-Seg: arXiv 2512.20255, tables 1 to 3; D2LS: ICCV 2025, also for all
rows of Cloud and Grass; the rows of UNetFormer and FT-UNetFormer are GeoSeg's own runs.
docs/protocol.md tells what is known about how they were measured.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """The scores of one method in percent, as printed; None if the paper has no number.

    Attributes:
        method: name of the method.
        miou: mean IoU.
        mf1: mean F1.
        oa: overall accuracy.
        first_class_f1: F1 of ImSurf, which shows how padding was probably scored.
    """

    method: str
    miou: float | None
    mf1: float | None = None
    oa: float | None = None
    first_class_f1: float | None = None


@dataclass(frozen=True)
class Published:
    """Published rows of one data set.

    Attributes:
        split: name of the tested split.
        kind: kind of the labels.
        protocol: the protocol that the papers state.
        rows: the rows.
    """

    split: str
    kind: str
    protocol: str
    rows: tuple[PublishedRow, ...]


PUBLISHED = {
    "vaihingen": Published(
        split="test",
        kind="eroded",
        protocol="17 test areas, eroded masks, mean over 5 classes; padding not stated: rows "
        "whose ImSurf F1 is near 97 probably score it as ImSurf",
        rows=(
            PublishedRow("UNetFormer", 82.54, 90.30, 91.10),
            PublishedRow("FT-UNetFormer", 83.98, 91.17, 91.74),
            PublishedRow("LSKNet-S", 85.1, 91.8, 93.6),
            PublishedRow("SFA-Net", 84.06, 91.2),
            PublishedRow("AFENet", 84.55, 91.54, 91.67),
            PublishedRow("D2LS", 85.27, 91.9, None, 97.1),
            PublishedRow("BiCoR-Seg", 85.38, 91.94, 92.10, 97.36),
        ),
    ),
    "potsdam": Published(
        split="test",
        kind="eroded",
        protocol="14 test tiles, eroded masks, mean over 5 classes; padding not stated",
        rows=(
            PublishedRow("UNetFormer", 86.52, 92.64, 91.19),
            PublishedRow("FT-UNetFormer", 87.50, 93.22, 91.87),
            PublishedRow("LSKNet-S", 87.2, 93.1, 92.0),
            PublishedRow("SFA-Net", 87.60, 93.5),
            PublishedRow("AFENet", 87.50, 93.24, 92.00),
            PublishedRow("D2LS", None, 94.7, None, 96.1),
            PublishedRow("BiCoR-Seg", 89.87, 94.59, 92.10, 94.82),
        ),
    ),
    "loveda": Published(
        split="test",
        kind="full",
        protocol="Test split, scored by the server; mean over 7 classes",
        rows=(
            PublishedRow("UNetFormer", 52.97),
            PublishedRow("LSKNet-S", 54.0),
            PublishedRow("SFA-Net", 54.9),
            PublishedRow("AFENet", 54.8),
            PublishedRow("D2LS", 55.3),
            PublishedRow("BiCoR-Seg", 55.5),
        ),
    ),
    "uavid": Published(
        split="test",
        kind="full",
        protocol="Test split, scored by the server; mean over 8 classes",
        rows=(
            PublishedRow("UNetFormer", 67.63),
            PublishedRow("LSKNet-S", 70.0),
            PublishedRow("SFA-Net", 70.4),
            PublishedRow("D2LS", 70.9),
        ),
    ),
    "cloud": Published(
        split="test",
        kind="full",
        protocol="test split, mean over 4 classes; the released settings of D2LS augment the test "
        "images as in training, and the scores may be measured so",
        rows=(
            PublishedRow("KTDA", 51.49, 60.08, 83.55),
            PublishedRow("SFA-Net", 74.88, 84.64, 91.81),
            PublishedRow("D2LS", 82.16, 89.65, 94.90),
        ),
    ),
    "grass": Published(
        split="val",
        kind="full",
        protocol="val split, which also chose the checkpoint; mean over 5 classes",
        rows=(
            PublishedRow("KTDA", 50.86, 65.01, 74.26),
            PublishedRow("SFA-Net", 51.21, 65.76, 71.41),
            PublishedRow("D2LS", 51.96, 66.27, 72.26),
        ),
    ),
}
