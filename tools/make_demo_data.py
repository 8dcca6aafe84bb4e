"""Make a small synthetic data set with ISPRS Vaihingen's file names, to try out the project.

Run      python tools/make_demo_data.py --output data/demo/tiles
Makes    <output>/{train,val,test}_images/top_mosaic_09cm_areaN.tif            IRRG images
         <output>/{train,val,test}_masks/top_mosaic_09cm_areaN.tif             RGB masks
         <output>/{train,val,test}_masks_eroded/top_mosaic_09cm_areaN_noBoundary.tif
Cost     about 1 s per scene and core
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.make_demo_data:main", __doc__)
