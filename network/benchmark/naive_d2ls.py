"""D2LS in the order in which its released code computes it, with projections of every pixel.

It computes the same function as :mod:`network.models.d2ls`, whose cheaper order is compared with
it. Its modules have the names that the released checkpoints use.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from network.benchmark.naive_bicor import ChannelNorm, NaiveAggregation
from network.models.d2ls import D2LS
from network.models.output import SegOutput


class NaiveAttention(nn.Module):
    """Attention of eight heads over half of the channels."""

    def __init__(self, dim: int):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, dim // 2) for _ in range(3))
        self.out_proj = nn.Linear(dim // 2, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (8, -1)).transpose(1, 2)
            for layer, x in (
                (self.q_proj, query),
                (self.k_proj, key),
                (self.v_proj, value),
            )
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))


class NaiveLayer(nn.Module):
    """The modules of an interactor layer under the released names."""

    def __init__(self, dim: int):
        super().__init__()
        self.cross_attn_token_to_image = NaiveAttention(dim)
        self.cross_attn_image_to_token = NaiveAttention(dim)
        self.norm2, self.norm4 = nn.LayerNorm(dim), nn.LayerNorm(dim)


class NaiveD2LS(NaiveAggregation):
    """The decoder of D2LS.

    In training it gives the logits of both dictionaries, and the dynamic dictionary; otherwise only
    the logits of the dynamic dictionary.
    """

    def __init__(self, num_classes: int, channels: list[int], dim: int, layers: int):
        super().__init__("linear_c", "aggregator", channels, dim)
        self.pe_layer = nn.Module()
        self.pe_layer.register_buffer(
            "positional_encoding_gaussian_matrix", torch.randn(2, dim // 2)
        )
        decoder = self.decoder = nn.Module()
        decoder.token = nn.Module()
        decoder.token.basic_queries = nn.Embedding(num_classes, dim)
        decoder.token.token_mlp = nn.Linear(dim, 4 * dim)
        modulator = decoder.feature_modulator = nn.Module()
        modulator.mlp1 = nn.Module()
        modulator.mlp1.proj = nn.Linear(channels[-1], dim)
        half = dim // 2
        modulator.gmp_branch = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Conv2d(half, half, 1))
        modulator.gap_branch = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(half, half, 1))
        modulator.mlp2 = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, 4 * num_classes)
        )
        decoder.interactor = nn.Module()
        decoder.interactor.layers = nn.ModuleList(NaiveLayer(dim) for _ in range(layers))
        decoder.interactor.final_attn_token_to_image = NaiveAttention(dim)
        decoder.interactor.norm_final_attn = nn.LayerNorm(dim)
        norm = ChannelNorm(dim // 4, eps=1e-6)
        shuffles = nn.PixelShuffle(2), nn.PixelShuffle(2)
        decoder.upsampler = nn.Sequential(shuffles[0], norm, nn.GELU(), shuffles[1], nn.GELU())
        mlp = decoder.output_hypernetwork_mlps = nn.Module()
        sizes = dim, dim, dim, dim // 16
        mlp.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def decode(self, stages: list[Tensor]) -> SegOutput:
        fused = self.aggregate(stages)
        static = self.decoder.token.basic_queries.weight
        dictionary = self.generate(static, stages[-1])
        logits = self.segment(fused, dictionary)
        if not self.training:
            return SegOutput(logits)
        aux = self.segment(fused, static.expand(len(fused), -1, -1))
        return SegOutput(logits, aux, None, [dictionary])

    def generate(self, static: Tensor, deepest: Tensor) -> Tensor:
        k, d = static.shape
        modulator = self.decoder.feature_modulator
        pixels = modulator.mlp1.proj(deepest.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        first, second = pixels.chunk(2, dim=1)
        pooled = [modulator.gmp_branch(first), modulator.gap_branch(second)]
        weights = modulator.mlp2(torch.cat(pooled, dim=1).flatten(1)).view(-1, k, 4).softmax(-1)
        candidates = self.decoder.token.token_mlp(static).view(k, 4, d)
        return (weights[..., None] * candidates).sum(2)

    def position(self, h: int, w: int) -> Tensor:
        y, x = torch.meshgrid(
            (torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing="ij"
        )
        centers = (2 * torch.stack([x, y], -1) - 1).view(h * w, 2)
        phase = 2 * math.pi * centers @ self.pe_layer.positional_encoding_gaussian_matrix
        return torch.cat([phase.sin(), phase.cos()], -1)

    def segment(self, fused: Tensor, start: Tensor) -> Tensor:
        _, _, h, w = fused.shape
        position, pixels, tokens = self.position(h, w), fused.flatten(2).transpose(1, 2), start
        interactor = self.decoder.interactor
        for layer in interactor.layers:
            read = layer.cross_attn_token_to_image(tokens + start, pixels + position, pixels)
            tokens = layer.norm2(tokens + read)
            read = layer.cross_attn_image_to_token(pixels + position, tokens + start, tokens)
            pixels = layer.norm4(pixels + read)
        read = interactor.final_attn_token_to_image(tokens + start, pixels + position, pixels)
        vectors = interactor.norm_final_attn(tokens + read)
        *first, last = self.decoder.output_hypernetwork_mlps.layers
        for layer in first:
            vectors = layer(vectors).relu()
        maps = self.decoder.upsampler(pixels.transpose(1, 2).unflatten(2, (h, w)))
        return torch.einsum("bkc,bchw->bkhw", last(vectors), maps)

    def forward(self, stages: list[Tensor]) -> SegOutput:
        return self.decode(stages)


class NaiveD2LSOrder(nn.Module):
    """The encoder of ``model`` and, after it, the naive decoder of the same sizes."""

    def __init__(self, model: D2LS):
        super().__init__()
        self.encoder = model.encoder
        k, dim = model.class_embeddings.shape
        self.naive = NaiveD2LS(k, model.encoder.channels, dim, len(model.layers))

    def decode(self, stages: list[Tensor]) -> SegOutput:
        return self.naive.decode(stages)

    def forward(self, image: Tensor) -> SegOutput:
        return self.decode(self.encoder(image))
