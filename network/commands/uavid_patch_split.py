"""Cut UAVid's frames into patches and their RGB labels into index masks.

For arguments see ``tools/uavid_patch_split.py``.
"""

from pathlib import Path

from network.commands.arguments import command_parser
from network.datasets.preparation.uavid import FrameSplit, split_frames
from network.datasets.workers import available_cores


def main(description: str) -> None:
    """Cut what the command line names."""
    parser = command_parser(description)
    add = parser.add_argument
    add("--input-dir", type=Path, required=True, help="folder of the sequences seqN/")
    add("--output-img-dir", type=Path, required=True, help="image patches, replaced as a whole")
    add("--output-mask-dir", type=Path, required=True, help="mask patches, replaced as a whole")
    add("--mode", default="train", help="train, or val: no pixel's label comes twice")
    for side in ("h", "w"):
        add(f"--split-size-{side}", type=int, default=1024, help="pixels (default %(default)s)")
        add(f"--stride-{side}", type=int, default=1024, help="pixels (default %(default)s)")
    add("--workers", type=int, default=available_cores(), help="processes (default: all cores)")
    args = vars(parser.parse_args())
    workers = args.pop("workers")
    made = split_frames(FrameSplit(**args), workers=workers)
    print(f"{made.patches} patches of {made.frames} frames in {args['output_img_dir']}")
