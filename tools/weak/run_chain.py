"""From image-level labels to building masks: all steps, each only as far as it is not done.

python tools/weak/run_chain.py -c config/weak/potsdam.py --work fig_results/weak/potsdam

The steps, each with a command of its own: make_labels, train_classifier, make_cam, cluster,
make_bac, make_seeds, train_refiner, make_refined, make_pseudo, train_final, train_full, evaluate.
With other settings a step and all that build on it are done anew.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.run_chain:run_all", __doc__)
