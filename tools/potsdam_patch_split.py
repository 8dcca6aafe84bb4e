"""Cut the ISPRS Potsdam tiles (RGB or IRRG, 5 cm) into patches.

Train   python tools/potsdam_patch_split.py --img-dir data/potsdam/train_images
            --mask-dir data/potsdam/train_masks --output-img-dir data/potsdam/train/images_1024
            --output-mask-dir data/potsdam/train/masks_1024 --mode train --rgb-image
Test    ... --mask-dir data/potsdam/test_masks_eroded --mode val --eroded --rgb-image
RGB     ... --mask-dir data/potsdam/test_masks --mode val --gt --rgb-image
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network.datasets.info import POTSDAM
from network.datasets.patches import run_split, split_parser
from network.errors import run_command


def main() -> None:
    """Cut the tiles that the command line names."""
    parser = split_parser(__doc__, stride=POTSDAM.train_stride)
    parser.add_argument(
        "--rgb-image", action="store_true", help="images end in _RGB.tif, otherwise _IRRG.tif"
    )
    run_split(POTSDAM, parser.parse_args(), car_zoom=POTSDAM.car_zoom)


if __name__ == "__main__":
    run_command(main)
