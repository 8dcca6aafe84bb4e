"""Write the config of a new data set by looking at its images and labels.

python tools/new_dataset.py data/fields
python tools/new_dataset.py data/fields/images --labels data/fields/masks --name fields
python tools/new_dataset.py data/city --labels data/city/land_use.gpkg --attribute class

It finds folders of images and masks, such as train/images and train/masks, images/train and
masks/train, images and masks, or "Tile 1/images" and "Tile 1/masks". It also finds scenes on Earth
with polygons (GeoPackage, GeoJSON, Shapefile). It finds classes, colors, bands, splits and sizes,
prints what it has found, and writes a config that trains as it is. No image is copied or changed.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.new_dataset:main", __doc__)
