"""Classes from the values and colors of masks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageColor

from network.cluster import Workers
from network.datasets.discovery.classes import ClassFound, Proposal, unique_names
from network.datasets.discovery.images import header_of_image
from network.datasets.discovery.legends import Entry, Legend
from network.datasets.files import IMAGE_SUFFIXES
from network.datasets.on_earth.classes import distinct_colors
from network.datasets.schema import MAX_CLASSES, RGB, MaskCoding
from network.datasets.workers import map_parallel
from network.errors import InputError, listed
from network.rasters.header import Header
from network.rasters.reader import Raster, read_raster
from network.rasters.source import Source

RARE = 1e-5
"""Values with a smaller share of the pixels are no class, unless a legend names them."""

TOLERANCE = 40
"""Largest difference from the color of a class, if the colors of masks differ slightly."""

_FEW = 16
"""If more colors than these are rare, the colors of the masks differ slightly."""

_FLAT = 8
"""Largest difference in each band within the 5 x 5 pixels around one that is inside a region.
Labels have to be equal there."""

_INSIDE = 2e-3
"""Smallest share of the pixels inside regions that are near the color of a class, if colors differ
slightly. Colors in between are at the borders of regions, not inside."""

_WHOLE = 2**26
"""A mask of more pixels is read in parts."""

_ROWS = 1024
"""Number of rows of a part."""

_HUGE = 2**62

_PHOTO = 2**18
"""A file with more values or colors is no mask."""

_TRIED = 2000
"""Number of colors, the most frequent ones, that may be those of classes."""

_COVERED = 0.9
"""Smallest share of the pixels that must be near the color of a class."""


@dataclass(frozen=True)
class Values:
    """The values of one mask, or their sum over several.

    Attributes:
        path: the mask, or the first of several.
        has_colors: whether the mask has three bands, so that its values are codes of colors.
        is_lossy: whether it was compressed with loss.
        counts: number of pixels of each value.
        inside: the same counts of the pixels inside regions, if the mask has many values.
        table: color of each index that occurs, if the mask has a color table.
        without: number of pixels without data.
    """

    path: Path
    has_colors: bool
    is_lossy: bool
    counts: Mapping[int, int]
    inside: Mapping[int, int] = field(default_factory=dict)
    table: Mapping[int, RGB] = field(default_factory=dict)
    without: int = 0


def count_values(masks: Sequence[Path], workers: Workers) -> list[Values]:
    """Count the pixels of each value or color in every mask.

    Args:
        masks: the masks.
        workers: number of processes, or a cluster.

    Raises:
        InputError: a mask cannot be read, or has neither one band nor three.
    """
    return map_parallel(_values_of, masks, workers=workers, unit="mask")


def _values_of(path: Path) -> Values:
    """Count the values of one mask; this runs in a worker."""
    counts: Counter[int] = Counter()
    inside: Counter[int] = Counter()
    without = 0
    header, parts = _parts_of(path)
    bands = header.bands - header.has_alpha
    table: Mapping[int, tuple[int, int, int, int]] = {}
    for part in parts:
        if bands not in (1, 3) or (bands == 3 and part.values.dtype != np.uint8):
            raise InputError(
                path,
                f"{bands} bands of {part.values.dtype}",
                "a mask has one band of labels, or three bands of colors of 8 bits",
            )
        values = _single(part.values)
        used = values if part.valid is None else values[part.valid]
        without += values.size - used.size
        if values.dtype.kind == "f" and not _are_whole(used):
            raise InputError(
                path, "has values that are not whole", "is it an image? labels are whole numbers"
            )
        counts.update(_counts(used))
        if len(counts) > _PHOTO:
            raise InputError(
                path,
                f"has more than {_PHOTO} different values or colors",
                "is it an image? choose the masks by labels=PATH",
            )
        if header.is_lossy or len(counts) > _FEW or (bands == 3 and _is_large(header)):
            is_flat = _is_flat(part.values, _FLAT if header.is_lossy or bands == 3 else 0)
            inside.update(_counts(values[is_flat if part.valid is None else is_flat & part.valid]))
        table = part.table or table
    if not header.is_lossy and len(counts) <= _FEW:
        inside.clear()
    named = {index: color[:3] for index, color in table.items() if index in counts}
    return Values(path, bands == 3, header.is_lossy, dict(counts), dict(inside), named, without)


def _parts_of(path: Path) -> tuple[Header, Iterator[Raster]]:
    """Open a mask that is read in parts, so that one larger than the memory can be read."""
    header = header_of_image(path)
    is_whole = path.suffix.lower() in IMAGE_SUFFIXES and not _is_large(header)
    return header, iter([read_raster(path)]) if is_whole else _windows_of(path)


def _is_large(header: Header) -> bool:
    return header.height * header.width > _WHOLE


def _windows_of(path: Path) -> Iterator[Raster]:
    with Source(path) as source:
        height, width = source.size
        for top in range(0, height, _ROWS):
            values, valid = source.read(slice(top, min(height, top + _ROWS)), slice(0, width))
            opaque = {value: (*color, 255) for value, color in source.color_table.items()}
            yield Raster(source.header, values, valid, table=opaque)


def _single(values: np.ndarray) -> np.ndarray:
    """Turn labels (h, w, 1), or colors (h, w, 3) uint8, into one number for each pixel."""
    if values.shape[2] == 1:
        return values[..., 0]
    red, green, blue = (values[..., band].astype(np.uint32) for band in range(3))
    return red << 16 | green << 8 | blue


def _are_whole(values: np.ndarray) -> bool:
    return bool((np.isfinite(values) & (values == np.floor(values))).all())


def _counts(values: np.ndarray) -> dict[int, int]:
    found = np.unique(values, return_counts=True)
    return {int(value): int(count) for value, count in zip(*found, strict=True)}


def _is_flat(pixels: np.ndarray, most: int) -> np.ndarray:
    """Tell which pixels (h, w) have almost one color around them, in an image (h, w, bands).

    Args:
        pixels: the image.
        most: largest difference in each band.
    """
    around = np.ones((5, 5), np.uint8)
    if pixels.dtype not in (np.uint8, np.uint16, np.int16, np.float32):
        pixels = pixels.astype(np.float64)
    high, low = cv2.dilate(pixels, around), cv2.erode(pixels, around)
    spread = high.astype(np.float64) - low
    return spread.reshape(*pixels.shape[:2], -1).max(axis=2) <= most


def propose_classes(masks: Sequence[Values], legend: Legend | None) -> Proposal:
    """Propose the classes that the values of masks mean.

    Args:
        masks: the values of each mask.
        legend: a file that names the classes; None if there is none.

    Raises:
        InputError: some masks have colors and others values; there are fewer than two classes or
            more than the project can have.
    """
    tables = [mask for mask in masks if mask.table]
    plain = [mask for mask in masks if not mask.has_colors and not mask.table]
    colored = [mask for mask in masks if mask.has_colors]
    if colored and plain:
        raise InputError(
            plain[0].path,
            f"has values, while {colored[0].path} has colors ({len(plain)} and {len(colored)} "
            "masks)",
            "convert them to one kind, or choose one of them by labels=PATH",
        )
    notes, has_tables_of_colors = [], bool(tables) and (bool(colored) or not _agree(tables))
    if has_tables_of_colors:
        what = "RGB colors" if colored else "other color tables"
        notes.append(
            f"{len(tables)} masks have a color table whose indices are no labels (others have "
            f"{what}), such as {tables[0].path}: their colors count (color_tables='colors')"
        )
        masks = [_in_colors(mask) if mask.table else mask for mask in masks]
    total, inside = Counter[int](), Counter[int]()
    for mask in masks:
        total.update(mask.counts)
        inside.update(mask.inside or mask.counts)
    is_lossy = any(mask.is_lossy for mask in masks)
    has_colors = bool(colored) or has_tables_of_colors
    if is_lossy and not has_colors:  # gray colors
        total, inside = (
            Counter({_code((value,) * 3): count for value, count in counts.items()})
            for counts in (total, inside)
        )
    if has_colors or is_lossy:
        proposal = _of_colors(masks[0].path, total, inside, legend, is_lossy)
        if has_tables_of_colors:
            proposal.coding["color_tables"] = "colors"
    else:
        table = {i: color for mask in tables for i, color in mask.table.items()}
        if not table and legend is None:
            _check_smooth(masks[0].path, total, inside)
        proposal = _of_values(masks[0].path, total, legend, table)
    without = sum(mask.without for mask in masks)
    if without:
        share = without / (without + sum(total.values()))
        notes.append(
            f"{share:.2%} of the pixels of the masks have no data (by a no-data value, a mask or "
            "transparent colors) and are ignored"
        )
    proposal.notes[:0] = notes
    return proposal


def _agree(tables: Sequence[Values]) -> bool:
    """Tell whether no two masks give one index different colors."""
    known: dict[int, RGB] = {}
    return all(
        known.setdefault(index, color) == color
        for mask in tables
        for index, color in mask.table.items()
    )


def _in_colors(mask: Values) -> Values:
    """Turn the indices of a color table into codes of colors."""
    counts = Counter[int]()
    for index, count in mask.counts.items():
        counts[_code(mask.table[int(index)])] += count
    return Values(mask.path, True, mask.is_lossy, counts, counts, without=mask.without)


def _code(color: Sequence[int]) -> int:
    red, green, blue = color
    return red << 16 | green << 8 | blue


def _color_of(code: int) -> RGB:
    number = int(code)
    return number >> 16, number >> 8 & 255, number & 255


def _are_mixtures(counts: Iterable[int], inside: Mapping[int, int]) -> bool:
    """Tell whether most values are never inside a region, as smoothing makes them at borders."""
    values = list(counts)
    mixed = sum(not inside.get(value) for value in values)
    return mixed > _FEW and 2 * mixed > len(values)


# Values -----------------------------------------------------------------------------------------


def _check_smooth(path: Path, counts: Mapping[int, int], inside: Mapping[int, int]) -> None:
    """Raise an :class:`InputError` if most values are mixtures of others, which are no labels."""
    if len(counts) <= MAX_CLASSES and _are_mixtures(counts, inside):
        raise InputError(
            path,
            f"the masks have {len(counts)} different values, most of them only at borders, as "
            "smoothing makes them",
            "make the masks anew, resized by the nearest neighbor and drawn without antialiasing, "
            "or name the values in a file classes.json beside the masks",
        )


def _of_values(
    path: Path, counts: Mapping[int, int], legend: Legend | None, table: Mapping[int, RGB]
) -> Proposal:
    """Propose classes for masks of one band."""
    total, whole = sum(counts.values()), {int(value): count for value, count in counts.items()}
    named = {value: legend.of_value(value) if legend else None for value in whole}
    ordinary = [value for value in whole if not _is_marker(value)]
    proposal = Proposal(unit="pixels", total=total)
    classes = []
    for value, count in sorted(whole.items()):
        entry = named[value]
        if entry and not entry.is_nothing:
            classes.append(value)
        elif entry:
            proposal.ignore(value, count, f"'{entry.name}' in {_name(legend)}")
        elif value not in ordinary and len(ordinary) > 1:
            proposal.ignore(value, count, "no label")
        elif count < RARE * total:
            proposal.ignore(value, count, "rare")
        else:
            classes.append(value)
    _check_number(path, classes, "values")
    is_binary = len(classes) == 2 and classes[0] == 0 and legend is None
    usual = ["background", "foreground"] if is_binary else [f"class_{value}" for value in classes]
    names = [_entry_name(named[v]) or name for v, name in zip(classes, usual, strict=True)]
    colors = [table.get(value) or _entry_color(named[value]) for value in classes]
    if is_binary and not any(colors):
        colors = [(0, 0, 0), (255, 255, 255)]
    palette = distinct_colors(colors)
    for value, name, color in zip(classes, unique_names(names), palette, strict=True):
        proposal.classes.append(ClassFound(name, color, whole[value], str(value)))
    if classes != list(range(len(classes))):
        proposal.coding["values"] = tuple(classes)
    if legend and not any(entry.value is not None for entry in legend.entries):
        proposal.notes.append(
            f"{legend.path} does not say which values its classes have, so their order counts: "
            f"{legend.entries[0].name} is 0"
        )
    unnamed = [value for value in classes if not named[value]]
    if legend and unnamed:
        proposal.notes.append(
            f"{legend.path} does not name the {_few(unnamed)} of the masks; its "
            f"{len(legend.entries)} names are {listed([e.name for e in legend.entries], 20)}"
        )
    elif legend is None:
        proposal.notes.append(
            f"no file names the classes: rename {names[0]} and so on in the config"
        )
    others = [value for value in proposal.ignored if value != 255]
    proposal.coding |= {"ignored": tuple(others)} if others else {}
    return proposal


_LARGEST = {2**bits - 1 for bits in (15, 16, 31, 32, 63, 64)}
"""Largest values of types of integers."""


def _is_marker(value: int) -> bool:
    """Tell whether a value mostly marks pixels without a label: -9999, 255, 65535 and so on."""
    return value < 0 or value == 255 or value in _LARGEST


def _few(values: Sequence[int]) -> str:
    return f"value{'s' * (len(values) > 1)} {listed(map(str, values))}"


def _entry_name(entry: Entry | None) -> str:
    return entry.name if entry else ""


def _entry_color(entry: Entry | None) -> RGB | None:
    return entry.color if entry else None


def _name(legend: Legend | None) -> str:
    return legend.path.name if legend else ""


def _check_number(
    path: Path, classes: Sequence[object], what: str, *, are_joined: bool = False
) -> None:
    if len(classes) > MAX_CLASSES:
        raise InputError(
            path,
            f"the masks have {len(classes)} different {what}, at most {MAX_CLASSES} can be classes",
            "are these images, or numbers of objects? choose the masks by labels=PATH",
        )
    if len(classes) < 2:
        shown = listed(map(str, classes))
        raise InputError(
            path,
            f"the masks have {len(classes)} class{'es' * (len(classes) != 1)} ({what}: {shown})",
            "make them anew, without lossy compression, for which similar colors count as one"
            if are_joined
            else "there must be two at least",
        )


# Colors -----------------------------------------------------------------------------------------


def _of_colors(
    path: Path,
    counts: Mapping[int, int],
    inside: Mapping[int, int],
    legend: Legend | None,
    is_lossy: bool,
) -> Proposal:
    """Propose classes for masks of colors."""
    total = sum(counts.values())
    frequent = {code for code, count in counts.items() if count >= RARE * total}
    if legend:
        frequent |= {code for code in counts if legend.of_color(_color_of(code))}
    are_many = len(counts) - len(frequent) > _FEW or len(frequent) > MAX_CLASSES
    if is_lossy or are_many or _are_mixtures(frequent, inside):
        return _of_similar_colors(path, counts, inside, legend)
    proposal = Proposal(unit="pixels", total=total)
    _sort_out(path, proposal, {_color_of(code): n for code, n in counts.items()}, legend, frequent)
    return proposal


def _of_similar_colors(
    path: Path, counts: Mapping[int, int], inside: Mapping[int, int], legend: Legend | None
) -> Proposal:
    """Propose classes for colors that differ slightly, as lossy compression makes them."""
    total, known = sum(counts.values()), sum(inside.values())
    codes = np.array(sorted(counts, key=lambda c: (-inside.get(c, 0), c)), np.int64)
    numbers = np.array([counts[code] for code in codes.tolist()], np.int64)
    peaks = np.array([inside.get(code, 0) for code in codes.tolist()], np.int64)
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    is_free = np.ones(len(codes), bool)
    centers: dict[RGB, int] = {}
    for place in range(min(len(codes), _TRIED)):
        if not is_free[place]:
            continue
        if not peaks[place] or len(centers) > MAX_CLASSES:
            break
        near = is_free & (np.abs(colors - colors[place]).max(axis=1) <= TOLERANCE)
        if peaks[near].sum() >= _INSIDE * known:
            centers[_color_of(int(codes[place]))] = int(numbers[near].sum())
            is_free &= ~near
    covered = 1 - numbers[is_free].sum() / total
    if covered < _COVERED or len(centers) > MAX_CLASSES:
        raise InputError(
            path,
            f"the masks have {len(codes)} different colors, and no few of them stand out",
            "are these images? choose the masks by labels=PATH",
        )
    proposal = Proposal(unit="pixels", total=total)
    proposal.coding["tolerance"] = TOLERANCE
    _sort_out(path, proposal, centers, legend, {_code(color) for color in centers}, TOLERANCE)
    proposal.notes.append(
        f"the colors of the masks differ slightly ({len(codes)} colors), as lossy compression or "
        f"smoothing makes them: a pixel has the nearest class within {TOLERANCE} in each band, and "
        f"{1 - covered:.2%} of the pixels are ignored; masks that were saved without loss are "
        "better"
    )
    return proposal


def _sort_out(
    path: Path,
    proposal: Proposal,
    counts: Mapping[RGB, int],
    legend: Legend | None,
    frequent: set[int],
    tolerance: int = 0,
) -> None:
    """Add the colors that are classes, and those that are not, to a proposal."""
    named = {color: legend.of_color(color, tolerance) if legend else None for color in counts}
    black, classes, ignored = (0, 0, 0), [], []
    is_binary = len(counts) == 2
    are_labels = legend is None and sorted(counts) == [(n, n, n) for n in range(len(counts))]
    for color, count in sorted(counts.items(), key=lambda item: -item[1]):
        entry = named[color]
        if entry and not entry.is_nothing:
            classes.append(color)
        elif entry:
            proposal.ignore(color, count, f"'{entry.name}' in {_name(legend)}")
            ignored.append(color)
        elif color == black and not is_binary and not are_labels:
            proposal.ignore(color, count, "black, unlabeled")
        elif _code(color) not in frequent:
            proposal.ignore(color, count, "rare")
            ignored.append(color)
        else:
            classes.append(color)
    if are_labels or (is_binary and black in classes):  # the background has label 0
        classes.sort()
    if legend:
        order = [entry.name for entry in legend.entries]
        classes.sort(key=lambda c: order.index(e.name) if (e := named[c]) else len(order))
    _check_number(path, classes, "colors", are_joined=tolerance > 0)
    names = [_entry_name(named[color]) or _color_name(color, is_binary) for color in classes]
    if are_labels and not is_binary:  # in three equal bands
        names = [f"class_{number}" for number in range(len(classes))]
    for color, name in zip(classes, unique_names(names), strict=True):
        proposal.classes.append(ClassFound(name, color, counts[color], str(color)))
    colors = tuple(color for color in ignored if color != black)
    proposal.coding |= {"ignored": colors} if colors else {}
    unnamed = [color for color in classes if not named[color]]
    if legend and unnamed:
        proposal.notes.append(_contradiction(legend, named, unnamed))
    elif legend is None:
        proposal.notes.append("no file names the classes: they are named by their colors")


def _contradiction(
    legend: Legend, named: Mapping[RGB, Entry | None], unnamed: Sequence[RGB]
) -> str:
    """Say that a legend has other colors than the masks."""
    used = {entry.name for entry in named.values() if entry}
    missing = [entry for entry in legend.entries if entry.name not in used]
    shown = listed([f"{entry.name} {entry.color or ''}".strip() for entry in missing], 20)
    return (
        f"{legend.path}: its colors are not those of the masks. No mask has {shown}; it does not "
        f"name {listed(map(str, unnamed), 20)}. These classes are named by their colors: rename "
        "them in the config"
    )


def _color_name(color: RGB, is_binary: bool) -> str:
    """Name a color by the nearest color of CSS."""
    if is_binary and color == (0, 0, 0):
        return "background"
    if is_binary and color == (255, 255, 255):
        return "foreground"
    known = {name: ImageColor.getrgb(name)[:3] for name in ImageColor.colormap}
    return min(
        known, key=lambda name: sum((a - b) ** 2 for a, b in zip(known[name], color, strict=True))
    )


def coding_of(proposal: Proposal) -> MaskCoding:
    """Make the coding of the masks of a proposal."""
    return MaskCoding(**proposal.coding)


def class_counts(masks: Sequence[Values], proposal: Proposal) -> list[np.ndarray]:
    """Count the pixels of each class in every mask.

    Args:
        masks: the values of each mask.
        proposal: the classes.

    Returns:
        (k,) for each mask
    """
    palette = np.array([one.color for one in proposal.classes])
    values = [
        int(one.source) if one.source.lstrip("-").isdecimal() else -1 for one in proposal.classes
    ]
    tolerance = proposal.coding.get("tolerance", 0)
    found = []
    for mask in masks:
        if mask.table and "color_tables" in proposal.coding:
            mask = _in_colors(mask)
        counts = np.zeros(len(palette))
        # No class has so large a value, but floats without data do.
        keys = np.array([max(-_HUGE, min(value, _HUGE)) for value in mask.counts], np.int64)
        numbers = np.array(list(mask.counts.values()), float)
        if mask.has_colors or tolerance:
            parts = (keys >> 16, keys >> 8 & 255, keys & 255) if mask.has_colors else (keys,) * 3
            apart = np.abs(np.stack(parts, axis=1)[:, None] - palette).max(axis=2)  # (n, k)
            labels, is_class = apart.argmin(axis=1), apart.min(axis=1) <= tolerance
        else:
            is_value = keys[:, None] == np.array(values)  # (n, k)
            labels, is_class = is_value.argmax(axis=1), is_value.any(axis=1)
        np.add.at(counts, labels[is_class], numbers[is_class])
        found.append(counts)
    return found
