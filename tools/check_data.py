"""The data-set doctor: examine every image and mask of a config's splits, and list what is wrong.

python tools/check_data.py -c config/vaihingen/bicor.py --html fig_results/vaihingen_data.html
python tools/check_data.py -c config/drone/bicor.py data.root=PATH --splits train val

Exit code 0 without findings, 1 with findings, 2 if it could not look.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.check_data:main", __doc__)
