"""Networks: shared parts (encoder, aggregator, head) and one file per method."""

from network.compat import ensure_torchvision

ensure_torchvision()  # before timm is first imported
