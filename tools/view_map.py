"""Look at a predicted map beside its image, in a browser or as a picture for a paper.

python tools/view_map.py fig_results/maps/orthophoto.tif orthophoto.tif
python tools/view_map.py fig_results/maps/orthophoto.tif orthophoto.tif --picture overview.png

The page is served to this machine only, until Ctrl-C. See docs/view_maps.md.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.view_map:main", __doc__)
