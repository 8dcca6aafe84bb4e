"""Split scenes on Earth into train, val and test, or into folds, so that no ground is in two.

python tools/split_scenes.py -c config/fields/scenes.py --block 500 --buffer 50 -o areas.gpkg
python tools/split_scenes.py -c config/fields/scenes.py --block 500 --buffer 50 --folds 5 \\
    -o folds.gpkg
python tools/split_scenes.py -i images/*.tif --block 500 --buffer 50 -o areas.gpkg

The ground is cut into square blocks. Each block with labels belongs to one split, and the shares of
the classes in each split are near those of the whole. Beside the GeoPackage with the areas, a
picture of them is written (areas.png).
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.split_scenes:main", __doc__)
