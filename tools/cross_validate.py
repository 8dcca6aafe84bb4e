"""Train on all folds of ground but one, test on that one, for each fold; print means.

python tools/split_scenes.py -c config/fields/scenes.py --block 500 --buffer 50 --folds 5 \\
    -o folds.gpkg
python tools/cross_validate.py -c config/fields/scenes.py -a folds.gpkg

The val split of each fold is the next fold; two folds have none. Finished folds are not repeated,
and an interrupted training goes on. Masks and scores of each fold are in OUTPUT/fold_N.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.cross_validate:main", __doc__)
