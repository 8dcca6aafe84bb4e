"""The report of a finished test as one HTML page that opens anywhere, without internet.

python tools/make_report.py fig_results/vaihingen/bicor
python tools/make_report.py fig_results/loveda/bicor_val -o loveda.html --images 100 data.root=PATH

Config and settings are those that the test recorded; key=value changes some, where data has moved.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network.config import load_experiment, parse_with_overrides
from network.engine.report.page import write_report
from network.engine.results import REPORT_FILE, read_protocol
from network.errors import InputError, run_command


def main() -> None:
    """Write the report that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="folder that a test script wrote")
    add("-o", "--output", type=Path, help=f"HTML to write (default: FOLDER/{REPORT_FILE})")
    add("--images", type=int, default=20, help="worst and best to show (default %(default)s)")
    add("--heatmaps", type=int, default=4, help="images with class heatmaps (default %(default)s)")
    add("--device", default="auto", help="for the heatmaps: cpu, cuda, ... (default auto)")
    args = parse_with_overrides(parser)
    if args.images < 1:
        raise InputError(f"--images {args.images}: expected 1 or more")
    if args.heatmaps < 0:
        raise InputError(f"--heatmaps {args.heatmaps}: expected 0 or more")
    protocol = read_protocol(args.folder)
    recorded = [f"{key}={value}" for key, value in protocol["settings"].items()]
    experiment = load_experiment(protocol["config"], [*recorded, *args.overrides])
    output = args.output or args.folder / REPORT_FILE
    write_report(
        experiment,
        args.folder,
        output,
        images=args.images,
        heatmaps=args.heatmaps,
        device=args.device,
    )
    print(output)


if __name__ == "__main__":
    run_command(main)
