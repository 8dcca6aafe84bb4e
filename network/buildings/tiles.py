"""Tiles with image-level labels, which are cut from images and labeled by a rule or a list.

Source: BAC-AR-Net (IEEE TGRS 2024, 10.1109/TGRS.2024.3438248). A tile is positive if buildings
cover at least a quarter of it, and negative if there are none. Other tiles are left out.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from network.buildings.settings import Chain
from network.datasets.files import (
    fitting_size,
    ignore_invalid,
    list_images,
    lossy_mask,
    read_image,
    read_mask,
    read_mask_raster,
    read_valid_image,
    rgb_of,
    turned_mask,
    write_image,
)
from network.datasets.info import BUILDING
from network.datasets.preparation.patches import PatchSplit
from network.datasets.preparation.patches import find_tiles as find_whole_tiles
from network.datasets.schema import DatasetInfo, normal
from network.datasets.segmentation import Sample, find_samples
from network.datasets.windows import separate_windows
from network.datasets.workers import map_parallel
from network.errors import InputError
from network.writing import replacing

MIN_LABELED = 0.5
"""Share of a tile's pixels that must have a class; other tiles are left out."""


_TILE = "_tile_[0-9]{4,6}"
"""Regular expression for the end of the name of a tile."""

_NO_TILE = "".join(f"(?<!_tile_[0-9]{{{digits}}})" for digits in (4, 5, 6))
"""Regular expression for a place in a name that does not follow such an end."""


def image_label(mask: np.ndarray, positive_share: float) -> int | None:
    """Label a tile by its mask: 1 with buildings, 0 without, None if it is left out.

    Args:
        mask: (h, w), 1 for building, 0 for background; other values are unknown.
        positive_share: smallest share of the tile that buildings must cover.
    """
    buildings = np.count_nonzero(mask == 1)
    if np.count_nonzero(mask <= 1) < MIN_LABELED * mask.size:
        return None
    if buildings == 0:
        return 0
    return 1 if buildings >= positive_share * mask.size else None


@dataclass(frozen=True)
class TileCounts:
    """Numbers of tiles.

    Attributes:
        positive: number of positive tiles that are used.
        negative: number of negative tiles that are used.
        left_out: number of tiles that are neither positive nor negative.
        not_drawn: number of negative tiles that are not used since there are too many.
    """

    positive: int
    negative: int
    left_out: int = 0
    not_drawn: int = 0


def cut_train_tiles(chain: Chain, images: Path, masks: Path, list_file: Path) -> TileCounts:
    """Write the labeled tiles of the training split, and the list of their labels.

    Args:
        chain: settings of the chain.
        images: folder for the tiles.
        masks: folder for their true masks, which are not written if a list gives the labels.
        list_file: CSV file for the labels.

    Raises:
        InputError: the data cannot be used, a list names missing images or leaves some out, or all
            tiles are of one kind.
    """
    if chain.labels:
        labels, left_out = _whole_images(chain, Path(chain.labels), images), 0
    else:
        samples = _samples(chain, chain.train)
        results = map_parallel(
            _Cutter(chain, images, masks, is_train=True),
            samples,
            workers=max(1, chain.workers),
            unit="image",
        )
        labels = {name: label for found in results for name, label in found if label is not None}
        left_out = sum(label is None for found in results for _, label in found)
        _check_names(samples, results)
    not_drawn = _surplus(chain, labels)
    for name in not_drawn:
        del labels[name]
        for folder in (images, masks):
            (folder / f"{name}.png").unlink(missing_ok=True)
    positive = sum(labels.values())
    counts = TileCounts(positive, len(labels) - positive, left_out, len(not_drawn))
    _check_both(chain, counts)
    write_labels(list_file, labels)
    return counts


def _surplus(chain: Chain, labels: Mapping[str, int]) -> list[str]:
    """Draw the names of the negative tiles that are too many."""
    negative = sorted(name for name, label in labels.items() if label == 0)
    if chain.tiles.negatives is None:
        return []
    kept = round(chain.tiles.negatives * sum(labels.values()))
    order = np.random.default_rng(chain.tiles.seed).permutation(len(negative))
    return [negative[index] for index in order[kept:]]


def cut_test_tiles(chain: Chain, images: Path, masks: Path) -> int:
    """Write all tiles of the test split and their true masks, and return their number."""
    assert chain.test is not None
    cutter = _Cutter(chain, images, masks, is_train=False)
    samples = _samples(chain, chain.test)
    results = map_parallel(cutter, samples, workers=max(1, chain.workers), unit="image")
    _check_names(samples, results)
    return sum(len(found) for found in results)


def _check_names(
    samples: Sequence[Sample], results: Sequence[Sequence[tuple[str, int | None]]]
) -> None:
    """Require that no two images give tiles of one name."""
    source: dict[str, Sample] = {}
    for sample, tiles in zip(samples, results, strict=True):
        for name, _ in tiles:
            other = source.setdefault(name, sample)
            if other is not sample:
                raise InputError(
                    sample.image,
                    f"gives tiles of the same name as {other.image} ({name})",
                    "rename one of the images",
                )


def source_digest(chain: Chain) -> str | None:
    """Compute a digest of the data set's description, the labels' list, and file names and sizes.

    No image or mask is opened. The digest is None if files are missing.
    """
    facts = json.dumps(asdict(chain.dataset), default=str, sort_keys=True)
    digest = hashlib.sha256(facts.encode())
    try:
        for folder in _folders(chain):
            for path in list_images(folder).values():
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        if chain.labels:
            digest.update(Path(chain.labels).read_bytes())
    except (InputError, OSError):
        return None
    return digest.hexdigest()


def _folders(chain: Chain) -> Iterator[Path]:
    """Yield the folders of images and masks that the chain reads."""
    info, root = chain.dataset, chain.data_root
    for split in filter(None, (chain.train, chain.test)):
        has_masks = split == chain.test or not chain.labels
        if info.tiles:
            yield root / f"{split}_images"
            if has_masks:
                yield root / f"{split}_masks"
            continue
        for folder in info.folders(split):
            yield root / folder.images
            if has_masks and folder.masks:
                yield root / folder.masks[0].folder


def _samples(chain: Chain, split: str) -> Sequence[Sample]:
    """Find the images of a split with their masks, or the whole tiles if the data set has them.

    Patches of whole tiles are not taken: they may overlap or be mirrored, so pixels would count
    several times.
    """
    info, root = chain.dataset, chain.data_root
    if info.tiles:
        hints = {info.tiles.image: "give tiles.infrared=False to use these RGB images"}
        if info.tiles.infrared_image:
            hints[info.tiles.infrared_image] = "give tiles.infrared=True to use these IRRG images"
        whole = find_whole_tiles(
            PatchSplit(
                info=info,
                img_dir=root / f"{split}_images",
                mask_dir=root / f"{split}_masks",
                output_img_dir=root,
                output_mask_dir=root,
                mode="val",
                split_size=1,  # any image is large enough
                stride=1,
                rgb_image=not chain.tiles.infrared,
            ),
            hints,
        )
        return [
            Sample(name=t.name, image=t.image, size=(t.height, t.width), masks={"full": t.mask})
            for t in whole
        ]
    samples = find_samples(info, root, split)
    if not samples[0].masks:
        raise InputError(
            f"{chain.dataset.name} has no masks for the split '{split}'; take another"
            + (", or give labels=FILE.csv" if split == chain.train else ", or test=None")
        )
    return samples


def _whole_images(chain: Chain, path: Path, folder: Path) -> dict[str, int]:
    """Write each image as a tile and return the labels from the list; no mask is needed."""
    info = chain.dataset.relabeled(chain.train, None)
    samples = {s.name: s for s in find_samples(info, chain.data_root, chain.train)}
    # Spreadsheets add spaces, and macOS writes accents in another way.
    labels = {normal(name).strip(): label for name, label in read_labels(path).items()}
    for names, others, what in (
        (labels, samples, f"names '{{}}', which is not among the images of '{chain.train}'"),
        (samples, labels, f"has no row for '{{}}', an image of '{chain.train}'"),
    ):
        alone = sorted(names.keys() - others.keys())
        if alone:
            raise InputError(
                path,
                f"{what.format(alone[0])} ({len(alone)} of {len(names)})",
                "correct the list; its names must have no file ending",
            )
    for name, sample in samples.items():
        write_image(folder / f"{name}.png", read_image(sample.image, info))
    return labels


@dataclass(frozen=True)
class _Cutter:
    """A function that cuts one image into tiles; it runs in a worker."""

    chain: Chain
    images: Path
    masks: Path
    is_train: bool

    def __call__(self, sample: Sample) -> list[tuple[str, int | None]]:
        """Write the labeled tiles of an image (of a test image: all tiles); return their labels.

        Returns:
            Name and label of each tile; the label is None for a tile that is left out.
        """
        image, valid = read_valid_image(sample.image, self.chain.dataset)
        mask = self._read_building(next(iter(sample.masks.values())))
        mask = ignore_invalid(mask, valid, BUILDING)
        found = []
        side, keep_rest = self.chain.tiles.side, not self.is_train
        cut = list(separate_windows(*sample.size, side, keep_rest=keep_rest))
        if len(cut) > 1 and re.fullmatch(f".+{_TILE}", sample.name):
            raise InputError(
                sample.image, "its name ends like that of a tile, but it is cut", "rename it"
            )
        for number, window in enumerate(cut):
            name = sample.name if len(cut) == 1 else f"{sample.name}_tile_{number:04d}"
            label = image_label(mask[window], self.chain.tiles.positive_share)
            if label is not None or not self.is_train:
                write_image(self.images / f"{name}.png", image[window])
                write_image(self.masks / f"{name}.png", mask[window])
            found.append((name, label))
        return found

    def _read_building(self, path: Path) -> np.ndarray:
        """Read a mask as (h, w) with 1 for building, 0 for background and 255 for ignored."""
        chain, info = self.chain, self.chain.dataset
        if chain.mask_value is not None:
            return _read_gray(path, chain.mask_value, info)
        labels = read_mask(
            path, info, unknown=chain.tiles.unknown_color, option="tiles.unknown_color"
        )
        table = np.full(256, BUILDING.ignore_index, np.uint8)
        table[: info.num_classes] = 0
        table[info.classes.index(chain.building)] = 1
        return table[labels]


def tile_names(chain: Chain, images: Path) -> str:
    """Write how names of tiles tell the image that they are cut from, see ``patch_names``.

    Args:
        chain: the chain; the names of its images may tell larger images.
        images: folder of the tiles.

    Returns:
        A regular expression; empty if every tile is an image of its own.
    """
    whole = chain.dataset.patch_names
    is_cut = images.is_dir() and any(
        re.fullmatch(f".+{_TILE}", path.stem) for path in images.iterdir()
    )
    if not whole and not is_cut:
        return ""
    whole = whole.removeprefix("^").removesuffix("$") or "(?P<tile>.+)"
    return f"(?:{whole}){_NO_TILE}({_TILE})?"


def _read_gray(path: Path, value: int, info: DatasetInfo) -> np.ndarray:
    """Read a gray mask as (h, w) with 1 for a value, 0 for others and 255 where it has no data."""
    raster = read_mask_raster(path, info)
    if raster.header.is_lossy:
        raise lossy_mask(path)
    gray = np.asarray(Image.fromarray(rgb_of(path, raster)).convert("L"))
    found = (gray == value).astype(np.uint8)
    if raster.valid is not None:
        found[~raster.valid] = BUILDING.ignore_index
    return turned_mask(found, raster, info)


def _check_both(chain: Chain, counts: TileCounts) -> None:
    source = chain.labels or f"{chain.data_root}: '{chain.train}'"
    for number, kind, remedy in (
        (counts.positive, "with", "see tiles.positive_share, tiles.side and mask_value"),
        (counts.negative, "without", "see tiles.side, tiles.negatives and mask_value"),
    ):
        if not number:
            raise InputError(
                source,
                f"there is no tile {kind} buildings ({counts.positive} positive, "
                f"{counts.negative} negative, {counts.left_out} left out), and the classifier "
                "needs both kinds",
                f"{'correct the list' if chain.labels else remedy}",
            )


def write_labels(path: Path, labels: Mapping[str, int]) -> None:
    """Write the labels of the tiles as a CSV file with the columns ``name`` and ``label``."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "label"))
        writer.writerows(sorted(labels.items()))


def read_labels(path: Path) -> dict[str, int]:
    """Read the labels of tiles, 0 or 1, by name, from a CSV file.

    Raises:
        InputError: the file is missing or no list of labels, or names a tile twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            path,
            f"not a readable CSV with the columns name and label ({error})",
            "save it as UTF-8 with these columns",
        ) from error
    if not rows or not {"name", "label"} <= set(reader.fieldnames or ()):
        remedy = "begin it with the line name,label"
        raise InputError(path, "expected a CSV with the columns name and label, and rows", remedy)
    labels: dict[str, int] = {}
    for number, row in rows:
        name = row["name"]
        if row["label"] not in ("0", "1"):
            problem = f"line {number}: label '{row['label']}', expected 0 or 1"
            raise InputError(path, problem, "mend this line")
        if name in labels:
            raise InputError(path, f"line {number}: '{name}' for the second time", "remove one")
        labels[name] = int(row["label"])
    return labels


def find_tiles(images: Path, labels: Mapping[str, int], info: DatasetInfo) -> list[Sample]:
    """Find the tiles of a list in name order and check their headers.

    Args:
        images: folder of the tiles.
        labels: labels of the tiles by name.
        info: description of the data set.

    Raises:
        InputError: a tile is missing or damaged.
    """
    tiles = []
    for name in sorted(labels):
        path = images / f"{name}.png"
        if not path.is_file():
            raise InputError(path, "no such tile, but the list names it", "make the tiles again")
        tiles.append(Sample(name=name, image=path, size=fitting_size(path, info)))
    return tiles


def of_label(tiles: Sequence[Sample], labels: Mapping[str, int], label: int) -> list[Sample]:
    """Select the tiles with a label.

    Args:
        tiles: the tiles.
        labels: labels of the tiles by name.
        label: 1 for positive tiles, 0 for negative ones.
    """
    return [tile for tile in tiles if labels[tile.name] == label]
