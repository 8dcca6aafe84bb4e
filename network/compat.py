"""Repair of the import of torchvision, whose PyPI package is built for CUDA.

With a CPU-only torch, its compiled operators do not load, and the import fails with ``operator
torchvision::nms does not exist``. timm, torchmetrics and Lightning import torchvision, so they
fail too. If the operators are declared, the import succeeds. The code here never calls them.
"""

import importlib
import sys

import torch

_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def ensure_torchvision() -> None:
    """Import torchvision; if its operators are missing, declare them and import it again."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", _BOXES)
        importlib.import_module("torchvision")
