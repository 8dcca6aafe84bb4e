"""Export a trained network for other programs.

For the arguments, see ``tools/export.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.errors import InputError, warn
from network.export.arcgis import Package, arcgis_options
from network.export.companions import Companion
from network.export.deepness import deepness_options, deepness_properties
from network.export.formats import FORMATS
from network.export.mlm import ModelItem, item_path, warn_of_older_item
from network.export.options import ExportOptions
from network.export.samples import find_calibration_images
from network.export.source import find_in_run, load_source
from network.export.write import check_quantize, export, find_format
from network.exported.load import window_problem
from network.extras import require_extra


def main(description: str) -> None:
    """Parse the command line and export a network."""
    parser = command_parser(description)
    add = parser.add_argument
    add("run", type=Path, metavar="RUN_OR_CKPT", help="a checkpoint, or the folder of a run")
    add("--format", choices=FORMATS, help="kind of the file (default onnx; openvino to quantize)")
    add("-o", "--output", type=Path, help="the file (default: beside the checkpoint)")
    add(
        "--size",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="height and width, or one number for both (default: any multiples of 32)",
    )
    add("--batch", help="images at once, or any (default: 1 with --size, else any)")
    add("--normalize", action="store_true", help="the file normalizes the pixel values")
    add("--softmax", action="store_true", help="the output is probabilities, not logits")
    add("--uint8", action="store_true", help="the input has 8 bits a value, not float32")
    add(
        "--quantize", action="store_true", help="layers of 8 bits, for OpenVINO; see docs/deploy.md"
    )
    add("--calibrate", type=Path, metavar="FOLDER", help="images to quantize by (default: train)")
    add("--deepness", action="store_true", help="ONNX for Deepness in QGIS, and for GeoDeep")
    add("--dlpk", action="store_true", help="also a deep-learning package for ArcGIS")
    add("--mlm", action="store_true", help="also an item of STAC that describes the file")
    add("--resolution", type=float, metavar="METERS", help="a pixel on the ground, for --deepness")
    add("-c", "--config", type=Path, help="config of the training, if the checkpoint needs one")
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.calibrate and not args.quantize:
        raise InputError(f"--calibrate {args.calibrate}", "is for --quantize alone", "give both")
    args.format = args.format or ("openvino" if args.quantize else "onnx")
    options = _options(args)
    _warn_of_size(args, options.size)
    form = find_format(args.format)
    form.check(args.format)
    if args.quantize:
        check_quantize(args.format)
    if args.mlm:
        require_extra("mlm", "mlm")
    checkpoint = find_in_run(args.run)
    output = args.output or checkpoint.with_suffix(form.ending)
    source = load_source(checkpoint, args.config, args.overrides)
    properties = {}
    if args.deepness:
        assert options.size is not None  # one for Deepness always has one
        properties = deepness_properties(source.card, options.size[0], args.resolution)
    ranges = find_calibration_images(source, args.calibrate) if args.quantize else None
    companions: list[Companion] = []
    if args.dlpk:
        companions.append(Package(output.with_suffix(".dlpk"), source.card))
    if args.mlm:
        companions.append(ModelItem(item_path(output), source))
    record = export(source, output, args.format, options, properties, ranges, companions)
    print(f"{output}: {record.parity}")
    if record.quantization:
        print(f"{output}: {record.quantization}")
    for companion in companions:
        print(f"{companion.path}: written")
    if not args.mlm:
        warn_of_older_item(output)


def _options(args: argparse.Namespace) -> ExportOptions:
    size = _size(args.size)
    if args.resolution is not None and not args.deepness:
        problem = "is for Deepness alone"
        raise InputError(f"resolution={args.resolution:g}", problem, "give --deepness too")
    if args.deepness and args.dlpk:
        raise InputError("--dlpk", "contradicts --deepness", "leave one of the two out")
    if not args.deepness and not args.dlpk:
        return ExportOptions(
            size=size,
            batch=_batch(args.batch, 1 if size else None),
            normalize=args.normalize,
            softmax=args.softmax,
            uint8=args.uint8,
        )
    # Both normalize, and Deepness gets probabilities.
    program, chosen = ("deepness", deepness_options) if args.deepness else ("dlpk", arcgis_options)
    for name, is_given in (
        ("batch", args.batch is not None),
        ("uint8", args.uint8),
        ("softmax", args.softmax and args.dlpk),
    ):
        if is_given:
            raise InputError(f"--{name}", f"contradicts --{program}", "leave one of the two out")
    if args.format != "onnx":
        flag = "--quantize" if args.quantize else "--format"
        raise InputError(f"--{program}", "is for ONNX files only", f"leave {flag} out")
    return chosen(size)


def _size(sides: list[int] | None) -> tuple[int, int] | None:
    if sides is None:
        return None
    if len(sides) > 2:
        words = " ".join(map(str, sides))
        raise InputError(f"--size {words}", "must be a height and a width, or one number for both")
    return sides[0], sides[-1]


def _warn_of_size(args: argparse.Namespace, size: tuple[int, int] | None) -> None:
    """Say at once that only other programs can run a file, unless it is made for one of them."""
    problem = None if args.deepness or args.dlpk else window_problem(size)
    if problem:
        warn(f"the file {problem}, so predict.py and serve.py will refuse it")


def _batch(text: str | None, default: int | None) -> int | None:
    if text is None:
        return default
    if text == "any":
        return None
    if not text.isdecimal():
        raise InputError(f"--batch {text}", "must be a number of images, or any")
    return int(text)
