"""A figure of image, truth and prediction, for the first images of a split.

Run     python tools/make_panel.py -c config/demo/bicor.py -i fig_results/demo
            -o fig_results/demo/figures/panel.png
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_panel:main", __doc__)
