"""Evaluation: prediction of splits and folders, their scores, and how these were measured."""

from network.compat import ensure_torchvision

ensure_torchvision()  # before torchmetrics is first imported
