"""Score masks that other code has predicted, under the protocol of this project.

python tools/score_masks.py -c config/vaihingen/bicor.py -i THEIR_MASKS -o fig_results/theirs
python tools/compare_runs.py fig_results/vaihingen/bicor fig_results/theirs --mix-protocols

Masks hold labels or colors, and have the names of the split's images. The result has a stamp like
any other. Facts that only the author of the masks knows are "unknown" there, unless a flag states
them.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.score_masks:main", __doc__)
