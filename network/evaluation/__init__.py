"""Evaluation: predict a split or a folder, score it, and say how the scores were measured."""

from network.compat import ensure_torchvision

ensure_torchvision()  # before torchmetrics is first imported
