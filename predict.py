"""Predict maps of large images, and masks of photos, with a trained network.

python predict.py -c config/potsdam/bicor.py -i orthophoto.tif -o fig_results/maps
python predict.py -c config/potsdam/bicor.py -i PHOTOS -o fig_results/photos -t lr

The input is an image of any size, a folder, a pattern, or a text file that lists images.
Georeferenced images become GeoTIFF maps, others become PNG masks. If the command is interrupted,
give it again to go on. See docs/maps.md.

An exported file needs no config and no torch, see docs/deploy.md:
python predict.py --checkpoint best.onnx -i orthophoto.tif -o fig_results/maps
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.predict:main", __doc__)
