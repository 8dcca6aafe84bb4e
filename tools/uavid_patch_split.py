"""Cut UAVid's frames into patches, and turn their RGB labels into masks of labels.

python tools/uavid_patch_split.py --input-dir data/uavid/uavid_train --mode train
    --output-img-dir data/uavid/train/images --output-mask-dir data/uavid/train/masks
python tools/uavid_patch_split.py --input-dir data/uavid/uavid_val --mode val
    --output-img-dir data/uavid/val/images --output-mask-dir data/uavid/val/masks
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.uavid_patch_split:main", __doc__)
