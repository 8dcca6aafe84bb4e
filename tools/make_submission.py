"""Pack predicted masks for the test servers: a zip for LoveDA, a zip or a folder for UAVid.

python tools/make_submission.py loveda fig_results/loveda/bicor_test -o fig_results/loveda.zip
python tools/make_submission.py uavid fig_results/uavid/bicor -o fig_results/uavid.zip
python tools/make_submission.py loveda --check other.zip
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_submission:main", __doc__)
