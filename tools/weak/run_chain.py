"""Run the chain from image-level labels to building masks.

python tools/weak/run_chain.py -c config/weak/potsdam.py --work fig_results/weak/potsdam

The steps are make_labels, train_classifier, make_cam, cluster, make_bac, make_seeds, train_refiner,
make_refined, make_pseudo, train_final, train_full and evaluate. --only STEP runs one of them, and
--until STEP all steps up to it. Finished steps are not repeated, except for evaluate. If settings
change, the steps that depend on them run again, but other settings of make_labels need another
--work folder.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.run_chain:main", __doc__)
