"""Examine every image and mask of a config's splits, and list what is wrong.

python tools/check_data.py -c config/vaihingen/bicor.py --html fig_results/vaihingen_data.html
python tools/check_data.py -c config/drone/bicor.py data.root=PATH --splits train val

The exit code is 0 without findings, 1 with findings, and 2 if the check could not run.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.check_data:main", __doc__)
