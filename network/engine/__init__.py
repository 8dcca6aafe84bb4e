"""The engine: training, evaluation and prediction of any model, loss and data set."""

from network.compat import ensure_torchvision

ensure_torchvision()  # before Lightning and torchmetrics are first imported
