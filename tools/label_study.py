"""Compare ways to choose what to label next: rounds of training, mapping and labeling.

python tools/label_study.py -c config/demo/next_labels.py --size 23.27 --rounds 4 --head-start 3

In the first round, a few windows drawn by chance are labeled. Then the network maps the training
scenes, and the next windows are chosen where the maps are least certain. Their labels are those of
the config, so all training scenes must be labeled. Finished rounds are not repeated.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.label_study:main", __doc__)
