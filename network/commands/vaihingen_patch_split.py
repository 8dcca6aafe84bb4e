"""Cut the ISPRS Vaihingen tiles (IRRG, 9 cm) into patches.

For arguments see ``tools/vaihingen_patch_split.py``.
"""

from network.datasets.info import VAIHINGEN
from network.datasets.patches import run_split, split_parser


def main(description: str) -> None:
    """Cut the tiles that the command line names."""
    parser = split_parser(description, stride=VAIHINGEN.train_stride)
    run_split(VAIHINGEN, parser.parse_args(), car_zoom=VAIHINGEN.car_zoom)
