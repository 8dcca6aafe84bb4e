"""Networks: shared parts (encoder, aggregator, head) and one file for each method."""

from network.compat import ensure_torchvision

ensure_torchvision()  # before timm is first imported
