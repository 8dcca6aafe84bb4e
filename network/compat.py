"""Repair of one packaging fault: PyPI's torchvision is built for CUDA.

Beside a CPU-only torch its compiled operators do not load, and the import dies with ``operator
torchvision::nms does not exist``; timm, torchmetrics and Lightning import torchvision and die
with it. Declaring the operators lets the import succeed. None of them is ever called here.
"""

import importlib
import sys

import torch

_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def ensure_torchvision() -> None:
    """Import torchvision, declaring its missing operators only when the import fails for them."""
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
