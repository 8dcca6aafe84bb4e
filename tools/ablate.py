"""Train and test every variant of an ablation over seeds, and put them into one table and figure.

python tools/ablate.py components -c config/vaihingen/bicor.py --seeds 1 2 3
python tools/ablate.py layers -c config/loveda/bicor.py --seeds 1 2 3 --devices 0 1 2 3 --split val
python tools/ablate.py points -c config/drone/resnet18_points.py data.root=PATH

Data, optimizer and encoder are those of the config, and key=value changes them for all variants;
points takes its model and loss too, and draws into its data folder.
Each run is a process of its own, one at a time on each device; what is finished is not run again,
what was interrupted goes on. Logs, masks and scores of each run are in OUTPUT/VARIANT/seedN.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.ablate:main", __doc__)
