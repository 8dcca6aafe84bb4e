"""Make point labels for a split, by a fixed rule from its masks or from a file.

python tools/make_points.py -c config/vaihingen/bicor.py --name points_200 --budget 200
python tools/make_points.py -c config/vaihingen/bicor.py --name dots --mode component --radius 1
python tools/make_points.py -c config/drone/bicor.py --name mine --points annotated.csv

The points become sparse masks in a folder NAME beside the folder of the masks; train on them with
data.train_labels=NAME. There are four rules (--mode):
uniform     draws from all labeled pixels
per_class   draws the same number from each class of an image
component   takes the innermost pixel of each connected component of more than 100 pixels
grid        draws one pixel in each cell of a grid, and keeps it if it has a label
Each file of the split gets its own points, even if patches are mirrored or overlap.

A CSV file has the columns image,row,column,class, where rows and columns count from 0 at the top
left. A GeoJSON file has Points with the properties class and image, and with (column, row) as
coordinates. Without image, these are map coordinates, which are looked up in georeferenced images.
A folder holds sparse masks.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_points:main", __doc__)
