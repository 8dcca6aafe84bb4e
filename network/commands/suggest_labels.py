"""Suggest windows to label next: where the maps of a network are least certain.

For the arguments, see ``tools/suggest_labels.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.datasets.on_earth.files import AreaFile
from network.errors import InputError
from network.extras import require_extra
from network.maps.search import WAYS, Search, find_maps


def main(description: str) -> None:
    """Parse the command line and suggest windows."""
    execute(make_parser(description), run, overrides=False)


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("maps", type=Path, nargs="+", metavar="MAPS", help="maps of predict.py, or their folder")
    add("-o", "--output", type=Path, required=True, help="the GeoPackage to write, e.g. next.gpkg")
    add("--size", type=float, required=True, metavar="METERS", help="side of the windows")
    add("--number", type=int, default=20, metavar="N", help="windows (default %(default)s)")
    add(
        "--by",
        choices=WAYS,
        default=WAYS[0],
        help="highest mean entropy or disagreement, lowest mean confidence, or chance "
        "(default %(default)s)",
    )
    add(
        "--corrections",
        type=Path,
        metavar="FILE",
        help="GeoPackage to draw into; an empty one is made if there is none. What is drawn in it "
        "is labeled already",
    )
    add(
        "--labeled",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="polygons, or rasters, of what is labeled already; no window covers any of it",
    )
    add("--areas", type=Path, metavar="FILE", help="polygons that windows must lie in")
    add("--split", metavar="NAME", help="only the areas of this split, e.g. train")
    add("--attribute", help="attribute of the areas that has the split (default split)")
    add("--seed", type=int, default=0, help="of chance and of ties (default %(default)s)")
    add("--overwrite", action="store_true", help="replace an older -o and its picture")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    for path in (args.output, args.corrections):
        if path is not None and path.suffix.lower() != ".gpkg":
            raise InputError(path, "is no name of a GeoPackage", "give a name with .gpkg")
    if args.corrections and args.corrections.resolve() == args.output.resolve():
        raise InputError(args.output, "is also --corrections", "give two files")
    picture = args.output.with_suffix(".png")
    for path in (args.output, picture):
        if path.exists() and not args.overwrite:
            raise InputError(path, "exists already", "give --overwrite, or another -o")
    areas = _areas(args)
    require_extra("vectors", "windows to label")
    from network.maps.suggest import suggest_windows
    from network.maps.suggestion_files import prepare_corrections, write_windows
    from network.reporting.suggestion_picture import write_suggestion_picture

    labeled = tuple(args.labeled)
    if args.corrections and args.corrections.exists():
        labeled += (args.corrections,)
    search = Search(
        size=args.size,
        number=args.number,
        by=args.by,
        labeled=labeled,
        areas=areas,
        seed=args.seed,
    )
    found = suggest_windows(find_maps(args.maps), search)
    write_windows(args.output, found)
    title = f"{len(found.windows)} windows of {args.size:g} m to label, by {args.by}"
    write_suggestion_picture(found, picture, title)
    print(f"{args.output}: {len(found.windows)} windows")
    print(picture)
    if args.corrections:
        is_new = prepare_corrections(args.corrections, found.crs, found.classes)
        print(f"{args.corrections}: {'empty, to draw into' if is_new else 'kept as it is'}")


def _areas(args: argparse.Namespace) -> AreaFile | None:
    if args.areas is None:
        for name in ("split", "attribute"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name}", "needs --areas FILE")
        return None
    if args.split is None:
        if args.attribute is not None:
            raise InputError("--attribute", "needs --split NAME")
        return AreaFile(path=args.areas)
    return AreaFile(path=args.areas, attribute=args.attribute or "split", only=(args.split,))
