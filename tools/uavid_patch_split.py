"""Cut UAVid's frames into patches and their RGB labels into index masks.

python tools/uavid_patch_split.py --input-dir data/uavid/uavid_train --mode train
    --output-img-dir data/uavid/train/images --output-mask-dir data/uavid/train/masks
python tools/uavid_patch_split.py --input-dir data/uavid/uavid_val --mode val
    --output-img-dir data/uavid/val/images --output-mask-dir data/uavid/val/masks
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network.datasets.folder_jobs import available_cores
from network.datasets.uavid import FrameSplit, split_frames
from network.errors import run_command


def main() -> None:
    """Cut what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    print(f"{made['patches']} patches of {made['frames']} frames in {args['output_img_dir']}")


if __name__ == "__main__":
    run_command(main)
