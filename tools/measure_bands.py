"""Measure the mean and standard deviation of each band of a config's images, for its Data(...).

python tools/measure_bands.py -c config/drone/bicor.py data.root=PATH
python tools/measure_bands.py -c config/vaihingen/bicor.py --splits train val

Only the training images are read unless --splits says otherwise, and of these only the pixels
that have a class: what is ignored is mostly a margin without data.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.measure_bands:main", __doc__)
