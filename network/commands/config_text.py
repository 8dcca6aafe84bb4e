"""The text of a config for a data set that was found."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from network.datasets.discovery.description import AREAS, Description
from network.datasets.on_earth.files import LabelFile
from network.datasets.on_earth.scenes import Scenes
from network.datasets.schema import Folder, MaskCoding

_WIDTH = 100
_BATCH = 8

_Arguments = Sequence[tuple[str, Any]]
"""Names and values of arguments; without a name, an argument stands by its position."""


@dataclass(frozen=True)
class Code:
    """A piece of Python that is written as it is."""

    text: str


_ENCODER = "convnext_base.fb_in1k"
_MODEL: _Arguments = (("layers", 2), ("topk_ratio", 0.02), ("drop_path", 0.5))
_LOSS: _Arguments = (("smoothing", 0.05), ("aux", 0.4), ("heatmap", 0.1), ("fisher", 0.1))
_OPTIM: _Arguments = (
    ("lr", Code("8e-5")),
    ("weight_decay", 0.01),
    ("epochs", 45),
    ("lookahead", True),
)
"""Settings of the project's own configs, such as ``config/potsdam/bicor.py``."""

_OF_ENCODER = (
    "No mean and std: images of 8-bit RGB are normalized as those that the encoder was pretrained "
    "on, since its weights expect that."
)
_END = "below"
"""The place of a comment below the arguments of a call."""


@dataclass(frozen=True)
class Call:
    """A call, with a comment above some of its arguments, or below them."""

    name: str
    arguments: _Arguments
    comments: Mapping[str, str]


def _call(
    name: str, *arguments: tuple[str, Any], comments: Mapping[str, str] | None = None
) -> Call:
    return Call(name, arguments, comments or {})


def config_text(found: Description, config: Path) -> str:
    """Write a config, formatted as ruff formats it.

    Args:
        found: the data set.
        config: the file that the text is for, for the commands in it.
    """
    info = found.info
    name = _constant(info.name)
    is_scene = found.sizes.window is not None
    parts = _scene_parts(found) if is_scene else _folder_parts(found)
    splits, before = parts
    dataset = _dataset(found, splits)
    ignore_index = ("", Code(f"{name}.ignore_index"))
    experiment = _call(
        "Experiment",
        ("dataset", Code(name)),
        ("model", _model(found, name)),
        ("loss", _call("partial", ("", Code("BiCoRLoss")), ignore_index, *_LOSS)),
        ("data", _data(found)),
        ("optim", _call("Optim", *_OPTIM)),
    )
    blocks = [
        _head(found, config),
        _imports(found, is_scene),
        before,
        f"{name} = {_shown(dataset, 0, len(name) + 3)}",
        f"experiment = {_shown(experiment, 0, 13)}",
    ]
    text = "\n\n".join(block for block in blocks if block) + "\n"
    return _spaced(text)


def _spaced(text: str) -> str:
    """Put two empty lines around functions."""
    text = re.sub(r"\n\n+(?=def )", "\n\n\n", text)
    return re.sub(r"(\ndef [^\n]*\n(?:[ \n][^\n]*\n?)*?)\n+(?=[A-Za-z])", r"\1\n\n", text)


def _head(found: Description, config: Path) -> str:
    images, info = found.images, found.info
    ground = f", {found.resolution:.3g} m a pixel" if found.resolution else ""
    facts = f"{images.summary}{ground}"
    classes = f"{info.num_classes} classes"
    lines = [
        f'"""{_escaped(info.name)}: {classes}, BiCoR-Seg with a ConvNeXt-B encoder.',
        "",
        f"Run      python train.py -c {_escaped(_quoted(config))}",
        f"Source   {_escaped(facts)}",
        "Expects  not measured yet; written by tools/new_dataset.py",
        '"""',
    ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'")


def _quoted(path: Path) -> str:
    text = path.as_posix()
    return f"'{text}'" if " " in text else text


def _constant(name: str) -> str:
    word = re.sub(r"\W+", "_", name).strip("_").upper() or "DATA"
    is_free = word.isidentifier() and word not in ("TRAIN", "VAL", "TEST", "AREAS")
    return word if is_free else f"DATA_{word}"


def _imports(found: Description, is_scene: bool) -> str:
    has_areas = is_scene and _first_scenes(found).areas is not None
    has_labels = is_scene and bool(_first_scenes(found).labels)
    names = ["DatasetInfo"]
    names += [] if is_scene else ["Folder", "MaskFolder"]
    names += ["MaskCoding"] if _coding(found) else []
    files = [*(["AreaFile"] if has_areas else []), *(["LabelFile"] if has_labels else [])]
    lines = ["from functools import partial"]
    if found.division is not None:
        lines.append("from pathlib import Path")
    lines += [
        "",
        "from network.config import Data, Experiment, Optim",
        f"from network.datasets.info import {', '.join(sorted(names))}",
    ]
    if is_scene:
        lines.append(f"from network.datasets.on_earth.files import {', '.join(files)}")
        lines.append("from network.datasets.on_earth.scenes import Scenes")
    lines += [
        "from network.losses.bicor import BiCoRLoss",
        "from network.models.bicor import BiCoRSeg",
    ]
    return "\n".join(lines)


# Parts of the config ----------------------------------------------------------------------------


def _model(found: Description, name: str) -> Call:
    arguments: list[tuple[str, Any]] = [
        ("", Code("BiCoRSeg")),
        ("", Code(f"{name}.num_classes")),
        ("encoder", _ENCODER),
        *_MODEL,
    ]
    if found.info.bands != 3:
        arguments.append(("bands", Code(f"{name}.bands")))
    return _call("partial", *arguments)


def _data(found: Description) -> Call:
    sizes = found.sizes
    arguments: list[tuple[str, Any]] = []
    if sizes.val != "val":
        arguments.append(("val", sizes.val))
    if sizes.test != "test":
        arguments.append(("test", sizes.test))
    arguments.append(("crop", sizes.crop))
    if sizes.window is not None:
        arguments.append(("window", sizes.window))
    if sizes.repeat > 1:
        arguments.append(("repeat", sizes.repeat))
    arguments.append(("batch_size", _BATCH))
    if sizes.mean is None or sizes.std is None:
        return _call("Data", *arguments, comments={_END: _OF_ENCODER})
    return _call("Data", *arguments, ("mean", sizes.mean), ("std", sizes.std))


def _coding(found: Description) -> tuple[tuple[str, Any], ...]:
    """List what the masks of a config need."""
    coding = found.info.mask_coding
    chosen = ((f.name, getattr(coding, f.name), f.default) for f in fields(MaskCoding))
    return tuple((name, value) for name, value, default in chosen if value != default)


def _dataset(found: Description, splits: Code) -> Call:
    info, proposal = found.info, found.proposal
    arguments: list[tuple[str, Any]] = [
        ("name", info.name),
        ("root", info.root),
        ("classes", info.classes),
        ("palette", info.palette),
        ("ignore_index", info.ignore_index),
    ]
    comments = {}
    if proposal.ignored:
        shown = [
            f"{value!r} ({ignored.why}, {_share(ignored.amount, proposal.total)})"
            for value, ignored in list(proposal.ignored.items())[:4]
        ]
        more = len(proposal.ignored) - len(shown)
        shown += [f"{more} more"] if more else []
        comments["ignore_index"] = f"Ignored in the labels: {', '.join(shown)}."
    coding = _coding(found)
    if coding:
        arguments.append(("mask_coding", _call("MaskCoding", *coding)))
    arguments.append(("splits", splits))
    if (info.bands, info.bits, info.values) != (3, 8, "unsigned"):
        arguments += [("bands", info.bands), ("bits", info.bits)]
        arguments += [("values", info.values)] if info.values != "unsigned" else []
    if info.exif_orientation:
        arguments.append(("exif_orientation", info.exif_orientation))
    if info.patch_names:
        arguments.append(("patch_names", info.patch_names))
        comments["patch_names"] = "Intervals of scores are over the larger images, tiles."
    return Call("DatasetInfo", arguments, comments)


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "0 %"


def _folder_parts(found: Description) -> tuple[Any, str]:
    """Write the splits of folders, and what stands before the data set."""
    info = found.info
    splits: dict[str, tuple[Folder, ...]] = {split: info.folders(split) for split in info.splits}
    simple = _by_split_name(splits)
    function = [
        "def folder(images: str, masks: str, **names) -> Folder:",
        '    """Images, and masks with their names."""',
        "    return Folder(images=images, masks=(MaskFolder(folder=masks),), **names)",
    ]
    if simple:
        images, masks = simple
        lines = f"{{split: (folder(f{_text(images)}, f{_text(masks)}),) for split in "
        return Code(lines + f"{_text(tuple(splits))}}}"), "\n".join(function)
    held = {
        s: folders[0].only for s, folders in splits.items() if len(folders) == 1 and s != "train"
    }
    before, known = [], {}
    for split, only in held.items():
        if only and splits["train"] and set(only) <= set(splits["train"][0].leave_out):
            known[split] = only
            before.append(f"{split.upper()} = {_shown(only, 0, len(split) + 3)}")
    written = {
        split: tuple(_folder_call(one, split, known) for one in folders)
        for split, folders in splits.items()
    }
    return written, "\n".join([*before, *(["", ""] if before else []), *function])


def _by_split_name(splits: Mapping[str, Sequence[Folder]]) -> tuple[str, str] | None:
    """Find the paths of images and masks if they differ only in the name of the split."""
    found = set()
    for split, folders in splits.items():
        if len(folders) != 1 or folders[0].only or folders[0].leave_out or folders[0].prefix:
            return None
        paths = folders[0].images, folders[0].masks[0].folder
        parts = [path.split("/") for path in paths]
        if not all(own.count(split) == 1 for own in parts):
            return None
        found.add(tuple("/".join("{split}" if p == split else p for p in own) for own in parts))
    if len(found) != 1:
        return None
    images, masks = found.pop()
    return images, masks


def _folder_call(folder: Folder, split: str, known: Mapping[str, tuple[str, ...]]) -> Call:
    arguments: list[tuple[str, Any]] = [("", folder.images), ("", folder.masks[0].folder)]
    if folder.only:
        arguments.append(("only", Code(split.upper()) if split in known else folder.only))
    if folder.leave_out:
        arguments.append(("leave_out", _without(folder.leave_out, known)))
    if folder.prefix:
        arguments.append(("prefix", folder.prefix))
    return _call("folder", *arguments)


def _without(names: tuple[str, ...], known: Mapping[str, tuple[str, ...]]) -> Any:
    """Write names as those of the constants that hold them, and the rest."""
    # A constant may have names of another folder, which mean other images here.
    held: dict[str, tuple[str, ...]] = {}
    for split, own in known.items():
        if set(own) <= set(names) - {n for others in held.values() for n in others}:
            held[split] = own
    rest = [n for n in names if not any(n in own for own in held.values())]
    if not held:
        return names
    parts = [f"*{split.upper()}" for split in held] + [_text(name) for name in rest]
    return Code(f"({', '.join(parts)}{',' * (len(parts) == 1)})")


def _first_scenes(found: Description) -> Scenes:
    return found.info.scenes("train")[0]


def _scene_parts(found: Description) -> tuple[Any, str]:
    """Write the splits of scenes, and what stands before the data set."""
    info, first = found.info, _first_scenes(found)
    options: list[tuple[str, Any]] = [
        ("labels", tuple(_label_call(file) for file in first.labels)),
    ]
    if first.bands:
        options.append(("bands", first.bands))
    if first.areas is not None:
        path: Any = first.areas.path.as_posix()
        before = ""
        if found.division is not None:
            path = Code("AREAS")
            before = f'AREAS = Path(__file__).resolve().with_name("{AREAS}")\n\n\n'
        areas = _call(
            "AreaFile",
            ("path", path),
            ("attribute", first.areas.attribute),
            ("only", Code("(split,)")),
        )
        call = _call("Scenes", ("images", first.images), *options, ("areas", areas))
        lines = [
            "def scenes(split: str) -> Scenes:",
            '    """All images, as far as they are in the areas of a split."""',
            f"    return {_shown(call, 4, 7)}",
        ]
        splits = f"{{split: (scenes(split),) for split in {_text(tuple(info.splits))}}}"
        return Code(splits), before + "\n".join(lines)
    call = _call("Scenes", ("images", Code("images")), *options, ("leave_out", Code("leave_out")))
    lines = [
        f"{split.upper()} = {_shown(info.scenes(split)[0].images, 0, len(split) + 3)}"
        for split in info.splits
        if split != "train"
    ]
    lines += [
        "",
        "",
        "def scenes(images: tuple[str, ...], leave_out: tuple[str, ...] = ()) -> Scenes:",
        '    """Some images, with all labels that touch them."""',
        f"    return {_shown(call, 4, 7)}",
    ]
    held = ", ".join(f"*{split.upper()}" for split in info.splits if split != "train")
    written = {
        split: (
            _call("scenes", ("", first.images), ("leave_out", Code(f"({held})")))
            if split == "train"
            else _call("scenes", ("", Code(split.upper()))),
        )
        for split in info.splits
    }
    return written, "\n".join(lines)


def _label_call(file: LabelFile) -> Call:
    arguments: list[tuple[str, Any]] = [("path", file.path.as_posix())]
    for name in ("attribute", "layer", "all_are", "background", "values"):
        value = getattr(file, name)
        if value:
            arguments.append((name, dict(value) if name == "values" else value))
    return _call("LabelFile", *arguments)


# Writing of values ------------------------------------------------------------------------------


def _text(value: Any) -> str:
    """Write a value in one line."""
    if isinstance(value, Code):
        return value.text
    if isinstance(value, Call):
        return f"{value.name}({', '.join(_argument(n, _text(v)) for n, v in value.arguments)})"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in value.items()) + "}"
    return repr(value)


def _argument(name: str, text: str) -> str:
    return f"{name}={text}" if name else text


def _shown(value: Any, indent: int, before: int, after: int = 0) -> str:
    """Write a value in one line if it fits there, else with one part a line.

    Args:
        value: the value.
        indent: number of spaces before the line.
        before: number of letters before the value in its line.
        after: number of letters after it.
    """
    flat = _text(value)
    fits = indent + before + len(flat) + after <= _WIDTH
    inner = indent + 4
    if isinstance(value, Code) and not fits and " for split in " in value.text:
        return _comprehension(value.text, indent)
    if isinstance(value, Code | str | int | float | bool) or value is None:
        return flat
    if fits and not (isinstance(value, Call) and (value.comments or _is_long(value))):
        return flat
    lines = []
    if isinstance(value, Call):
        opening, closing = f"{value.name}(", ")"
        for name, part in value.arguments:
            if name in value.comments:
                lines += _comment(value.comments[name], inner)
            prefix = f"{name}=" if name else ""
            lines.append(f"{' ' * inner}{prefix}{_shown(part, inner, len(prefix), 1)},")
        if _END in value.comments:
            lines += _comment(value.comments[_END], inner)
    elif isinstance(value, dict):
        opening, closing = "{", "}"
        for key, part in value.items():
            prefix = f"{_text(key)}: "
            lines.append(f"{' ' * inner}{prefix}{_shown(part, inner, len(prefix), 1)},")
    else:
        opening, closing = "(", ")"
        lines = [f"{' ' * inner}{_shown(part, inner, 0, 1)}," for part in value]
    return "\n".join([opening, *lines, " " * indent + closing])


def _is_long(call: Call) -> bool:
    """Tell whether a call is one of those that always have one argument a line."""
    return call.name in ("DatasetInfo", "Experiment")


def _comprehension(text: str, indent: int) -> str:
    head, tail = text[1:-1].split(" for split in ")
    inner = " " * (indent + 4)
    together = f"{inner}{head} for split in {tail}"
    if len(together) > _WIDTH:
        together = f"{inner}{head}\n{inner}for split in {tail}"
    return f"{{\n{together}\n{' ' * indent}}}"


def _comment(text: str, indent: int) -> list[str]:
    """Wrap a comment."""
    lines, line = [], "#"
    for word in text.split():
        if indent + len(line) + 1 + len(word) > _WIDTH:
            lines.append(" " * indent + line)
            line = "#"
        line += f" {word}"
    return [*lines, " " * indent + line]
