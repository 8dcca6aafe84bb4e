"""Answer images that come by HTTP with their masks.

For the arguments, see ``serve.py``.
"""

import argparse
import ipaddress
import os
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from network.card import read_card
from network.commands.arguments import (
    add_compute_flags,
    check_exported,
    chosen_backend,
    command_parser,
    compute_overrides,
    execute,
)
from network.config import load_experiment
from network.errors import InputError, warn
from network.exported.load import is_exported, load_exported
from network.exported.programs import PROGRAMS
from network.extras import EXTRAS, require_extra
from network.maps.read import read_image, read_map
from network.models.checkpoint import read_checkpoint
from network.prediction import ImagePredictor
from network.predictor import Predictor
from network.progress import no_progress_bars
from network.settings import Compute
from network.tta import TTA_NAMES
from network.writing import file_hash

if TYPE_CHECKING:
    from network.serving.earth_tiles import EarthTiles
    from network.serving.service import Service
    from network.serving.viewer import MapViewer

PORT = 8000
TOKEN_VARIABLE = "BICOR_SEG_TOKEN"
_NEEDED = tuple(module for name in ("viewer", "vectors", "serve") for module in EXTRAS[name])


def main(description: str) -> None:
    """Parse the command line and serve a network."""
    parser = command_parser(description)
    add = parser.add_argument
    add(
        "checkpoint",
        type=Path,
        metavar="CKPT",
        help="best.ckpt or last.ckpt of a training, or an exported file .onnx, .xml or .pt2",
    )
    add("--backend", choices=PROGRAMS, help="program that runs an exported file")
    add("-c", "--config", type=Path, help="for checkpoints that do not say how they are built")
    add("-t", "--tta", choices=TTA_NAMES, default="none", help="test-time augmentation")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default auto)")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    add("--port", type=int, default=PORT, help="default %(default)s; 0 for any that is free")
    add(
        "--token-file",
        type=Path,
        help=f"file of the token that requests must send (default: ${TOKEN_VARIABLE}, or none)",
    )
    add("--map", type=Path, metavar="COG", help="also show this map of predict.py at /map/")
    add(
        "--image",
        type=Path,
        help="the image of the map; without a map, tiles of this image are predicted on demand",
    )
    for name, kind, unit in (
        ("max-megabytes", float, "largest body of a request"),
        ("max-megapixels", float, "largest image"),
        ("body-seconds", float, "time for the arrival of a body"),
        ("seconds", float, "time for an answer"),
        ("queue", int, "images that may wait; one more gets the status 429"),
        ("batch", int, "windows that the network sees at once"),
        ("wait-ms", float, "how long a window waits for others"),
    ):
        add(f"--{name}", type=kind, help=unit)
    add_compute_flags(parser)
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    require_extra("serve", "the service", _NEEDED)
    # They import libraries that only this needs.
    from network.serving.limits import Limits
    from network.serving.server import address_of, listen, serve_and_drain
    from network.serving.service import Service
    from network.serving.service_app import make_service_app

    names = ("max_megabytes", "max_megapixels", "body_seconds", "seconds", "queue", "batch")
    given = {name: getattr(args, name) for name in (*names, "wait_ms")}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    token = read_token(args.token_file)
    check_host(args.host, token)
    with listen(args.port, args.host) as opened:
        predictor, facts = load(args, limits.batch)
        viewer = open_map(args)
        service = Service(predictor, {"version": version("bicor-seg"), **facts}, limits)
        with closing(service), no_progress_bars():  # a log needs no bar for each image
            tiles = open_tiles(args, viewer, service)
            app = make_service_app(service, token=token, viewer=viewer, tiles=tiles)
            print(f"{args.checkpoint}: {address_of(opened)} (Ctrl-C ends it)", flush=True)
            serve_and_drain(app, opened, service.drain)


def load(args: argparse.Namespace, batch_size: int) -> tuple[ImagePredictor, dict[str, str]]:
    """Load the network with the settings of the command line, and tell which one it is.

    Args:
        args: the parsed arguments.
        batch_size: number of windows that the network sees at once.
    """
    if not args.checkpoint.is_file():
        problem = "no such file"
        raise InputError(args.checkpoint, problem, "give a checkpoint or an exported file")
    backend = chosen_backend(args)
    if is_exported(args.checkpoint):
        check_exported(args)
        backend.check_device(args.device)
        file = load_exported(args.checkpoint, backend)
        facts = {key: str(value) for key, value in file.identity.items()}
        predictor = file.predictor(tta=args.tta, patch=None, batch_size=batch_size)
        return predictor, {**facts, "tta": args.tta}
    backend.check_checkpoint(args.checkpoint)
    overrides = [*args.overrides, *compute_overrides(args)]
    if args.config is not None:
        compute = load_experiment(args.config, overrides).compute
    else:
        overrides = args.overrides
        own = read_card(read_checkpoint(args.checkpoint), args.checkpoint).compute
        precision = args.precision or own.precision
        compute = Compute(
            precision=precision, channels_last=args.channels_last, compile=args.compile
        )
    trained = Predictor.load(
        args.checkpoint,
        config=args.config,
        overrides=overrides,
        compute=compute,
        device=args.device,
        tta=args.tta,
        patch=None,
        batch_size=batch_size,
    )
    facts = {"tta": args.tta, "precision": compute.precision}
    return trained, {"checkpoint_sha256": file_hash(args.checkpoint), **facts}


def read_token(file: Path | None) -> str | None:
    """Read the token from a file, else from the environment; None if there is none.

    Raises:
        InputError: the file cannot be read, or the token is too short.
    """
    if file is None:
        text, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if text is None:
            return None
    else:
        where = str(file)
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                file, "cannot be read as a token", "write one line of ASCII letters into it"
            ) from error
    token = text.strip()
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            where,
            "is no token of at least 16 letters and digits in one line",
            "make one: openssl rand -hex 32",
        )
    return token


def check_host(host: str, token: str | None) -> None:
    """Refuse to be reached from other machines without a token.

    Raises:
        InputError: the host is no address, or there is no token.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError as error:
        raise InputError(f"host={host}", "is no address", "give one such as 127.0.0.1") from error
    if token is None and not address.is_loopback:
        raise InputError(
            f"host={host}",
            "lets other machines use the service, and there is no token",
            "give token_file=FILE, or leave the host out",
        )


def open_map(args: argparse.Namespace) -> "MapViewer | None":
    """Open the finished map that is shown; None if there is none."""
    from network.serving.viewer import MapViewer

    if args.map is None:
        return None
    map_ = read_map(args.map)
    return MapViewer(map_, read_image(args.image, map_) if args.image else None)


def open_tiles(
    args: argparse.Namespace, viewer: "MapViewer | None", service: "Service"
) -> "EarthTiles | None":
    """Make the tiles of the map, else of the image; None if there are none."""
    from network.serving.earth_tiles import EarthTiles, ImageLabels, MapLabels

    if viewer is not None:
        try:
            return EarthTiles(MapLabels(viewer.map))
        except InputError as error:
            warn(f"{error}; there are no tiles")
            return None
    return (
        EarthTiles(ImageLabels(args.image, service.info, service.folder, service.options))
        if args.image
        else None
    )
