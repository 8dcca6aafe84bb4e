"""Score masks that other code has predicted, under the protocol of this project.

python tools/score_masks.py -c config/vaihingen/bicor.py -i THEIR_MASKS -o fig_results/theirs
python tools/compare_runs.py fig_results/vaihingen/bicor fig_results/theirs --mix-protocols

Masks are labels or colors, named like the images of the split. The result has a stamp like any
other: what only the masks' author knows stands there as unknown, or as the flags state it.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.score_masks:main", __doc__)
