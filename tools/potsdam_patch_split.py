"""Cut the ISPRS Potsdam tiles (RGB or IRRG, 5 cm) into patches.

Train   python tools/potsdam_patch_split.py --img-dir data/potsdam/train_images
            --mask-dir data/potsdam/train_masks --output-img-dir data/potsdam/train/images_1024
            --output-mask-dir data/potsdam/train/masks_1024 --mode train --rgb-image
Test    ... --mask-dir data/potsdam/test_masks_eroded --mode val --eroded --rgb-image
RGB     ... --mask-dir data/potsdam/test_masks --mode val --gt --rgb-image
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.patch_split:potsdam", __doc__)
