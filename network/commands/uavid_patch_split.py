"""Cut UAVid's frames into patches, and turn their RGB labels into masks of labels.

For the arguments, see ``tools/uavid_patch_split.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import (
    add_workers_flags,
    chosen_workers,
    command_parser,
    execute,
)
from network.datasets.preparation.uavid import FrameSplit, split_frames


def main(description: str) -> None:
    """Parse the command line and cut frames."""
    parser = command_parser(description)
    add = parser.add_argument
    add("--input-dir", type=Path, required=True, help="folder of the sequences seqN/")
    add("--output-img-dir", type=Path, required=True, help="image patches, replaced as a whole")
    add("--output-mask-dir", type=Path, required=True, help="mask patches, replaced as a whole")
    add("--mode", default="train", help="train, or val: no pixel's label comes twice")
    for side, lines in (("h", "rows"), ("w", "columns")):
        size = f"pixel {lines} of a patch (default %(default)s)"
        step = f"pixel {lines} from the start of a patch to the start of the next one"
        add(f"--split-size-{side}", type=int, default=1024, help=size)
        add(f"--stride-{side}", type=int, default=1024, help=f"{step} (default %(default)s)")
    add_workers_flags(parser)
    execute(parser, run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    split = FrameSplit(
        input_dir=args.input_dir,
        output_img_dir=args.output_img_dir,
        output_mask_dir=args.output_mask_dir,
        mode=args.mode,
        split_size_h=args.split_size_h,
        split_size_w=args.split_size_w,
        stride_h=args.stride_h,
        stride_w=args.stride_w,
    )
    made = split_frames(split, workers=chosen_workers(args))
    print(f"{made.patches} patches of {made.frames} frames in {split.output_img_dir}")
