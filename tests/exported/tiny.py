"""Exported files of a network that is made of one layer, so they are written within a second."""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from network.card import make_card
from network.config import Experiment
from network.datasets.info import VAIHINGEN
from network.export.options import ExportOptions
from network.export.source import Source
from network.export.write import export
from network.losses.bicor import BiCoRLoss
from network.models.output import SegOutput
from network.models.tconv import TransposedConvNet
from network.predictor import Predictor


class OneLayer(nn.Module):
    """A network that sees each pixel alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 1)

    def forward(self, image: torch.Tensor) -> SegOutput:
        return SegOutput(self.layer(image))


def export_tiny(path: Path, size: tuple[int, int], batch: int = 1) -> Path:
    """Write a ``.pt2`` file of a fixed size."""
    model = partial(TransposedConvNet, 6, "test_resnet", weights=None)
    card = make_card(Experiment(dataset=VAIHINGEN, model=model, loss=partial(BiCoRLoss, 6)))
    normalization = card.mean, card.std
    torch.manual_seed(0)
    network = OneLayer().eval()
    predictor = Predictor(network, card.info, normalization, device="cpu", patch=None)
    source = Source(path.with_name("best.ckpt"), "0" * 64, predictor, card, {}, None, None)
    export(source, path, "torch", ExportOptions(size=size, batch=batch))
    return path
