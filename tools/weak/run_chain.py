"""Run the chain from image-level labels to building masks; steps that are done are not repeated.

python tools/weak/run_chain.py -c config/weak/potsdam.py --work fig_results/weak/potsdam

The steps are make_labels, train_classifier, make_cam, cluster, make_bac, make_seeds, train_refiner,
make_refined, make_pseudo, train_final, train_full and evaluate. --only STEP runs one of them, and
--until STEP all steps up to it. If settings change, a step and all steps that build on it are done
again.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.run_chain:main", __doc__)
