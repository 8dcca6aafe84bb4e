"""D2LS, where a dictionary of class vectors, made for each image, exchanges attention with pixels.

Source: "Dynamic Dictionary Learning for Remote Sensing Image Segmentation", ICCV 2025, arXiv
2503.06683, and the behavior of the released code. Parts that the released code constructs but never
calls (self-attention and feed-forward blocks, 1.3 M parameters a layer) are left out.

Notation: b batch, k classes, d channels, r candidates of a class, n heads, (h, w) a quarter of the
image, s = h * w pixels.
"""

import math
from itertools import pairwise
from typing import Unpack

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from network.models.aggregator import Aggregator
from network.models.d2ls_context import D2LSContext, D2LSParts
from network.models.encoder import AdaptationOptions, Encoder
from network.models.head import UPSCALING, PixelShuffleHead
from network.models.output import SegOutput
from network.models.row_blocks import by_rows
from network.models.segmenter import Segmenter, check_setting
from network.models.sum_product import sum_product

CANDIDATES = 4
HEADS = 8
EMBEDDINGS = ("learned", "ones", "zeros")


class DictionaryGenerator(nn.Module):
    """The module that makes the dynamic dictionary.

    Each class vector is a mixture of its candidates, with weights from the image.

    Args:
        num_classes: number of classes, k.
        channels: number of channels of the deepest stage.
        dim: number of channels, d.
    """

    def __init__(self, num_classes: int, channels: int, dim: int):
        super().__init__()
        self.candidates = nn.Linear(dim, CANDIDATES * dim)
        self.projection = nn.Linear(channels, dim)
        self.maximum, self.average = (nn.Linear(dim // 2, dim // 2) for _ in range(2))
        self.mixture = MLP(dim, 2 * dim, num_classes * CANDIDATES)

    def forward(self, class_embeddings: Tensor, deepest: Tensor) -> Tensor:
        """Compute the dictionary (b, k, d) of each image.

        Args:
            class_embeddings: (k, d)
            deepest: deepest stage (b, c, h_4, w_4).
        """
        to_maximum, to_average = self.project(deepest).chunk(2, dim=-1)
        return self.mix(class_embeddings, to_maximum.amax(dim=1), to_average.mean(dim=1))

    def project(self, deepest: Tensor) -> Tensor:
        """Project the deepest stage (b, c, h_4, w_4) to pixels (b, s_4, d)."""
        return self.projection(deepest.flatten(2).transpose(1, 2))

    def mix(self, class_embeddings: Tensor, maximum: Tensor, average: Tensor) -> Tensor:
        """Mix the candidates of each class.

        Args:
            class_embeddings: (k, d)
            maximum: largest value of the first half of the channels in each image (b, d/2).
            average: mean of the other half (b, d/2).
        """
        k, d = class_embeddings.shape
        candidates = self.candidates(class_embeddings).view(k, CANDIDATES, d)
        image = torch.cat([self.maximum(maximum), self.average(average)], dim=-1)
        weights = self.mixture(image).view(-1, k, CANDIDATES).softmax(dim=-1)
        return torch.einsum("bkr,krd->bkd", weights, candidates)


class MLP(nn.Module):
    """A sequence of Linears with ReLU between them.

    Args:
        sizes: numbers of channels, from the input to the output.
    """

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
    """The random Fourier features of the pixel centers, drawn once and saved with the weights.

    Args:
        dim: number of channels, d.
    """

    frequencies: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, dim // 2))

    def forward(
        self,
        height: int,
        width: int,
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> Tensor:
        """Compute the features (s, d) of the pixels of a map, or of a part of them.

        Args:
            height: height of the map.
            width: width of the map.
            rows: rows of the part.
            columns: columns of the part.
        """
        device = self.frequencies.device
        x, y = (
            ((torch.arange(count, device=device) + 0.5) / count)[part]
            for count, part in ((width, columns), (height, rows))
        )
        size = y.shape[0], x.shape[0]  # not len(), which is a constant in an exported program
        centers = torch.stack([x.expand(size), y[:, None].expand(size)], dim=-1)
        # In half precision, neighbors would have the same position.
        with torch.autocast(device.type, enabled=False):
            phase = 2 * math.pi * (2 * centers - 1).to(self.frequencies) @ self.frequencies
            return torch.cat([phase.sin(), phase.cos()], dim=-1).flatten(0, 1)


class CrossAttention(nn.Module):
    """The base of attention between classes and pixels, with n heads of d / (2n) channels each.

    Linears of the s pixels cost the most. So the weight of the pixels' Linear is multiplied into
    the class vectors instead. The unchanged pixels are then compared with n * k vectors of d
    channels. The result is exactly the same, and it is cheaper with fewer than d / (2n) classes.

    Args:
        dim: number of channels, d.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim // 2) for _ in range(3))
        self.output = nn.Linear(dim // 2, dim)

    def _heads(self, x: Tensor) -> Tensor:
        """Split (b, k, d/2) into heads (b, n, k, c)."""
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def _fold(self, own: Tensor, other: nn.Linear) -> tuple[Tensor, Tensor]:
        """Multiply the class side by the Linear of the pixels, so that the pixels do not need it.

        Args:
            own: class side (b, n, k, c).
            other: the Linear of the pixels.

        Returns:
            The products (b, n * k, d), and the part of the Linear's bias in each (b, n * k, 1).
        """
        own = own * own.shape[-1] ** -0.5
        weight = other.weight.unflatten(0, (HEADS, -1))  # (n, c, d)
        bias = other.bias.view(HEADS, -1, 1)  # (n, c, 1)
        return (own @ weight).flatten(1, 2), (own @ bias).flatten(1, 2)


class ReadPixels(CrossAttention):
    """The attention of classes to pixels."""

    def forward(self, classes: Tensor, features: Tensor, position: Tensor) -> Tensor:
        """Compute the result for the classes, (b, k, d).

        Args:
            classes: (b, k, d)
            features: features of the pixels (b, s, d). The keys are their sum with the position.
            position: position of the pixels (b or 1, s, d).
        """
        score = self.compare(classes, features, position)
        return self.finish(score.softmax(dim=-1) @ features, classes.shape[1])

    def compare(self, classes: Tensor, features: Tensor, position: Tensor) -> Tensor:
        """Compare classes with the keys of the pixels, to (b, n * k, s); see :meth:`forward`."""
        queries, bias = self._fold(self._heads(self.query(classes)), self.key)
        # The bias is the same for all pixels, so the softmax ignores it. It is added all the same:
        # the released network has this parameter, and with several processes every parameter needs
        # a gradient.
        return sum_product(bias, queries, features, position)

    def finish(self, context: Tensor, k: int) -> Tensor:
        """Turn the weighted means of the pixels into the result for the classes, (b, k, d).

        Args:
            context: (b, n * k, d)
            k: number of classes.
        """
        weight = self.value.weight.unflatten(0, (HEADS, -1)).transpose(1, 2)  # (n, d, c)
        pooled = context.unflatten(1, (HEADS, k)) @ weight  # (b, n, k, c)
        return self.output(pooled.transpose(1, 2).flatten(2) + self.value.bias)


class ReadClasses(CrossAttention):
    """The attention of pixels to classes."""

    def class_side(self, keys: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        """Compute the other inputs of :meth:`read`, which are the same for all pixels.

        Args:
            keys: keys of the classes (b, k, d).
            values: values of the classes (b, k, d).
        """
        out = self.output.weight.unflatten(1, (HEADS, -1)).permute(1, 2, 0)  # (n, c, d)
        shifts = (self._heads(self.value(values)) @ out).flatten(1, 2)  # (b, n * k, d)
        return *self._fold(self._heads(self.key(keys)), self.query), shifts, self.output.bias

    @staticmethod
    def read(
        features: Tensor,
        position: Tensor,
        queries: Tensor,
        bias: Tensor,
        shifts: Tensor,
        last: Tensor,
    ) -> Tensor:
        """Compute the result for the pixels, (b, s, d).

        Args:
            features: features of the pixels (b, s, d).
            position: position of the pixels (b or 1, s, d).
            queries: products of the classes and the Linear of the pixels (b, n * k, d).
            bias: part of the Linear's bias in each of them (b, n * k, 1).
            shifts: what a pixel gets from each class (b, n * k, d).
            last: what every pixel gets (d,).
        """
        # With the pixels as last dimension, the softmax over few classes is fast.
        score = sum_product(bias, queries, features, position)
        weights = score.unflatten(1, (HEADS, -1)).softmax(dim=2).flatten(1, 2)  # (b, n * k, s)
        return weights.transpose(1, 2) @ shifts + last


class InteractorLayer(nn.Module):
    """A layer of the interactor: classes attend to pixels, then pixels to classes.

    Args:
        dim: number of channels, d.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.read_pixels, self.read_classes = ReadPixels(dim), ReadClasses(dim)
        self.class_norm, self.feature_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(
        self, classes: Tensor, features: Tensor, start: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Refine classes and features.

        Args:
            classes: (b, k, d)
            features: (b, s, d)
            start: dictionary before the first layer (b, k, d), used as position of the classes.
            position: position of the pixels (b or 1, s, d).
        """
        read = self.read_pixels(classes + start, features, position)
        classes = self.class_norm(classes + read)
        return classes, self.refine_features(classes, features, start, position)

    def refine_features(
        self, classes: Tensor, features: Tensor, start: Tensor, position: Tensor
    ) -> Tensor:
        """Refine features (b, s, d) by refined classes; see :meth:`forward`."""
        class_side = self.read_classes.class_side(classes + start, classes)
        norm = self.feature_norm.weight, self.feature_norm.bias
        if torch.is_grad_enabled():  # blocks would compute all products twice
            return self._refine(features, position, *norm, *class_side)
        return by_rows(self._refine, [features, position], *norm, *class_side)

    def _refine(
        self, features: Tensor, position: Tensor, weight: Tensor, bias: Tensor, *classes: Tensor
    ) -> Tensor:
        read = self.read_classes.read(features, position, *classes)
        return nnf.layer_norm(features + read, weight.shape, weight, bias, self.feature_norm.eps)


class D2LS(Segmenter):
    """The network D2LS: encoder, aggregator, dictionary, interactor and head.

    Args:
        num_classes: number of classes, k.
        encoder: a timm model with maps at strides 4, 8, 16 and 32.
        weights: weights of the encoder: ``"imagenet"``, a local file, or None.
        dim: number of channels, d, a multiple of 16.
        layers: number of layers of the interactor.
        generator: whether to make the dictionary for each image; otherwise the class embeddings
            are the dictionary.
        embeddings: static dictionary: ``"learned"``, or for ablations ``"ones"`` or ``"zeros"``.
        aux: whether training also gives the logits of the static dictionary, by a second pass.
        drop_path: rate of stochastic depth of the encoder.
        checkpoint_encoder: whether training computes the encoder's blocks again in the backward
            pass.
        checkpoint_decoder: the same for each layer and the head.
        bands: number of bands of each image.
        adaptation: the settings ``out_indices``, ``freeze`` and ``lora`` of the encoder, see
            :class:`Encoder`.

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
        **adaptation: Unpack[AdaptationOptions],
    ):
        super().__init__(aux and generator, checkpoint_decoder)
        check_setting("layers", layers, layers >= 1, "at least 1")
        is_dim = dim > 0 and dim % UPSCALING**2 == 0
        check_setting("dim", dim, is_dim, f"a multiple of {UPSCALING**2}")
        is_known = embeddings in EMBEDDINGS
        check_setting("embeddings", embeddings, is_known, f"one of {', '.join(EMBEDDINGS)}")
        # With equal vectors, all classes would have equal logits.
        is_learned = embeddings == "learned"
        case = f"with model.embeddings={embeddings}"
        check_setting("generator", generator, generator or is_learned, f"True {case}")
        check_setting("aux", aux, is_learned or not aux, f"False {case}")
        self.encoder = Encoder(encoder, weights, drop_path, checkpoint_encoder, bands, **adaptation)
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
        """Compute the output at four times the first stage's size.

        The class embeddings of the output are the dynamic dictionary before the interactor.

        Args:
            stages: maps of the encoder, each (b, c_i, h_i, w_i).
            details: whether to return class embeddings too, as in training.
        """
        fused = self.aggregator(stages)  # (b, h, w, d)
        static = self.class_embeddings.expand(fused.shape[0], -1, -1)  # (b, k, d)
        dictionary = self.generator(self.class_embeddings, stages[-1]) if self.generator else None
        logits = self._segment(fused, static if dictionary is None else dictionary)
        if not (self.training or details):
            return SegOutput(logits)
        aux_logits = self._segment(fused, static) if self.training and self.has_aux else None
        return SegOutput(logits, aux_logits, None, None if dictionary is None else [dictionary])

    def whole_image(self, height: int, width: int, share: float = 1.0) -> D2LSContext:
        """Begin to compute the dictionary of a large image window by window.

        Args:
            height: height of the image in pixels.
            width: width of the image in pixels.
            share: share of the image that the dictionary is computed from.
        """
        layers = [layer for layer in self.layers if isinstance(layer, InteractorLayer)]
        parts = D2LSParts(
            encoder=self.encoder,
            aggregator=self.aggregator,
            generator=self.generator,
            layers=layers,
            readers=[*(layer.read_pixels for layer in layers), self.last_read],
            norms=[*(layer.class_norm for layer in layers), self.last_norm],
            position=self.position,
            head=self.head,
            class_embeddings=self.class_embeddings.detach(),
        )
        return D2LSContext(parts, height, width)

    def _segment(self, fused: Tensor, dictionary: Tensor) -> Tensor:
        """Compute logits (b, k, 4h, 4w) from features (b, h, w, d) and a dictionary (b, k, d)."""
        _, height, width, _ = fused.shape
        position = self.position(height, width)[None]
        classes, features = dictionary, fused.flatten(1, 2)
        for layer in self.layers:
            classes, features = self.run(layer, classes, features, dictionary, position)
        read = self.run(self.last_read, classes + dictionary, features, position)
        classes = self.last_norm(classes + read)
        return self.run(self.head, features.unflatten(1, (height, width)), classes)
