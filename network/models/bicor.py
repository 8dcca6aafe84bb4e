"""BiCoR-Seg, where class embeddings and pixel features refine each other through class heatmaps.

Source: "BiCoR-Seg: Bidirectional Co-Refinement Framework for High-Resolution Remote Sensing Image
Segmentation", arXiv 2512.20255. Where the text and the released code differ (gate, candidate,
softmax of the logits), this follows the code, whose parameter counts and cost match the paper.

Notation: b batch, k classes, d channels, (h, w) a quarter of the image, s = h * w pixels.
"""

from typing import ClassVar, TypeGuard, Unpack

import torch
from torch import Tensor, nn

from network.errors import InputError
from network.models.aggregator import Aggregator
from network.models.bicor_context import BiCoRContext
from network.models.encoder import STRIDES, AdaptationOptions, Encoder
from network.models.head import UPSCALING, PixelShuffleHead
from network.models.modulation import modulate
from network.models.output import SegOutput
from network.models.precision import at_least_float32
from network.models.segmenter import Segmenter, check_setting

MIN_SELECTED = 64
EPSILON = 1e-6


def selected_pixels(pixels: int, ratio: float) -> int:
    """Compute how many pixels a class embedding is refined from: a share, but at least 64.

    Args:
        pixels: number of pixels of the feature map.
        ratio: share of the pixels, above 0 and at most 1; the product is rounded half to even.

    Examples:
        >>> selected_pixels(16384, 0.02), selected_pixels(1024, 0.02), selected_pixels(36, 0.02)
        (328, 64, 36)
    """
    # torch's minimum and maximum, since an exported program has symbols instead of numbers.
    count = torch.sym_max(MIN_SELECTED, round(ratio * pixels))
    return torch.sym_min(pixels, count)


def pooling_weights(score: Tensor, count: int) -> Tensor:
    """Compute weights of the pixels with the highest heatmap values; other pixels get 0.

    The weights sum to 1. If the values of the selected pixels sum to almost 0, all pixels of the
    heatmap are weighted.

    Args:
        score: heatmap logits (b, k, s), float32. No gradient flows back to them.
        count: number of pixels to select.

    Returns:
        (b, k, s)
    """
    heatmap = score.detach().sigmoid()
    # An exported program has no branches by the size of its images, so it always selects.
    if torch.compiler.is_exporting() or count < heatmap.shape[-1]:
        top = heatmap.topk(count, sorted=False)
        selected = torch.zeros_like(heatmap).scatter(-1, top.indices, top.values)
    else:
        selected = heatmap
    # A branch on the values would wait for the GPU, so both cases are computed.
    is_cold = selected.sum(-1, keepdim=True) <= EPSILON
    weights = torch.where(is_cold, heatmap, selected)
    return weights / (weights.sum(-1, keepdim=True) + EPSILON)


class HBISLayer(nn.Module):
    """The layer of heatmap-driven bidirectional information synergy between classes and pixels.

    Args:
        dim: number of channels of class embeddings and features, d.
        topk_ratio: share of the pixels that each class embedding is refined from.
        learn_alpha: whether to train the mixing weight alpha, which stays in (0, 1) and starts at
            0.5.
        tau: temperature of the heatmaps and of the softmax over classes.

    Examples:
        >>> layer = HBISLayer(dim=32)
        >>> classes, features, heatmap = layer(torch.zeros(1, 6, 32), torch.zeros(1, 100, 32))
        >>> classes.shape, features.shape, heatmap.shape
        (torch.Size([1, 6, 32]), torch.Size([1, 100, 32]), torch.Size([1, 6, 100]))
    """

    def __init__(
        self, dim: int, topk_ratio: float = 0.02, learn_alpha: bool = True, tau: float = 1.0
    ):
        super().__init__()
        self.topk_ratio, self.tau = topk_ratio, tau
        self.class_norm, self.feature_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.gate = _mlp(2 * dim, dim)
        self.candidate = _mlp(dim, dim)
        self.gamma, self.beta = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.alpha_logit = nn.Parameter(torch.zeros(()), requires_grad=learn_alpha)

    def forward(self, classes: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Refine class embeddings and features.

        Args:
            classes: class embeddings (b, k, d).
            features: features (b, s, d).

        Returns:
            Refined class embeddings (b, k, d), refined features (b, s, d), and the heatmap
            logits (b, k, s).
        """
        score, classes_n, features_n = self.compare(classes, features)
        with torch.autocast(features.device.type, enabled=False):
            context = self.pool(score, features_n)
        classes = self.refine_classes(classes, classes_n, context)
        return classes, self.refine_features(classes, features, score), score / self.tau

    def compare(self, classes: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compare each class with each pixel.

        Args:
            classes: class embeddings (b, k, d).
            features: features (b, s, d).

        Returns:
            Heatmap logits (b, k, s), normalized class embeddings (b, k, d), and normalized
            features (b, s, d).
        """
        classes_n, features_n = self.class_norm(classes), self.feature_norm(features)
        # Heatmaps decide which pixels a class is refined from, so they are always float32.
        with torch.autocast(features.device.type, enabled=False):
            features_n = at_least_float32(features_n)
            query = self.query(at_least_float32(classes_n)) * features.shape[-1] ** -0.5
            return query @ features_n.transpose(1, 2), classes_n, features_n

    def pool(self, score: Tensor, features_n: Tensor) -> Tensor:
        """Pool the context of each class from the features.

        Args:
            score: heatmap logits (b, k, s).
            features_n: normalized features (b, s, d).

        Returns:
            (b, k, d)
        """
        # With pooling first, only k vectors are projected instead of s.
        return self.value(self.pooling(score) @ features_n)

    def pooling(self, score: Tensor) -> Tensor:
        """Compute the weights (b, k, s) of the pixels that :meth:`pool` takes for each class.

        Args:
            score: heatmap logits (b, k, s).
        """
        return pooling_weights(score, selected_pixels(score.shape[-1], self.topk_ratio))

    def refine_classes(self, classes: Tensor, classes_n: Tensor, context: Tensor) -> Tensor:
        """Mix each class embedding with its context, channel by channel (F2CE).

        Args:
            classes: class embeddings (b, k, d).
            classes_n: normalized class embeddings (b, k, d).
            context: context of each class (b, k, d).
        """
        gate = self.gate(torch.cat([classes_n, context], dim=-1)).sigmoid()
        return gate * self.candidate(context) + (1 - gate) * classes

    def refine_features(self, classes: Tensor, features: Tensor, score: Tensor) -> Tensor:
        """Modulate the features of each pixel by its probable classes (CE2F).

        The result is alpha * F + (1 - alpha) * sum_n p_n (gamma_n * F + beta_n), with gamma_n = 1 +
        tanh of the Linear ``gamma``. Since p sums to 1 over the classes, each factor of F and each
        shift is a mixture of k vectors.

        Args:
            classes: refined class embeddings (b, k, d).
            features: features F (b, s, d).
            score: heatmap logits (b, k, s).
        """
        alpha = self.alpha_logit.sigmoid()
        scale = alpha + (1 - alpha) * (1 + self.gamma(classes).tanh())  # (b, k, d)
        shift = (1 - alpha) * self.beta(classes)  # (b, k, d)
        probability = (score / self.tau).softmax(dim=1).transpose(1, 2)  # (b, s, k)
        return modulate(probability, scale, shift, features)


_POOLING = HBISLayer.forward, HBISLayer.compare, HBISLayer.pool, HBISLayer.pooling


def _pools_as_hbis(layer: nn.Module) -> TypeGuard[HBISLayer]:
    """Tell whether a layer pools the pixels of a class as :class:`HBISLayer` does."""
    if not isinstance(layer, HBISLayer):
        return False
    own = type(layer)
    return (own.forward, own.compare, own.pool, own.pooling) == _POOLING


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs))


class BiCoRSeg(Segmenter):
    """The network BiCoR-Seg: encoder, aggregator, cascaded HBIS layers and head.

    A subclass may override :meth:`make_layer` to refine classes and pixels in another way.

    Args:
        num_classes: number of classes, k.
        encoder: a timm model with maps at strides 4, 8, 16 and 32.
        weights: weights of the encoder: ``"imagenet"``, a local file, or None.
        dim: number of channels, d, a multiple of 16.
        layers: number of HBIS layers.
        topk_ratio: share of the pixels that each class embedding is refined from.
        learn_alpha: whether to train the mixing weight of each layer; False keeps it at 0.5.
        aux: whether training has an auxiliary output, from unrefined features and the initial class
            embeddings, which get no gradient from it.
        tau: temperature of the heatmaps.
        drop_path: rate of stochastic depth of the encoder.
        checkpoint_encoder: whether training computes the encoder's blocks again in the backward
            pass.
        checkpoint_decoder: the same for each HBIS layer and the head.
        bands: number of bands of each image.
        adaptation: the settings ``out_indices``, ``freeze`` and ``lora`` of the encoder, see
            :class:`Encoder`.

    Raises:
        InputError: a value is out of range, or see :class:`Encoder`.
    """

    training_settings: ClassVar[frozenset[str]] = Segmenter.training_settings | {"learn_alpha"}

    def __init__(
        self,
        num_classes: int,
        encoder: str = "convnext_base.fb_in1k",
        weights: str | None = "imagenet",
        dim: int = 256,
        layers: int = 2,
        topk_ratio: float = 0.02,
        learn_alpha: bool = True,
        aux: bool = True,
        tau: float = 1.0,
        drop_path: float = 0.0,
        checkpoint_encoder: bool = False,
        checkpoint_decoder: bool = False,
        bands: int = 3,
        **adaptation: Unpack[AdaptationOptions],
    ):
        super().__init__(aux, checkpoint_decoder)
        check_setting("layers", layers, layers >= 1, "at least 1")
        check_setting("topk_ratio", topk_ratio, 0 < topk_ratio <= 1, "above 0 and at most 1")
        check_setting("tau", tau, tau > 0, "above 0")
        is_dim = dim > 0 and dim % UPSCALING**2 == 0
        check_setting("dim", dim, is_dim, f"a multiple of {UPSCALING**2}")
        self.encoder = Encoder(encoder, weights, drop_path, checkpoint_encoder, bands, **adaptation)
        self.aggregator = Aggregator(self.encoder.channels, dim)
        self.class_embeddings = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.trunc_normal_(self.class_embeddings, std=0.02)
        self.layers = nn.ModuleList(
            self.make_layer(dim, topk_ratio, learn_alpha, tau) for _ in range(layers)
        )
        self.head = PixelShuffleHead(dim)
        self.aux_classifier = nn.Linear(dim, dim // UPSCALING**2, bias=False) if aux else None

    def make_layer(self, dim: int, topk_ratio: float, learn_alpha: bool, tau: float) -> nn.Module:
        """Build one of the cascaded layers; this is called once for each layer.

        Args:
            dim: number of channels, d.
            topk_ratio: share of the pixels that each class embedding is refined from.
            learn_alpha: whether to train the mixing weight.
            tau: temperature of the heatmaps.

        Returns:
            A module that takes class embeddings (b, k, d) and features (b, s, d), and returns both
            refined and the heatmap logits (b, k, s), as :class:`HBISLayer` does.
        """
        return HBISLayer(dim, topk_ratio, learn_alpha, tau)

    def decode(self, stages: list[Tensor], details: bool = False) -> SegOutput:
        """Compute the output at four times the first stage's size.

        Args:
            stages: maps of the encoder, each (b, c_i, h_i, w_i).
            details: whether to return heatmaps and class embeddings too, as in training, and the
                pixels that the classes are refined from.
        """
        fused = self.aggregator(stages)  # (b, h, w, d)
        b, h, w, d = fused.shape
        classes = self.class_embeddings.repeat(b, 1, 1)  # (b, k, d)
        features = fused.reshape(b, h * w, d)
        heatmaps, class_embeddings = [], []
        pooling: list[Tensor] = []
        for layer in self.layers:
            if details and not self.training and _pools_as_hbis(layer):
                weights = layer.pooling(layer.compare(classes, features)[0])
                pooling.append(weights.unflatten(-1, (h, w)))
            classes, features, heatmap = self.run(layer, classes, features)
            heatmaps.append(heatmap.unflatten(-1, (h, w)))
            class_embeddings.append(classes)
        logits = self.run(self.head, features.view(b, h, w, d), classes)
        if not (self.training or details):
            return SegOutput(logits)
        aux_logits = self._aux(fused) if self.training and self.has_aux else None
        # With another layer between them, the places in the list would not be those of the layers.
        pooling_of_all = pooling if len(pooling) == len(self.layers) else None
        return SegOutput(logits, aux_logits, heatmaps, class_embeddings, pooling_of_all)

    def whole_image(self, height: int, width: int, share: float = 1.0) -> BiCoRContext:
        """Begin to compute the class embeddings of a large image window by window.

        Args:
            height: height of the image in pixels.
            width: width of the image in pixels.
            share: share of the image that the embeddings are refined from.

        Raises:
            InputError: a layer of a subclass pools its context in another way.
        """
        layers = []
        for layer in self.layers:
            if not _pools_as_hbis(layer):
                raise InputError(
                    "context=image",
                    f"{type(layer).__name__} pools the pixels of a class in its own way",
                    "use context=window",
                )
            layers.append(layer)
        rows, columns = (-(-n // STRIDES[-1]) * STRIDES[-1] // STRIDES[0] for n in (height, width))
        pixels = round(share * rows * columns)
        return BiCoRContext(
            nn.Sequential(self.encoder, self.aggregator),
            layers,
            self.head,
            self.class_embeddings,
            [selected_pixels(pixels, layer.topk_ratio) for layer in layers],
            EPSILON,
        )

    def _aux(self, fused: Tensor) -> Tensor:
        """Compute logits of the unrefined features and the initial embeddings.

        No gradient flows to the embeddings.
        """
        assert self.aux_classifier is not None  # has_aux says so
        vectors = self.aux_classifier(self.class_embeddings.detach())[None]
        return self.run(self.head.segment, fused, vectors)
