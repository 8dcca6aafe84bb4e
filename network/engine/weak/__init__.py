"""The chain from image-level labels to building masks, as steps in one work folder."""
