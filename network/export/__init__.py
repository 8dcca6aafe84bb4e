"""Trained networks as files for other programs: ONNX, OpenVINO and torch.export."""

import network.models  # noqa: F401  repairs torchvision first where it must be
