"""Point labels of a split: drawn from its masks by a fixed rule, or read from a file.

python tools/make_points.py -c config/vaihingen/bicor.py --name points_200 --budget 200
python tools/make_points.py -c config/vaihingen/bicor.py --name dots --mode component --radius 1
python tools/make_points.py -c config/drone/bicor.py --name mine --points annotated.csv

They become sparse masks in a folder of this name beside that of the masks; data.train_labels=NAME
trains on them. The rules: uniform, over all labeled pixels; per_class, so many of each class of an
image; component, the innermost pixel of each connected component; grid, one in each cell. An image
is a file of the split: of mirrored or overlapping patches each gets points of its own.

A CSV has the columns image,row,column,class, where rows and columns count from 0 at the top left. A
GeoJSON has Points with the properties class and image, and column, row as coordinates; or without
image in map coordinates, which are looked up in georeferenced images. A folder holds sparse masks.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_points:main", __doc__)
