"""Cut the ISPRS Vaihingen tiles (IRRG, 9 cm) into patches.

Train   python tools/vaihingen_patch_split.py --img-dir data/vaihingen/train_images
            --mask-dir data/vaihingen/train_masks --output-img-dir data/vaihingen/train/images_1024
            --output-mask-dir data/vaihingen/train/masks_1024 --mode train
Test    ... --mask-dir data/vaihingen/test_masks_eroded --mode val --stride 1024 --eroded
RGB     ... --mask-dir data/vaihingen/test_masks --mode val --stride 1024 --gt

In train mode, if a random zoom crop of a patch shows cars, four views of it replace the patch.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.patch_split:vaihingen", __doc__)
