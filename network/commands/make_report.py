"""Write the report of a finished test as one HTML page that needs no internet.

For the arguments, see ``tools/make_report.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute, tested_experiment
from network.config import load_experiment
from network.errors import InputError
from network.evaluation.results import REPORT_FILE, read_protocol
from network.reporting.map_page import write_map_report
from network.reporting.page import write_report


def main(description: str) -> None:
    """Parse the command line and write the report."""
    parser = command_parser(description)
    add = parser.add_argument
    add("folder", type=Path, help="folder of a test script, or of score_map.py")
    add("-o", "--output", type=Path, help=f"HTML to write (default: FOLDER/{REPORT_FILE})")
    add(
        "--images",
        type=int,
        default=20,
        help="images to show, half of them the worst and half the best (default %(default)s)",
    )
    add("--heatmaps", type=int, default=4, help="images with class heatmaps (default %(default)s)")
    add("--device", default="auto", help="for the heatmaps: cpu, cuda, ... (default auto)")
    execute(parser, run)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    if args.images < 1:
        raise InputError(f"--images {args.images}", "expected 1 or more")
    if args.heatmaps < 0:
        raise InputError(f"--heatmaps {args.heatmaps}", "expected 0 or more")
    protocol = read_protocol(args.folder)
    output = args.output or args.folder / REPORT_FILE
    if protocol.on_earth:
        info = load_experiment(protocol.config, args.overrides).dataset if protocol.config else None
        write_map_report(args.folder, output, info, images=args.images)
        print(output)
        return
    write_report(
        tested_experiment(args.folder, protocol, args.overrides),
        args.folder,
        output,
        images=args.images,
        heatmaps=args.heatmaps,
        device=args.device,
    )
    print(output)
