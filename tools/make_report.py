"""Write the report of a finished test as one HTML page that needs no internet.

python tools/make_report.py fig_results/vaihingen/bicor
python tools/make_report.py fig_results/loveda/bicor_val -o loveda.html --images 100 data.root=PATH

Config and settings are those that the test recorded. Change them with key=value if data has moved.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_report:main", __doc__)
