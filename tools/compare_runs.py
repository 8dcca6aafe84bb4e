"""Results of several test runs in one table, if they were measured alike.

python tools/compare_runs.py fig_results/seed1 fig_results/seed2 fig_results/seed3
python tools/compare_runs.py ours=fig_results/a theirs=fig_results/b --paired -o table.tex

Runs of one name (by default that of the experiment) are seeds of one model: mean and standard
deviation. --paired compares each further model with the first on the same draws of the tiles or
images.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.compare_runs:main", __doc__)
