"""Masks of a folder of images from a trained model, at the size of the images.

python predict.py -c config/potsdam/bicor.py -i PHOTOS -o fig_results/photos -t lr
python predict.py -c config/potsdam/bicor.py -i PHOTOS -o fig_results/photos --checkpoint x.ckpt

PNG, JPEG and TIFF images of the config's bands. Large images are predicted in overlapping patches;
what was interrupted goes on when the command is given again. A mask of a georeferenced image has
its coordinates in a file beside it (.png.aux.xml), where GDAL and QGIS look for them.
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.predict:main", __doc__)
