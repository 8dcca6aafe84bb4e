"""Predict maps of large images, and masks of photos.

For the arguments, see ``predict.py``.
"""

import argparse
import re
from pathlib import Path

from network.cluster import Cluster
from network.commands.arguments import (
    add_cluster_flags,
    add_model_flags,
    check_exported,
    chosen_backend,
    chosen_checkpoint,
    command_parser,
    compute_overrides,
    execute,
)
from network.config import load_experiment
from network.datasets.windows import STRIDE
from network.errors import InputError
from network.exported.load import exported_card, is_exported
from network.maps.inputs import find_inputs
from network.maps.layers import LAYERS
from network.maps.mosaic import RULES, MosaicOptions, check_target, make_mosaic, map_files
from network.maps.options import CONTEXTS, POLYGON_FORMATS, MapOptions, PolygonOptions
from network.maps.plan import BLENDS, HALO, WINDOW
from network.maps.run import predict_images

FORMATS = ("auto", "tif", "png")


def main(description: str) -> None:
    """Parse the command line and predict images."""
    parser = command_parser(description)
    add = parser.add_argument
    add("-c", "--config", type=Path, help="config/.../x.py; not for an exported --checkpoint")
    add("-i", "--input", required=True, help="image, folder, pattern, VRT, or .txt list of images")
    add("-o", "--output", type=Path, required=True, help="folder of the maps and masks, or a file")
    add("--format", choices=FORMATS, default="auto", help="tif: GeoTIFF; auto: where georeferenced")
    add("--labels", action="store_true", help="PNG files have labels, not RGB colors")
    for name, layer in LAYERS.items():
        if name:
            add(f"--{name}", action="store_true", help=f"also NAME_{name}.tif: {layer.description}")
    add(
        "--polygons",
        nargs="?",
        const="gpkg",
        metavar="gpkg|parquet|FILE",
        help="also polygons of the classes: NAME.gpkg, NAME.parquet, or a file of that kind",
    )
    add("--min-area", type=float, metavar="M2", help="smaller polygons join a neighbor")
    add("--simplify", type=float, metavar="METERS", help="tolerance of simpler outlines")
    add(
        *("-p", "--patch", "--window"),
        dest="window",
        type=int,
        default=WINDOW,
        help="side of the windows in pixels (default %(default)s)",
    )
    halo = parser.add_mutually_exclusive_group()
    halo.add_argument(
        "--halo",
        type=int,
        help=f"pixels of context around each part (default: a quarter of -p, at most {HALO})",
    )
    halo.add_argument("--overlap", type=int, help="pixels that windows share: twice the halo")
    add(
        "--blend",
        choices=BLENDS,
        default="crop",
        help="hann: weighted mean of all windows that see a pixel; slower (default %(default)s)",
    )
    add(
        "--context",
        choices=CONTEXTS,
        default="window",
        help="image: class embeddings of the whole image, so windows hardly change labels",
    )
    add("-b", "--batch-size", type=int, default=1, help="windows a step (default %(default)s)")
    add("--bands", type=int, nargs="+", help="bands of the images to use, from 1 on (default all)")
    add("--mosaic", type=Path, help="also one map of all: a .tif, or a .vrt over the maps")
    add(
        "--mosaic-rule",
        dest="rule",
        choices=RULES,
        default="last",
        help="which map counts where several overlap (default %(default)s)",
    )
    add(
        "--mosaic-crs",
        dest="crs",
        help="reference system of the mosaic, e.g. EPSG:32632 (default: that of the maps)",
    )
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument("--shard", default="1/1", help="do only this share of the work, e.g. 3/16")
    add_cluster_flags(engine, "processes to start on this machine, which share its GPUs")
    add_model_flags(parser)
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    options = MapOptions(
        window=args.window,
        halo=_halo(args),
        blend=args.blend,
        batch_size=args.batch_size,
        layers=tuple(layer for name, layer in LAYERS.items() if name and getattr(args, name)),
        format=args.format,
        rgb=not args.labels,
        bands=tuple(args.bands) if args.bands else None,
        context=args.context,
        shard=_shard(args.shard),
        overwrite=args.overwrite,
        polygons=_polygons(args),
    )
    mosaic = _mosaic(args)
    images = find_inputs(args.input)
    if mosaic:
        check_target(mosaic, images, args.output)
    overrides, experiment = (*args.overrides, *compute_overrides(args)), None
    if args.checkpoint and is_exported(args.checkpoint):
        checkpoint = args.checkpoint
        check_exported(args)
    else:
        if args.config is None:
            problem = "is needed for all but exported files (.onnx, .xml or .pt2)"
            raise InputError("--config", problem, "give -c config/.../x.py")
        experiment = load_experiment(args.config, overrides)
        checkpoint = chosen_checkpoint(experiment, args.checkpoint)
    if args.workers or args.scheduler:
        count = _on_cluster(args, overrides, checkpoint, images, options)
    else:
        count = predict_images(
            experiment,
            checkpoint=checkpoint,
            images=images,
            output=args.output,
            tta=args.tta,
            device=args.device,
            backend=chosen_backend(args),
            options=options,
        )
    rest = f", {len(images) - count} not finished" if count < len(images) else ""
    print(f"{count} masks in {args.output}{rest}")
    if mosaic and not rest:
        if experiment:
            info = experiment.dataset
        else:
            info = exported_card(checkpoint, chosen_backend(args)).info
        is_made = make_mosaic(map_files(images, args.output), info, mosaic)
        print(f"{'mosaic in' if is_made else 'another process is making'} {mosaic.target}")


def _mosaic(args: argparse.Namespace) -> MosaicOptions | None:
    if args.mosaic is None:
        return None
    if args.rule == "confidence" and not args.confidence:
        raise InputError(
            "--mosaic-rule confidence", "needs the confidence of maps", "add --confidence"
        )
    if args.format == "png":
        raise InputError(
            "--mosaic", "needs georeferenced maps, which a PNG is not", "leave out --format png"
        )
    return MosaicOptions(args.mosaic, args.rule, args.crs, args.overwrite)


def _on_cluster(
    args: argparse.Namespace,
    overrides: tuple[str, ...],
    checkpoint: Path,
    images: list[str],
    options: MapOptions,
) -> int:
    gpus: tuple[str, ...] = ()
    if not is_exported(checkpoint):
        from network.compute import available_gpus  # needs torch

        gpus = available_gpus()
    cluster = Cluster(args.scheduler, args.workers or 1, gpus)
    # It needs an extra, so it is imported after the check that this is installed.
    from network.maps.cluster import ModelSource, predict_on_cluster

    model = ModelSource(
        args.config, overrides, checkpoint, args.tta, args.device, chosen_backend(args)
    )
    return predict_on_cluster(cluster, model, images, args.output, options)


def _halo(args: argparse.Namespace) -> int | None:
    if args.overlap is not None:
        # Half of it on each side, and windows begin at multiples of the stride.
        return -(-args.overlap // (2 * STRIDE)) * STRIDE
    return args.halo


def _polygons(args: argparse.Namespace) -> PolygonOptions | None:
    given = {"min_area": args.min_area, "simplify": args.simplify}
    given = {name: value for name, value in given.items() if value is not None}
    if args.polygons is None:
        for name, value in given.items():
            raise InputError(f"{name}={value:g}", "is for polygons alone", "give --polygons too")
        return None
    if args.polygons in POLYGON_FORMATS:
        return PolygonOptions(args.polygons, **given)
    file = Path(args.polygons)
    return PolygonOptions(file.suffix[1:].lower() or args.polygons, file, **given)


def _shard(text: str) -> tuple[int, int]:
    """Turn ``3/16`` into the third (2, counted from 0) of 16 shares."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match:
        raise InputError(f"--shard {text}", "must be like 3/16: the third of 16 shares")
    return int(match[1]) - 1, int(match[2])
