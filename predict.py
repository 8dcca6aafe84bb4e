"""Predict the masks of a folder of images with a trained model, at the size of the images.

python predict.py -c config/potsdam/bicor.py -i PHOTOS -o fig_results/photos -t lr
python predict.py -c config/potsdam/bicor.py -i PHOTOS -o fig_results/photos --checkpoint x.ckpt

Images are PNG, JPEG or TIFF files with the bands of the config. Large images are predicted in
overlapping patches. If the command is interrupted, give it again to go on. The coordinates of a
georeferenced image go into a file beside its mask (.png.aux.xml), where GDAL and QGIS look for
them.
"""

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.predict:main", __doc__)
