"""Look at a predicted map beside its image, in a browser or as a picture.

For the arguments, see ``tools/view_map.py``.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from network.commands.arguments import command_parser, execute
from network.config import load_experiment
from network.datasets.schema import DatasetInfo
from network.errors import InputError, warn
from network.extras import require_extra
from network.maps.read import FinishedMap, read_image, read_map
from network.rasters.view import View
from network.reporting.map_picture import WIDTH, check_picture, write_map_picture

if TYPE_CHECKING:
    from network.serving.polygons import Polygons


def main(description: str) -> None:
    """Parse the command line and show a map."""
    parser = command_parser(description)
    add = parser.add_argument
    add("map", type=Path, metavar="MAP", help="map or mask that predict.py has written")
    add("image", type=Path, nargs="?", metavar="IMAGE", help="the image it was predicted from")
    add("-c", "--config", type=Path, help="for names and colors, if the map has none")
    add("--bands", type=int, nargs="+", help="bands of the image to show (default: 1 2 3)")
    add("--polygons", type=Path, help="file of polygons (default: MAP's .gpkg or .parquet)")
    add("--port", type=int, default=0, help="port of the page (default: any that is free)")
    add("--no-browser", action="store_true", help="only print the address of the page")
    add("--picture", type=Path, metavar="FILE", help="write a PNG for a paper, and open no page")
    add(
        "--width",
        type=int,
        default=WIDTH,
        help="width of the picture in pixels (default %(default)s)",
    )
    execute(parser, run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    info = load_experiment(args.config).dataset if args.config else None
    if args.picture:
        draw(args, info)
    else:
        require_extra("viewer", "the page")
        show(args, info)


def draw(args: argparse.Namespace, info: DatasetInfo | None) -> None:
    """Write the picture of a map."""
    check_picture(args.picture, args.width)
    for given in (args.map, args.image):
        if given and given.resolve() == args.picture.resolve():
            raise InputError(args.picture, "is an input", "choose another picture=FILE")
    if args.polygons:
        raise InputError(
            f"polygons={args.polygons}", "only the page draws polygons", "leave it out"
        )
    map_, image = read(args, info)
    write_map_picture(map_, args.picture, image, shown_bands(args, info), args.width)
    print(args.picture)


def show(args: argparse.Namespace, info: DatasetInfo | None) -> None:
    """Open the page of a map, and serve it until Ctrl-C."""
    # They import libraries that only this needs.
    from network.serving.app import make_app
    from network.serving.server import address_of, listen, serve
    from network.serving.viewer import MapViewer

    with listen(args.port) as opened:
        map_, image = read(args, info)
        polygons = find_polygons(args.polygons, map_)
        viewer = MapViewer(map_, image, shown_bands(args, info), polygons)
        print(f"{args.map}: {address_of(opened)} (Ctrl-C ends it)", flush=True)
        serve(make_app(viewer), opened, browser=not args.no_browser)


def read(args: argparse.Namespace, info: DatasetInfo | None) -> tuple[FinishedMap, View | None]:
    """Open the map, and the image if there is one."""
    map_ = read_map(args.map, info)
    return map_, read_image(args.image, map_, info) if args.image else None


def shown_bands(args: argparse.Namespace, info: DatasetInfo | None) -> list[int] | None:
    """Choose the bands of the image: those of the flag, else those that the config shows."""
    if args.bands or info is None or args.image is None:
        return args.bands
    return [band + 1 for band in info.rgb_bands]


def find_polygons(given: Path | None, map_: FinishedMap) -> "Polygons | None":
    """Open the given polygons, else those that lie beside the map; None if there are none.

    Polygons that nobody has asked for are left out with a warning if they cannot be drawn.
    """
    path = map_.labels.path
    beside = (path.with_suffix(ending) for ending in (".gpkg", ".parquet"))
    found = given or next((file for file in beside if file.is_file()), None)
    if found is None:
        return None
    try:
        require_extra("vectors", f"polygons={found}")
        from network.serving.polygons import Polygons

        return Polygons(found, map_.labels.place, is_wanted=given is not None)
    except InputError as error:
        if given:
            raise
        warn(f"{error}; the page shows no polygons")
        return None
