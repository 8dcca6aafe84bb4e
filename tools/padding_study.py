"""Measure how the padding of ISPRS tiles changes scores: two policies in training, two in test.

python tools/padding_study.py
python tools/padding_study.py --real PATH   (with {vaihingen,potsdam}/{images,masks_eroded} in it)

Makes synthetic tiles of Vaihingen's sizes, cuts them as GeoSeg's tools do and as ours, trains a
small model on each and scores both either way: tables and a figure in --output. Goes on where it
was interrupted; seven minutes on two CPU cores.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.padding_study:main", __doc__)
