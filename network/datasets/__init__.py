"""Descriptions, files and samples of data sets.

Nothing here imports Lightning, and the descriptions (``schema``, ``info``) do not import torch.
"""
