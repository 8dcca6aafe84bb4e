"""Train and test every variant of an ablation over several seeds; make a table and a figure.

python tools/ablate.py methods -c config/uuad/bicor.py --seeds 1 2 3 data.root=PATH
python tools/ablate.py components -c config/vaihingen/bicor.py --seeds 1 2 3
python tools/ablate.py layers -c config/loveda/bicor.py --seeds 1 2 3 --devices 0 1 2 3 --split val
python tools/ablate.py points -c config/drone/resnet18_points.py data.root=PATH

The config gives data, optimizer and encoder, and key=value changes them for all variants. For
points it also gives model and loss, and its data folder gets the point masks.
Each run is a separate process, one at a time on each device. Finished runs are not repeated, and
interrupted runs go on. Logs, masks and scores of each run are in OUTPUT/VARIANT/seedN.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.ablate:main", __doc__)
