"""Draw image, truth and prediction side by side, for some images of a split.

Run     python tools/make_panel.py -c config/demo/bicor.py -i fig_results/demo
            -o fig_results/demo/figures/panel.png
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_panel:main", __doc__)
