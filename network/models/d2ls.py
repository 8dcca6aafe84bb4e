"""D2LS: a dictionary of class vectors, made for each image, exchanges attention with the pixels.

Source: "Dynamic Dictionary Learning for Remote Sensing Image Segmentation", ICCV 2025, arXiv
2503.06683, and the released code's behavior. What that code constructs and never calls
(self-attention and feed-forward blocks, 1.3 M parameters a layer) is left out.

Notation: b batch, k classes, d channels, r candidates of a class, n heads, (h, w) a quarter of the
image, s = h * w pixels.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from network.models.aggregator import Aggregator
from network.models.encoder import Encoder
from network.models.head import UPSCALING, PixelShuffleHead
from network.models.output import SegOutput
from network.models.segmenter import Segmenter, check_setting

CANDIDATES = 4
HEADS = 8
EMBEDDINGS = ("learned", "ones", "zeros")


class DictionaryGenerator(nn.Module):
    """The dynamic dictionary: each class a mixture of its candidates, weighted by the image.

    Args:
        num_classes: k.
        channels: of the deepest stage.
        dim: d.
    """

    def __init__(self, num_classes: int, channels: int, dim: int):
        super().__init__()
        self.candidates = nn.Linear(dim, CANDIDATES * dim)
        self.projection = nn.Linear(channels, dim)
        self.maximum, self.average = (nn.Linear(dim // 2, dim // 2) for _ in range(2))
        self.mixture = MLP(dim, 2 * dim, num_classes * CANDIDATES)

    def forward(self, class_embeddings: Tensor, deepest: Tensor) -> Tensor:
        """class_embeddings (k, d), deepest stage (b, c, h_4, w_4) -> dictionary (b, k, d)."""
        k, d = class_embeddings.shape
        candidates = self.candidates(class_embeddings).view(k, CANDIDATES, d)
        pixels = self.projection(deepest.flatten(2).transpose(1, 2))  # (b, s_4, d)
        to_maximum, to_average = pixels.chunk(2, dim=-1)
        maximum, average = to_maximum.amax(dim=1), to_average.mean(dim=1)  # (b, d/2)
        image = torch.cat([self.maximum(maximum), self.average(average)], dim=-1)
        weights = self.mixture(image).view(-1, k, CANDIDATES).softmax(dim=-1)
        return torch.einsum("bkr,krd->bkd", weights, candidates)


class MLP(nn.Module):
    """Linears with ReLU between."""

    def __init__(self, *sizes: int):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        *first, last = self.layers
        for layer in first:
            x = layer(x).relu()
        return last(x)


class FourierPosition(nn.Module):
    """Random Fourier features of the pixel centers; a fixed draw, saved with the weights."""

    frequencies: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, dim // 2))

    def forward(self, height: int, width: int) -> Tensor:
        """(s, d) for a map of any size."""
        device = self.frequencies.device
        x, y = ((torch.arange(count, device=device) + 0.5) / count for count in (width, height))
        centers = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
        # In half precision neighbors would have one position.
        with torch.autocast(device.type, enabled=False):
            phase = 2 * math.pi * (2 * centers - 1).to(self.frequencies) @ self.frequencies
            return torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(0, 1)


class CrossAttention(nn.Module):
    """Attention between classes and pixels, of n heads with d / (2n) channels each.

    Linears of s pixels are what costs. Here those of the few classes are multiplied by them
    instead: n * k vectors of d channels meet the pixels as they are. Exact, and cheaper below
    d / (2n) classes.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim // 2) for _ in range(3))
        self.output = nn.Linear(dim // 2, dim)

    def _heads(self, x: Tensor) -> Tensor:
        """(b, k, d/2) -> (b, n, k, c)."""
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def _fold(self, own: Tensor, other: nn.Linear) -> tuple[Tensor, Tensor]:
        """``own`` (b, n, k, c) times the Linear of the pixels, that they are then spared.

        Returns:
            (b, n * k, d), and for each what the Linear's bias adds: (b, n * k, 1).
        """
        own = own * own.shape[-1] ** -0.5
        weight = other.weight.unflatten(0, (HEADS, -1))  # (n, c, d)
        bias = other.bias.view(HEADS, -1, 1)  # (n, c, 1)
        return (own @ weight).flatten(1, 2), (own @ bias).flatten(1, 2)


class ReadPixels(CrossAttention):
    """Classes attend to pixels."""

    def forward(self, classes: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """classes (b, k, d), keys and values of the pixels (b, s, d) -> (b, k, d)."""
        k = classes.shape[1]
        queries, bias = self._fold(self._heads(self.query(classes)), self.key)
        # Equal for all pixels, so that the softmax does not see the bias; its parameter is one.
        score = torch.baddbmm(bias, queries, keys.transpose(1, 2))  # (b, n * k, s)
        context = score.softmax(dim=-1) @ values  # (b, n * k, d)
        weight = self.value.weight.unflatten(0, (HEADS, -1)).transpose(1, 2)  # (n, d, c)
        pooled = context.unflatten(1, (HEADS, k)) @ weight  # (b, n, k, c)
        return self.output(pooled.transpose(1, 2).flatten(2) + self.value.bias)


class ReadClasses(CrossAttention):
    """Pixels attend to classes."""

    def forward(self, pixels: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """pixels (b, s, d), keys and values of the classes (b, k, d) -> (b, s, d)."""
        folded, bias = self._fold(self._heads(self.key(keys)), self.query)
        score = torch.baddbmm(bias.transpose(1, 2), pixels, folded.transpose(1, 2))
        weights = score.unflatten(-1, (HEADS, -1)).softmax(dim=-1).flatten(2)  # (b, s, n * k)
        out = self.output.weight.unflatten(1, (HEADS, -1)).permute(1, 2, 0)  # (n, c, d)
        shifts = (self._heads(self.value(values)) @ out).flatten(1, 2)  # (b, n * k, d)
        return weights @ shifts + self.output.bias


class InteractorLayer(nn.Module):
    """Classes read pixels, then pixels read classes."""

    def __init__(self, dim: int):
        super().__init__()
        self.read_pixels, self.read_classes = ReadPixels(dim), ReadClasses(dim)
        self.class_norm, self.feature_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(
        self, classes: Tensor, features: Tensor, start: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine both.

        Args:
            classes: (b, k, d).
            features: (b, s, d).
            start: the dictionary before the first layer (b, k, d), the position of the classes.
            position: of the pixels (s, d).
        """
        read = self.read_pixels(classes + start, features + position, features)
        classes = self.class_norm(classes + read)
        read = self.read_classes(features + position, classes + start, classes)
        return classes, self.feature_norm(features + read)


class D2LS(Segmenter):
    """Encoder, aggregator, dictionary, interactor, head.

    Args:
        num_classes: k.
        encoder: a timm model with maps at strides 4, 8, 16 and 32.
        weights: of the encoder: ``"imagenet"``, a local file, or None.
        dim: d, a multiple of 16.
        layers: of the interactor.
        generator: make the dictionary for each image; without it, it is the class embeddings.
        embeddings: the static dictionary: ``"learned"``, or for ablations ``"ones"``, ``"zeros"``.
        aux: in training, also the logits of the static dictionary, by a second pass.
        drop_path: stochastic depth of the encoder.
        checkpoint_encoder: in training, compute the encoder's blocks again in the backward pass.
        checkpoint_decoder: the same for each layer and the head.
        bands: of the images.

    Raises:
        InputError: a value is out of range, or see :class:`Encoder`.
    """

    class_embeddings: Tensor

    def __init__(
        self,
        num_classes: int,
        encoder: str = "convnext_base.fb_in1k",
        weights: str | None = "imagenet",
        dim: int = 256,
        layers: int = 3,
        generator: bool = True,
        embeddings: str = "learned",
        aux: bool = True,
        drop_path: float = 0.0,
        checkpoint_encoder: bool = False,
        checkpoint_decoder: bool = False,
        bands: int = 3,
    ):
        super().__init__(aux and generator, checkpoint_decoder)
        check_setting("layers", layers, layers >= 1, "at least 1")
        is_dim = dim > 0 and dim % UPSCALING**2 == 0
        check_setting("dim", dim, is_dim, f"a multiple of {UPSCALING**2}")
        is_known = embeddings in EMBEDDINGS
        check_setting("embeddings", embeddings, is_known, f"one of {', '.join(EMBEDDINGS)}")
        # Equal vectors would give all classes equal logits.
        is_learned = embeddings == "learned"
        check_setting("generator", generator, generator or is_learned, "True with such embeddings")
        check_setting("aux", aux, is_learned or not aux, "False with such embeddings")
        self.encoder = Encoder(encoder, weights, drop_path, checkpoint_encoder, bands)
        self.aggregator = Aggregator(self.encoder.channels, dim)
        if is_learned:
            self.class_embeddings = nn.Parameter(torch.randn(num_classes, dim))
        else:
            constant = torch.full((num_classes, dim), float(embeddings == "ones"))
            self.register_buffer("class_embeddings", constant)
        deepest = self.encoder.channels[-1]
        self.generator = DictionaryGenerator(num_classes, deepest, dim) if generator else None
        self.position = FourierPosition(dim)
        self.layers = nn.ModuleList(InteractorLayer(dim) for _ in range(layers))
        self.last_read, self.last_norm = ReadPixels(dim), nn.LayerNorm(dim)
        self.head = PixelShuffleHead(dim, MLP(dim, dim, dim, dim // UPSCALING**2))

    def decode(self, stages: list[Tensor], details: bool = False) -> SegOutput:
        """Stages, each (b, c_i, h_i, w_i) -> output at four times the first stage's size.

        The class embeddings of the output are the dynamic dictionary, before the interactor.
        """
        fused = self.aggregator(stages)  # (b, h, w, d)
        static = self.class_embeddings.expand(len(fused), -1, -1)  # (b, k, d)
        dictionary = self.generator(self.class_embeddings, stages[-1]) if self.generator else None
        logits = self._segment(fused, static if dictionary is None else dictionary)
        if not (self.training or details):
            return SegOutput(logits)
        aux_logits = self._segment(fused, static) if self.training and self.has_aux else None
        return SegOutput(logits, aux_logits, None, None if dictionary is None else [dictionary])

    def _segment(self, fused: Tensor, dictionary: Tensor) -> Tensor:
        """Features (b, h, w, d) and a dictionary (b, k, d) -> logits (b, k, 4h, 4w)."""
        _, height, width, _ = fused.shape
        position = self.position(height, width)
        classes, features = dictionary, fused.flatten(1, 2)
        for layer in self.layers:
            classes, features = self.run(layer, classes, features, dictionary, position)
        read = self.run(self.last_read, classes + dictionary, features + position, features)
        classes = self.last_norm(classes + read)
        return self.run(self.head, features.unflatten(1, (height, width)), classes)
