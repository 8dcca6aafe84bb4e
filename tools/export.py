"""Export a trained network as a file for other programs: ONNX, OpenVINO or torch.export.

python tools/export.py model_weights/vaihingen/bicor/version_0
python tools/export.py best.ckpt --size 512 --normalize --softmax --uint8
python tools/export.py best.ckpt --format openvino -o bicor.xml
python tools/export.py best.ckpt --size 512 --quantize               # 8 bits, for OpenVINO
python tools/export.py best.ckpt --dlpk --mlm                        # also for ArcGIS, and for STAC

The file is run and compared with the network before it gets its name. See docs/deploy.md.
"""

import _project  # noqa: F401

from network.errors import run_command

if __name__ == "__main__":
    run_command("network.commands.export:main", __doc__)
