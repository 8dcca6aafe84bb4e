"""From image-level labels to building masks: all steps, each only as far as it is not done.

python tools/weak/run_chain.py -c config/weak/potsdam.py --work fig_results/weak/potsdam

The steps: make_labels, train_classifier, make_cam, cluster, make_bac, make_seeds, train_refiner,
make_refined, make_pseudo, train_final, train_full, evaluate. --only STEP runs one of them, --until
STEP all up to it. With other settings a step and all that build on it are done anew.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.run_chain:main", __doc__)
