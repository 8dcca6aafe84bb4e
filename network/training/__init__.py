"""Training: the Lightning trainer with task and data, and runs, which can be resumed."""

from network.compat import ensure_torchvision

ensure_torchvision()  # before Lightning and torchmetrics are first imported
