"""The folders and files of a data set: which images there are, and which labels belong to them."""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from network.datasets.files import IMAGE_SUFFIXES, check_file, is_of_system, stem_of
from network.datasets.on_earth.find import CACHE
from network.errors import InputError, listed
from network.rasters.earth_grid import EarthGrid
from network.rasters.source import Source

RASTERS = (*IMAGE_SUFFIXES, ".jp2", ".vrt", ".img")
"""Endings of images; those that are no ``IMAGE_SUFFIXES`` can only be scenes on Earth."""

VECTORS = (".gpkg", ".geojson", ".shp", ".fgb", ".parquet", ".geoparquet")
"""Endings of files of polygons. Files ``.json`` are taken only if they are named by the user."""

_MASKS = re.compile(
    r"(masks?|labels?|gts?|ground_?truths?|truth|annotations?|ann|targets?|seg(mentation)?s?)"
    r"([_-].*|\d*)|.*[_-](masks?|labels?|gts?)",
    re.IGNORECASE,
)
_IMAGES = re.compile(
    r"(?!.*(mask|label|gt))(.*[ _-])?(images?|imgs?|rgb|irrg|photos?|pictures?)([ _-].*|\d*)",
    re.IGNORECASE,
)
"""Names of folders of images, which come before previews with the same names."""

_CONTENT = (
    r"(images?|imgs?|rgb|irrg|tiles|patches|data|masks?|labels?|gts?|ann(otation)?s?|targets?)"
)
_SPLITS = {
    split: re.compile(
        rf"({_CONTENT}[ _-])?({words})([ _-]?(set|{_CONTENT})([ _-].*|\d*))?", re.IGNORECASE
    )
    for split, words in {
        "train": "train(ing)?",
        "val": "val(id|idation)?|dev",
        "test": "test(ing)?",
    }.items()
}
"""Names of folders that tell a split, such as ``train``, ``train_images``, ``masks_val``."""

_DEEPEST = 4
"""Folders are searched to this depth."""


@dataclass(frozen=True)
class Pair:
    """A folder of images and the folder of their masks.

    Attributes:
        images: the folder of the images.
        masks: the folder of the masks.
        names: names of the images that have a mask, without endings.
        files: their masks, in the same order.
        split: the split that the name of a folder tells; None if none does.
        left_out: names of images without mask, and of masks without image.
        is_chosen: whether the user has chosen some of the images.
    """

    images: Path
    masks: Path
    names: tuple[str, ...]
    files: tuple[Path, ...]
    split: str | None = None
    left_out: tuple[str, ...] = ()
    is_chosen: bool = False


@dataclass(frozen=True)
class Layout:
    """The files of a data set that were found: images, and their masks or polygons.

    Attributes:
        root: folder that all files are in.
        images: the images, by folder.
        pairs: folders of images with folders of masks; empty if the labels are others.
        rasters: rasters of labels on Earth whose names are not those of the images.
        polygons: files of polygons. They are not the labels if there are masks.
        alone: folders of images that have no masks, although others have some.
    """

    root: Path
    images: dict[Path, list[Path]]
    pairs: tuple[Pair, ...] = ()
    rasters: tuple[Path, ...] = ()
    polygons: tuple[Path, ...] = ()
    alone: tuple[Path, ...] = ()

    @property
    def splits(self) -> set[str]:
        """The splits that names of folders tell."""
        return {pair.split for pair in self.pairs if pair.split}


def find_layout(images: Sequence[str], labels: Sequence[str] = ()) -> Layout:
    """Find the images and the labels of a data set.

    Args:
        images: folders, patterns or files.
        labels: the same for masks or polygons; by default they are searched in the folders of
            ``images``.

    Raises:
        InputError: there are no images, or no labels, or no label belongs to an image.
    """
    given = [path for word in images for path in _expanded(word)]
    found = list(_files(given))
    rasters = [path for path in found if path.suffix.lower() in RASTERS]
    vectors = [path for path in found if path.suffix.lower() in VECTORS]
    root = _common(given)
    if labels:
        of_labels = [path for word in labels for path in _expanded(word)]
        own = list(_files(of_labels, named=(".json",)))
        vectors = [path for path in own if path.suffix.lower() in (*VECTORS, ".json")]
        masks = [path for path in own if path.suffix.lower() in RASTERS]
        if not vectors and not masks:
            raise InputError(
                of_labels[0],
                "no label in it",
                f"expected {listed((*IMAGE_SUFFIXES, *VECTORS), 20)}",
            )
        taken = set(masks)
        rasters = [path for path in rasters if path not in taken]
        root = _common([*given, *of_labels])
    else:
        masks = [path for path in rasters if _is_mask(path, root)]
        rasters = [path for path in rasters if not _is_mask(path, root)]
    if not rasters:
        raise InputError(given[0], "no image in it", f"expected {listed(RASTERS, 20)}")
    by_folder = _by_folder(rasters)
    if vectors and not masks:
        return Layout(root, by_folder, polygons=tuple(vectors))
    if not masks:
        raise InputError(
            root,
            "no labels in it: neither a folder of masks, such as masks or labels, nor polygons",
            "give labels=PATH",
        )
    if not _names(rasters) & _names(masks) and all(map(_lies_on_earth, [*rasters, *masks])):
        return Layout(root, by_folder, rasters=tuple(masks), polygons=tuple(vectors))
    pairs, alone = _pair(root, by_folder, _by_folder(masks))
    _check_links(root, pairs)
    return Layout(
        root,
        by_folder,
        pairs=tuple(
            replace(pair, is_chosen=_are_some(by_folder[pair.images], pair.images))
            for pair in pairs
        ),
        polygons=tuple(vectors),
        alone=tuple(alone),
    )


def _expanded(word: str) -> list[Path]:
    """List the paths of a word that may be a pattern."""
    path = Path(word)
    if path.exists():
        return [path]
    found = sorted(map(Path, glob.glob(word, recursive=True)))
    if not found:
        raise InputError(path, "no such file or folder")
    return found


def _files(paths: Iterable[Path], named: Sequence[str] = ()) -> Iterator[Path]:
    """Yield the files at and below paths, in the order of names.

    Files that are hidden or that systems keep for themselves are left out.
    """
    for path in paths:
        if path.is_file():
            yield path
            continue
        for folder, folders, files in os.walk(path, followlinks=True):
            depth = len(Path(folder).relative_to(path).parts)
            kept = sorted(f for f in folders if f != CACHE and not is_of_system(Path(f)))
            kept = [f for f in kept if not _is_loop(Path(folder) / f)]
            folders[:] = kept if depth < _DEEPEST else []
            for name in sorted(files):
                if name[0] != "." and Path(name).suffix.lower() in (*RASTERS, *VECTORS, *named):
                    yield Path(folder) / name


def _is_loop(folder: Path) -> bool:
    """Tell whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and Path(os.path.realpath(folder)) in [
        Path(os.path.realpath(above)) for above in folder.parents
    ]


def _check_links(root: Path, pairs: Iterable[Pair]) -> None:
    """Raise an :class:`InputError` if links bring an image twice into what will be divided.

    Its copies could be in two splits. Links with the names of splits are wanted: people let
    ``test`` be ``val``.
    """
    seen: dict[str, Path] = {}
    for pair in pairs:
        if pair.split is None:
            real = os.path.realpath(pair.images)
            other = seen.setdefault(real, pair.images)
            if other != pair.images:
                raise InputError(
                    pair.images,
                    f"is the same folder as {relative(other, root)}, by a link",
                    "name one of them, or remove the link",
                )


def _common(paths: Sequence[Path]) -> Path:
    """Find the folder that all paths are in."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    if len(set(folders)) == 1:
        return folders[0]
    common = Path(os.path.commonpath([os.path.abspath(folder) for folder in folders]))
    return Path(relative(common, Path.cwd()))


def _by_folder(files: Sequence[Path]) -> dict[Path, list[Path]]:
    found: dict[Path, list[Path]] = {}
    for path in files:
        check_file(path)
        found.setdefault(path.parent, []).append(path)
    return found


def _are_some(files: Sequence[Path], folder: Path) -> bool:
    """Tell whether a folder has other images than these."""
    visible = [path for path in folder.iterdir() if path.name[0] != "."]
    return sum(path.suffix.lower() in RASTERS for path in visible) > len(files)


def _below(path: Path, root: Path) -> tuple[str, ...]:
    """List the names of the folders between a folder and the root."""
    return Path(relative(path, root)).parts


def relative(path: Path, root: Path) -> str:
    """Write a path as a config names it: relative to a folder if it is below that.

    Links are not followed, so the path stays the one that the user sees.

    Args:
        path: the file or folder.
        root: the folder.
    """
    # Path.absolute keeps "..", which would hide that one is below the other.
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    below = absolute.relative_to(base) if absolute.is_relative_to(base) else absolute
    return below.as_posix()


def _lies_on_earth(path: Path) -> bool:
    try:
        with Source(path) as source:
            EarthGrid.of(path, source.header.place, *source.size)
    except InputError:
        return False
    return True


def _is_mask(path: Path, root: Path) -> bool:
    return any(_MASKS.fullmatch(part) for part in _below(path.parent, root))


def split_of(folder: Path, root: Path) -> str | None:
    """Find the split that the names of a folder tell; None if they tell none.

    Args:
        folder: the folder.
        root: the folder above which names do not count.
    """
    for part in _below(folder, root):
        for split, pattern in _SPLITS.items():
            if pattern.fullmatch(part):
                return split
    return None


# Pairs ------------------------------------------------------------------------------------------


def _pair(
    root: Path, images: dict[Path, list[Path]], masks: dict[Path, list[Path]]
) -> tuple[list[Pair], list[Path]]:
    """Find the folder of images of each folder of masks.

    The two have the same names once one folder of each path is left out: ``train/images`` and
    ``train/masks``, ``images/train`` and ``masks/train``, ``Tile 1/images`` and ``Tile 1/masks``.
    If there is only one folder of masks and no such folder of images, any other will do.
    """
    pairs, used = [], set()
    for folder, files in masks.items():
        keys = _keys(_below(folder, root))
        shared = {f: len(_names(images[f]) & _names(files)) for f in images}
        near = [f for f in images if keys & _keys(_below(f, root))]
        fitting = [f for f in near if shared[f]]
        if not fitting and len(masks) == 1:
            fitting = [f for f in images if shared[f]]
        if not fitting:
            if near or len(masks) == 1:
                other = (near or list(images))[0]
                raise _nothing_pairs(files, images[other], folder, other)
            continue
        # Folders of one level, such as train_images and val_masks, differ in the split only.
        fitting = [f for f in fitting if split_of(f, root) == split_of(folder, root)] or fitting
        best = max(fitting, key=lambda f: shared[f])
        common = _names(images[best]) & _names(files)
        equal = [f for f in fitting if shared[f] == shared[best]]
        named = [f for f in equal if _IMAGES.fullmatch(f.name)]
        if len(named) == 1:
            best, equal = named[0], named
        if len(equal) > 1:
            raise InputError(
                folder,
                f"the images of {equal[0]} and of {equal[1]} both have the names of its masks",
                "give the path of one of them, and labels=PATH",
            )
        used.add(best)
        names = tuple(name for name in map(stem_of, images[best]) if name in common)
        masks_by_name = by_name(files)
        pairs.append(
            Pair(
                images=best,
                masks=folder,
                names=names,
                files=tuple(masks_by_name[name] for name in names),
                split=split_of(best, root),
                left_out=tuple(sorted(_names(images[best]) ^ _names(files))),
            )
        )
    if not pairs:
        folder, files = next(iter(masks.items()))
        other, theirs = next(iter(images.items()))
        raise _nothing_pairs(files, theirs, folder, other)
    pairs.sort(key=lambda pair: _natural(str(pair.images)))
    twice = [p for p in pairs if sum(q.images == p.images for q in pairs) > 1]
    if twice:
        raise InputError(
            twice[0].images,
            f"has masks in {twice[0].masks} and in {twice[1].masks}",
            "choose one of them by labels=PATH",
        )
    return pairs, [folder for folder in images if folder not in used]


def _keys(parts: tuple[str, ...]) -> set[tuple[str, ...]]:
    """List a path itself, and the path without each of its folders."""
    shorter = {parts[:number] + parts[number + 1 :] for number in range(len(parts))}
    return {parts, *shorter}


def _names(files: Iterable[Path]) -> set[str]:
    return {stem_of(path) for path in files}


def _natural(text: str) -> list[tuple[int, str]]:
    """Make a key that sorts ``Tile 10`` after ``Tile 9``."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", text) if p]


def _nothing_pairs(
    masks: Sequence[Path], images: Sequence[Path], folder: Path, other: Path
) -> InputError:
    """Make the error for masks that have none of the images' names."""
    stems = sorted(_names(images))
    for mask in masks:
        near = get_close_matches(mask.stem, stems, n=1, cutoff=0.3)
        if near:
            shown = f"the nearest are {mask.name} and {near[0]}"
            break
    else:
        shown = f"such as {masks[0].name} and {stems[0]}"
    return InputError(
        folder,
        f"none of its {len(masks)} masks has the name of an image in {other} ({shown})",
        "a mask needs the name of its image; the ending may differ",
    )


def by_name(files: Iterable[Path]) -> dict[str, Path]:
    """Find images or masks by their names without endings.

    Args:
        files: the files.

    Raises:
        InputError: two have the same name.
    """
    found: dict[str, Path] = {}
    for path in files:
        other = found.setdefault(stem_of(path), path)
        if other != path:
            raise InputError(
                path, f"has the name of {other}", "rename one of them and its labels, if it has any"
            )
    return found


def file_patterns(files: Sequence[Path], root: Path) -> tuple[str, ...]:
    """Name files by a pattern where they are all files of their ending in a folder.

    Args:
        files: the files.
        root: the folder that the names are relative to.
    """
    found: list[str] = []
    by_ending: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        by_ending.setdefault((path.parent, path.suffix), []).append(path)
    for (folder, suffix), own in by_ending.items():
        if len(own) > 1 and set(folder.glob(f"*{suffix}")) == set(own):
            pattern = Path(glob.escape(str(folder)), f"*{suffix}")
            found.append(relative(pattern, Path(glob.escape(str(root)))))
        else:
            found += [relative(path, root) for path in own]
    return tuple(found)
