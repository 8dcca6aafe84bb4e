"""Measure the mean and the standard deviation of each band, for Data(...) of a config.

python tools/measure_bands.py -c config/drone/bicor.py data.root=PATH
python tools/measure_bands.py -c config/vaihingen/bicor.py --splits train val

By default, only the training images are read (see --splits). Only pixels with a class count, since
most ignored pixels belong to a margin without data.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.measure_bands:main", __doc__)
