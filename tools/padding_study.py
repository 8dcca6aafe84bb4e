"""What scoring the padding of ISPRS tiles does: two policies in training, two in test.

python tools/padding_study.py
python tools/padding_study.py --real PATH   (with {vaihingen,potsdam}/{images,masks_eroded} in it)

Makes synthetic tiles of Vaihingen's sizes, cuts them as GeoSeg's tools do and as ours, trains a
small model on each and scores both either way: tables and a figure in --output. Goes on where it
was interrupted; seven minutes on two CPU cores.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network.config import parse_with_overrides
from network.engine.padding_study import geometry_table, results_table, run_study, write_study
from network.errors import run_command

CONFIG = Path(__file__).resolve().parents[1] / "config/padding_study/bicor.py"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("fig_results/padding_study"))
    add("--work", type=Path, default=Path("data/padding_study"), help="for tiles and patches")
    add("--real", type=Path, help="folder with real crops, beside the synthetic tiles")
    args = parse_with_overrides(parser)
    print(geometry_table())
    rows = run_study(args.work, CONFIG, args.real, args.overrides)
    write_study(rows, args.output)
    print(results_table(rows))
    print(args.output / "padding_study.md")
    print(args.output / "padding_study.png")


if __name__ == "__main__":
    run_command(main)
