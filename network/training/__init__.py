"""Training: the Lightning trainer, its task and data, runs and how they go on."""

from network.compat import ensure_torchvision

ensure_torchvision()  # before Lightning and torchmetrics are first imported
