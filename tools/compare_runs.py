"""Put the results of several test runs into one table, if they were measured in the same way.

python tools/compare_runs.py fig_results/seed1 fig_results/seed2 fig_results/seed3
python tools/compare_runs.py ours=fig_results/a theirs=fig_results/b --paired -o table.tex

Runs with the same name (by default the experiment's name) are seeds of one model, so the table
shows their mean and standard deviation. --paired compares each further model with the first one on
the same draws of tiles or images.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.compare_runs:main", __doc__)
