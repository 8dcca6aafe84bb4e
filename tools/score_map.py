"""Score a map on Earth against truth on Earth, or estimate the area of each class from a sample.

python tools/score_map.py map.tif --truth truth.tif -o fig_results/score
python tools/score_map.py map.tif --truth truth.gpkg --attribute class --aoi areas.gpkg -o OUT
python tools/score_map.py map.tif --draw-sample 600 -o points.gpkg
python tools/score_map.py map.tif --sample points.gpkg --attribute class -o fig_results/areas

The map is a GeoTIFF of predict.py, or any raster of classes. Truth is a raster of labels or a layer
of polygons, in any reference system. See docs/map_scores.md.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.score_map:main", __doc__)
