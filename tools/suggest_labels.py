"""Suggest windows to label next: where the maps of a network are least certain.

python predict.py -c config/fields/scenes.py -i "data/fields/images/*.tif" \\
    -o fig_results/maps --entropy
python tools/suggest_labels.py fig_results/maps --size 64 --number 20 -o next.gpkg \\
    --corrections data/fields/corrections.gpkg

next.gpkg has the windows, and next.png shows them over the maps. Open next.gpkg, the images and
corrections.gpkg in QGIS, and draw polygons with classes in the windows. The next training uses them
if its config names the file.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.suggest_labels:main", __doc__)
