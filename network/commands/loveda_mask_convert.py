"""Convert LoveDA masks from raw labels (0 no data, 1 to 7) to 0 to 6, and 7 for ignored pixels.

For the arguments, see ``tools/loveda_mask_convert.py``.
"""

import argparse
import time
from pathlib import Path

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
)
from network.datasets.preparation.loveda import convert_masks, rgb_folder


def main(description: str) -> None:
    """Parse the command line and convert masks."""
    parser = command_parser(description)
    add = parser.add_argument
    add("--mask-dir", type=Path, required=True, help="folder of the raw masks")
    add("--output-mask-dir", type=Path, required=True, help="folder to write the index masks to")
    add_workers_flags(parser)
    execute(parser, run, overrides=False)


def run(options: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""

    start = time.perf_counter()
    count = convert_masks(
        options.mask_dir, options.output_mask_dir, workers=chosen_workers(options)
    )
    print(
        f"masks {count}; written to {options.output_mask_dir} and "
        f"{rgb_folder(options.output_mask_dir)} in {time.perf_counter() - start:.1f} s"
    )
