"""Cut the ISPRS Potsdam tiles (RGB or IRRG, 5 cm) into patches.

For arguments see ``tools/potsdam_patch_split.py``.
"""

from network.datasets.info import POTSDAM
from network.datasets.patches import run_split, split_parser


def main(description: str) -> None:
    """Cut the tiles that the command line names."""
    parser = split_parser(description, stride=POTSDAM.train_stride)
    parser.add_argument(
        "--rgb-image", action="store_true", help="images end in _RGB.tif, otherwise _IRRG.tif"
    )
    run_split(POTSDAM, parser.parse_args(), car_zoom=POTSDAM.car_zoom)
