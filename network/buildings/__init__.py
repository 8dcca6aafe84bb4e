"""Buildings: the chain from image-level labels to building masks (BAC-AR-Net)."""
