"""BiCoR-Seg in the order in which the paper writes it, with every tensor in memory.

It computes the same function as :mod:`network.models.bicor`, whose cheaper order is compared with
it. Its modules have the names that the released checkpoints use.
"""

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from network.models.bicor import BiCoRSeg
from network.models.output import SegOutput


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (b, c, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NaiveLayer(nn.Module):
    """An HBIS layer, which refines classes (b, k, d) and features (b, d, h, w).

    It also returns the heatmap logits (b, k, h, w).
    """

    def __init__(self, dim: int, ratio: float):
        super().__init__()
        self.ratio = ratio
        self.dict_ln, self.feat_ln = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dict_to_feat = nn.Linear(dim, dim, bias=False)
        self.feat_to_dict = nn.Conv2d(dim, dim, 1, bias=False)
        self.gate_mlp = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.cand_mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.gamma_proj, self.beta_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, classes: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, d, h, w = features.shape
        classes_n = self.dict_ln(classes)
        features_n = self.feat_ln(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        score = torch.einsum("bkd,bdhw->bkhw", self.dict_to_feat(classes_n), features_n) / d**0.5
        heat = score.sigmoid().flatten(2).detach()
        count = min(h * w, max(64, round(self.ratio * h * w)))
        mask = torch.zeros_like(heat).scatter(2, heat.topk(count).indices, 1.0)
        total = (heat * mask).sum(2, keepdim=True)
        weights = torch.where(
            total <= 1e-6,
            heat / (heat.sum(2, keepdim=True) + 1e-6),
            heat * mask / (total + 1e-6),
        )
        values = self.feat_to_dict(features_n).flatten(2)
        context = torch.einsum("bks,bds->bkd", weights, values)
        gate = self.gate_mlp(torch.cat([classes_n, context], -1)).sigmoid()
        classes = gate * self.cand_mlp(context) + (1 - gate) * classes
        gamma = 1 + self.gamma_proj(classes).tanh()
        beta = self.beta_proj(classes)
        modulated = gamma[..., None, None] * features[:, None] + beta[..., None, None]
        mixed = (score.softmax(1)[:, :, None] * modulated).sum(1)  # from (b, k, d, h, w)
        return classes, 0.5 * features + 0.5 * mixed, score


class NaiveDecoder(nn.Module):
    """The modules of the decoder under the released names."""

    def __init__(self, num_classes: int, dim: int, ratios: list[float]):
        super().__init__()
        self.class_dict = nn.Module()
        self.class_dict.class_embed = nn.Embedding(num_classes, dim)
        self.bicor_stack = nn.Module()
        self.bicor_stack.layers = nn.ModuleList(NaiveLayer(dim, ratio) for ratio in ratios)
        norm = ChannelNorm(dim // 4, eps=1e-6)
        shuffles = nn.PixelShuffle(2), nn.PixelShuffle(2)
        self.upsampler = nn.Sequential(shuffles[0], norm, nn.GELU(), shuffles[1], nn.GELU())
        self.classifier_proj = nn.Linear(dim, dim // 16, bias=False)
        self.static_classifier = nn.Linear(dim, dim // 16, bias=False)


class NaiveAggregation(nn.Module):
    """The aggregator, whose modules get given names.

    Args:
        projections: name of the list of projections.
        fuse: name of the convolution that mixes the projected maps.
        channels: number of channels of each map of the encoder.
        dim: number of channels of the result.
    """

    def __init__(self, projections: str, fuse: str, channels: list[int], dim: int):
        super().__init__()
        self.names = projections, fuse
        layers = nn.ModuleList()
        for c in channels:
            projection = nn.Module()
            projection.proj = nn.Linear(c, dim)
            layers.append(projection)
        setattr(self, projections, layers)
        setattr(self, fuse, nn.Conv2d(dim * len(channels), dim, 1, bias=False))

    def aggregate(self, stages: list[Tensor]) -> Tensor:
        layers, fuse = (getattr(self, name) for name in self.names)
        size = stages[0].shape[-2:]
        maps = [
            nnf.interpolate(
                layer.proj(stage.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
                size=size,
                mode="bilinear",
                align_corners=False,
            )
            for layer, stage in zip(layers, stages, strict=True)
        ]
        return fuse(torch.cat(maps[::-1], dim=1))


class NaiveBiCoR(NaiveAggregation):
    """The network that gives the outputs of BiCoRSeg, with heatmaps and class embeddings."""

    def __init__(
        self,
        num_classes: int,
        features: nn.Module,
        channels: list[int],
        dim: int,
        ratios: list[float],
    ):
        super().__init__("proj_layers", "feature_aggregator", channels, dim)
        self.encoder = nn.Sequential(features)
        self.decoder = NaiveDecoder(num_classes, dim, ratios)

    def encode(self, image: Tensor) -> list[Tensor]:
        stages = []
        for index, part in enumerate(self.encoder[0]):
            image = part(image)
            if index % 2:
                stages.append(image)
        return stages

    def forward(self, image: Tensor) -> SegOutput:
        return self.decode(self.encode(image))

    def decode(self, stages: list[Tensor]) -> SegOutput:
        fused = features = self.aggregate(stages)
        decoder = self.decoder
        embeddings = decoder.class_dict.class_embed.weight
        classes = embeddings.expand(len(features), -1, -1)
        heatmaps, class_embeddings = [], []
        for layer in decoder.bicor_stack.layers:
            classes, features, heatmap = layer(classes, features)
            heatmaps.append(heatmap)
            class_embeddings.append(classes)
        vectors = decoder.classifier_proj(classes)
        logits = torch.einsum("bkc,bchw->bkhw", vectors, decoder.upsampler(features))
        aux_logits = None
        if self.training:
            static = decoder.static_classifier(embeddings.detach())
            aux_logits = torch.einsum("kc,bchw->bkhw", static, decoder.upsampler(fused))
        return SegOutput(logits, aux_logits, heatmaps, class_embeddings)


class NaiveOrder(nn.Module):
    """The encoder of ``model`` and, after it, the naive decoder of the same sizes."""

    def __init__(self, model: BiCoRSeg):
        super().__init__()
        self.encoder = model.encoder
        ratios = [layer.topk_ratio for layer in model.layers]
        k, dim = model.class_embeddings.shape
        self.naive = NaiveBiCoR(k, nn.Identity(), model.encoder.channels, dim, ratios)

    def decode(self, stages: list[Tensor]) -> SegOutput:
        return self.naive.decode(stages)

    def forward(self, image: Tensor) -> SegOutput:
        return self.decode(self.encoder(image))
