"""Write the config of a new data set by looking at its images and labels.

For the arguments, see ``tools/new_dataset.py``.
"""

import argparse
import re
import shlex
from pathlib import Path

from rich.table import Table

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
    in_flags,
)
from network.commands.config_text import config_text
from network.console import text_console
from network.datasets.discovery.describe import describe
from network.datasets.discovery.description import AREAS, Description
from network.datasets.discovery.layout import find_layout
from network.errors import InputError
from network.writing import replacing


def main(description: str) -> None:
    """Parse the command line and write a config."""
    execute(make_parser(description), run, overrides=False)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("images", nargs="+", metavar="IMAGES", help="folders, patterns or files")
    add(
        "--labels",
        nargs="+",
        default=[],
        help="masks or polygons: folders, patterns or files (default: searched beside the images)",
    )
    add(
        "--areas",
        type=Path,
        metavar="FILE",
        help="polygons whose attribute says train, val or test, for scenes on Earth",
    )
    add("--name", help="name of the data set (default: that of its folder)")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="CONFIG",
        help="config to write (default: config/NAME/bicor.py)",
    )
    add("--attribute", help="attribute of the polygons that has the class (default: chosen)")
    add("--overwrite", action="store_true", help="replace a config that exists")
    add_workers_flags(parser)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.output and args.output.suffix != ".py":
        raise InputError(args.output, "a config is a Python file", "let its name end in .py")
    layout = find_layout(args.images, args.labels)
    name = _checked_name(args.name) if args.name else _name_of(layout.root)
    config = args.output or Path("config") / name / "bicor.py"
    if config.exists() and not args.overwrite:
        raise InputError(config, "exists", "give another output, or overwrite=True")
    found = describe(
        layout,
        name,
        areas=args.areas,
        attribute=args.attribute,
        workers=chosen_workers(args),
    )
    areas, text = config.with_name(AREAS), config_text(found, config)
    if found.division is not None:
        from network.datasets.on_earth.split import write_division

        if areas.exists() and not args.overwrite:
            raise InputError(areas, "exists", "give another output, or overwrite=True")
        write_division(found.division, areas)
    with replacing(config) as partial:
        partial.write_text(text, encoding="utf-8")
    print_description(found)
    print(f"{config}" + (f" and {areas}" if found.division is not None else ""))
    print_next(found, config)


def _name_of(folder: Path) -> str:
    """Make a name of a data set from its folder."""
    name = re.sub(r"\W+", "_", folder.resolve().name).strip("_").lower()
    return name or "data"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"name={name}", "expected letters, digits, _ and -", "choose another one")
    return name


def print_description(found: Description) -> None:
    """Print what was found: the images, the classes with their shares, and notes."""
    images, proposal, sizes = found.images, found.proposal, found.sizes
    splits = ", ".join(f"{split} {count}" for split, count in found.counts.items())
    ground = f", {found.resolution:.3g} m a pixel" if found.resolution else ""
    alpha = ", alpha band: where it is 0 there are no data" if images.has_alpha else ""
    print(f"{images.summary}{ground}{alpha}")
    kind = "images, within areas" if _has_areas(found) else "images"
    print(f"splits ({kind}): {splits}")
    what = "area" if proposal.unit == "m2" else "pixels"
    table = Table(title=f"{found.info.name}: classes")
    for heading in ("label", "class", "in the labels", "color", f"share of the {what}, %"):
        table.add_column(heading, justify="right" if heading.startswith("share") else "left")
    for label, one in enumerate(proposal.classes):
        color = "#{:02x}{:02x}{:02x}".format(*one.color)
        cells = str(label), one.name, one.source, color, _percent(one.amount, proposal.total)
        table.add_row(*cells)
    for value, ignored in proposal.ignored.items():
        shown = str(value) or "(empty)"
        amount = _percent(ignored.amount, proposal.total)
        if proposal.unit == "pixels":
            amount = f"{amount} ({int(ignored.amount)})"
        table.add_row("ignored", ignored.why, shown, "", amount)
    text_console(100).print(table)
    if sizes.mean is None:
        print("mean and std: those that the encoder was pretrained with")
    else:
        print(f"mean {sizes.mean}, std {sizes.std}")
    for note in found.notes:
        # Rewritten like an error, so that it names flags instead of arguments.
        print(f"note: {in_flags(InputError(note), make_parser(''))}")


def _has_areas(found: Description) -> bool:
    return any(scenes.areas for scenes in found.info.scenes("train"))


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.2f}" if whole else "-"


def print_next(found: Description, config: Path) -> None:
    """Print the three commands that come next."""
    path, name = shlex.quote(str(config)), found.info.name
    of_images = " --rgb --report" if found.sizes.window is None else ""  # scenes become maps
    print("next:")
    print(f"  python tools/check_data.py -c {path}")
    print(f"  python train.py -c {path}")
    print(f"  python test_custom.py -c {path} -o fig_results/{name}{of_images}")
