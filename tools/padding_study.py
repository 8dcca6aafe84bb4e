"""Measure how the padding of ISPRS tiles changes scores, with two policies in training and test.

python tools/padding_study.py
python tools/padding_study.py --real PATH   (with {vaihingen,potsdam}/{images,masks_eroded} in it)

The study makes synthetic tiles of Vaihingen's sizes, cuts them as GeoSeg's tools and as our tools
do, trains a small model on each, and scores both models in both ways. Tables and a figure are in
--output. An interrupted study goes on when it is started again. It takes seven minutes on two CPU
cores.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.padding_study:main", __doc__)
