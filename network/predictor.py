"""The predictor, which loads a trained network and predicts with it."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from network.card import build_from, read_card
from network.compute import arrange, autocast, find_device, prepare
from network.config import Experiment, load_experiment
from network.contracts import ExplainingNetwork
from network.datasets.files import write_mask
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import to_tensor
from network.datasets.transforms import Normalize
from network.differences import (
    as_trained,
    changes_predictions,
    check_same_settings,
    training_settings,
)
from network.errors import InputError
from network.models.adaptation import merge_lora
from network.models.checkpoint import SETTINGS_KEY, load_weights, read_checkpoint
from network.models.output import SegOutput
from network.rasters.pixels import finite_pixels, network_values
from network.settings import Compute
from network.tta import (
    TTA_NAMES,
    build_views,
    logits_and_disagreement,
    mean_logits,
    patched_logits,
)

Result = TypeVar("Result")

PATCH, OVERLAP = 1024, 128
"""Side and overlap of the patches that larger images are predicted in, in pixels."""

_PIXELS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Prediction:
    """The prediction of a network for one image.

    Attributes:
        info: description of the data set, with classes and palette.
        labels: (h, w) uint8, the most probable class of each pixel.
        confidence: (h, w) float32, the probability of this class, 0 to 1.
        probabilities: (k, h, w) float32, probabilities of all classes; None unless requested.
        heatmaps: response of each layer to each class, (k, h', w') float32 with the sum 1 over the
            classes, at a quarter of the image's size; None unless requested, and empty for a
            network without heatmaps.
        valid: (h, w) bool, where the image has data; None if it has data everywhere.
    """

    info: DatasetInfo
    labels: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray | None = None
    heatmaps: list[np.ndarray] | None = None
    valid: np.ndarray | None = None

    def to_rgb(self) -> np.ndarray:
        """Convert the labels to the colors of their classes, (h, w, 3) uint8."""
        return self.info.to_rgb(self.labels)

    def save(self, path: str | Path, *, rgb: bool = False) -> None:
        """Write the mask as a PNG.

        Args:
            path: path of the file.
            rgb: whether to write the colors of the classes instead of their labels.

        Raises:
            InputError: the name has another ending, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise InputError(path, "masks are written as PNG", "choose a name that ends in .png")
        write_mask(path, self.labels, self.info, rgb=rgb, valid=self.valid)


class PredictorOptions(TypedDict, total=False):
    """How a predictor computes; see :class:`Predictor`."""

    device: str | torch.device
    tta: str
    patch: tuple[int, int] | None
    overlap: int
    batch_size: int


class Predictor:
    """A network with its weights and all processing of its images.

    Args:
        model: the network with its weights. LoRA is merged into them.
        info: description of images and classes.
        normalization: mean and standard deviation of each band, in pixel values.
        compute: precision and memory format.
        device: device of the computation.
        tta: test-time augmentation, a name that :func:`network.tta.build_views` knows.
        patch: height and width of the patches that larger images are predicted in; None predicts
            images whole.
        overlap: smallest overlap of neighboring patches, in pixels.
        batch_size: number of patches that are predicted at once. A batch of views has at most as
            many pixels as a batch of patches, or is a single view.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        info: DatasetInfo,
        normalization: tuple[Sequence[float], Sequence[float]],
        *,
        compute: Compute | None = None,
        device: str | torch.device = "auto",
        tta: str = "none",
        patch: tuple[int, int] | None = (PATCH, PATCH),
        overlap: int = OVERLAP,
        batch_size: int = 1,
    ):
        if tta not in TTA_NAMES:
            raise InputError(f"tta={tta}", f"must be one of {', '.join(TTA_NAMES)}")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}", "must be at least 1")
        if patch and (min(patch) < 1 or not 0 <= overlap < min(patch)):
            raise InputError(
                f"patch={patch}, overlap={overlap}",
                "patches must have at least 1 pixel, and overlap by less than their side",
            )
        self.info, self.compute_settings = info, compute or Compute()
        self.device = find_device(device) if isinstance(device, str) else device
        self.views = build_views(tta, info)
        self.patch, self.overlap, self.batch_size = patch, overlap, batch_size
        is_double = self.compute_settings.precision == "64-true"
        model = merge_lora(model).to(self.device, torch.float64 if is_double else None)
        self.model = prepare(model, self.compute_settings).eval()
        self._dtype = next(model.parameters()).dtype
        self._normalize = Normalize(*normalization).to(self.device)

    @classmethod
    def of(
        cls, experiment: Experiment, model: nn.Module, **options: Unpack[PredictorOptions]
    ) -> "Predictor":
        """Make the predictor of an experiment.

        Args:
            experiment: gives the data set, the normalization, precision and memory format.
            model: its network, with weights.
            options: further arguments of the constructor.
        """
        info, normalization = experiment.dataset, experiment.normalization
        return cls(model, info, normalization, compute=experiment.compute, **options)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        config: str | Path | None = None,
        overrides: Sequence[str] = (),
        compute: Compute | None = None,
        device: str | torch.device = "auto",
        tta: str = "none",
        patch: tuple[int, int] | None = (PATCH, PATCH),
        overlap: int = OVERLAP,
        batch_size: int = 1,
    ) -> "Predictor":
        """Load a trained network.

        Args:
            checkpoint: a ``best.ckpt`` or ``last.ckpt`` of this project; with a config also one of
                the released code.
            config: config of the training. It is needed for checkpoints that do not tell how their
                network is built: those of older or other code, and of networks that a config
                defines.
            overrides: ``key=value`` words of the training beside the config.
            compute: precision and memory format; by default single precision.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` takes the GPU if there is one.
            tta: test-time augmentation: ``"none"``, ``"lr"``, ``"d4"`` or ``"dihedral"``.
            patch: height and width of the patches that larger images are predicted in; None
                predicts images whole.
            overlap: smallest overlap of neighboring patches, in pixels.
            batch_size: number of patches in a step.

        Raises:
            InputError: the checkpoint or the config cannot be used, or they do not fit together.
        """
        path = Path(checkpoint)
        content = read_checkpoint(path)
        if config is not None:
            trained = load_network(load_experiment(config, overrides), path, content)
            model, experiment = trained.model, trained.experiment
            info, normalization = experiment.dataset, experiment.normalization
            compute = compute or experiment.compute
        else:
            if overrides:
                raise InputError(
                    "overrides", "change the settings of a config", "give config=... too"
                )
            card = read_card(content, path)
            model = build_from(card, path)
            load_weights(model, path, content)
            info, normalization = card.info, (card.mean, card.std)
            compute = compute or card.compute
        return cls(
            model,
            info,
            normalization,
            compute=compute,
            device=device,
            tta=tta,
            patch=patch,
            overlap=overlap,
            batch_size=batch_size,
        )

    def predict(
        self,
        image: np.ndarray,
        *,
        probabilities: bool = False,
        heatmaps: bool = False,
        valid: np.ndarray | None = None,
    ) -> Prediction:
        """Predict one image.

        Args:
            image: (h, w, bands), of the type of the training images, not normalized; with one band
                also (h, w).
            probabilities: whether to give the probability of each class; this takes 4 bytes for
                each pixel and class.
            heatmaps: whether to give the heatmaps of each layer. They are computed for the whole
                image at once, so a large image takes much memory.
            valid: (h, w) bool, where the image has data; elsewhere the saved mask has no class.
                Pixels of floats that are NaN or infinite have no data either.

        Raises:
            InputError: the image has other bands or another type than the network was trained on,
                or ``valid`` has another size.
        """
        image = self._checked(image, valid)
        valid = finite_pixels(image, valid)
        batch = to_tensor(network_values(image, valid))[None]
        with torch.inference_mode():
            scores = self.logits(batch)[0]
            best = best_classes(scores)
            all_classes = scores.softmax(dim=0).float().cpu().numpy() if probabilities else None
        return Prediction(
            info=self.info,
            labels=best.labels.numpy(),
            confidence=best.confidence.numpy(),
            probabilities=all_classes,
            heatmaps=self.heatmaps(image, valid=valid) if heatmaps else None,
            valid=valid,
        )

    def heatmaps(self, image: np.ndarray, *, valid: np.ndarray | None = None) -> list[np.ndarray]:
        """Compute heatmaps, which show how strongly each layer responds to each class.

        Args:
            image: (h, w, bands), see :meth:`predict`.
            valid: (h, w) bool, see :meth:`predict`.

        Returns:
            For each layer (k, h', w') float32, softmax over the classes; empty for a network
            without heatmaps.

        Raises:
            InputError: see :meth:`predict`.
        """
        if not isinstance(self.model, ExplainingNetwork):
            return []
        return heatmaps_of(self.explain(image, valid=valid))

    def explain(self, image: np.ndarray, *, valid: np.ndarray | None = None) -> SegOutput:
        """Segment an image as a whole, without views, and tell how its logits come about.

        Args:
            image: (h, w, bands), see :meth:`predict`.
            valid: (h, w) bool, see :meth:`predict`.

        Returns:
            The output of the network for a batch of this image, on the device. What the network
            cannot tell is None.

        Raises:
            InputError: see :meth:`predict`.
        """
        image = self._checked(image, valid)
        batch = to_tensor(network_values(image, finite_pixels(image, valid)))[None]
        model = self.model
        with torch.inference_mode():
            explain = model.explain if isinstance(model, ExplainingNetwork) else model
            return self.compute(explain, batch)

    def logits(self, images: Tensor) -> Tensor:
        """Compute mean logits over the views; larger images are predicted in patches.

        Args:
            images: (b, bands, H, W) pixel values on the CPU, see
                :func:`network.rasters.pixels.network_values`; with patches, only a single image.

        Returns:
            (b, k, H, W) on the device.
        """
        if self.patch:
            return patched_logits(
                self._forward,
                images,
                self.views,
                self.patch,
                self.batch_size,
                self.overlap,
                self._to_network,
            )
        max_pixels = self.batch_size * images[0, 0].numel()
        return mean_logits(self._forward, self._to_network(images), self.views, max_pixels)

    def logits_and_disagreement(self, images: Tensor) -> Tensor:
        """Compute mean logits over the views, and how much the views disagree.

        Args:
            images: (b, bands, H, W) pixel values on the CPU, each predicted whole.

        Returns:
            (b, k + 1, H, W) on the device: the logits, and as the last channel the disagreement,
            see :func:`network.tta.logits_and_disagreement`.
        """
        max_pixels = self.batch_size * images[0, 0].numel()
        found = logits_and_disagreement(
            self._forward, self._to_network(images), self.views, max_pixels
        )
        return torch.cat(found, dim=1)

    def compute(self, function: Callable[[Tensor], Result], images: Tensor) -> Result:
        """Call a function of normalized images, with the precision of this predictor.

        Args:
            function: takes (b, bands, H, W) on the device.
            images: (b, bands, H, W) pixel values on the CPU.
        """
        with autocast(self.compute_settings, self.device):
            return function(arrange(self._to_network(images), self.compute_settings))

    def with_network(self, model: nn.Module) -> "Predictor":
        """Make a predictor that differs only in its network, which is on the device already."""
        other = copy(self)
        other.model = model
        return other

    def _to_network(self, images: Tensor) -> Tensor:
        return self._normalize(images.to(self.device)).to(self._dtype)

    def _forward(self, images: Tensor) -> Tensor:
        with autocast(self.compute_settings, self.device):
            return self.model(arrange(images, self.compute_settings)).logits

    def _checked(self, image: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        info = self.info
        if image.ndim == 2 and info.bands == 1:
            image = image[..., None]
        if image.ndim != 3 or image.shape[2] != info.bands or 0 in image.shape:
            raise InputError(
                "image",
                f"has the shape {image.shape}",
                f"expected (height, width, {info.bands}), as the network was trained",
            )
        if image.dtype != np.dtype(info.dtype):
            raise InputError(
                "image",
                f"has values of type {image.dtype}",
                f"expected {info.dtype}, as stored in the files that the network was trained on",
            )
        if valid is not None and valid.shape != image.shape[:2]:
            raise InputError(
                "valid", f"has the shape {valid.shape}", f"expected {image.shape[:2]}, as the image"
            )
        return image


def heatmaps_of(output: SegOutput) -> list[np.ndarray]:
    """Turn the heatmap logits of one image into the softmax over the classes.

    Args:
        output: output of :meth:`Predictor.explain`.

    Returns:
        For each layer (k, h', w') float32; empty for a network without heatmaps.
    """
    return [layer[0].float().softmax(0).cpu().numpy() for layer in output.heatmaps or []]


@dataclass(frozen=True)
class Trained:
    """A network with the weights of a checkpoint.

    Attributes:
        model: the network.
        experiment: the experiment of the network. If its config gives no mean and deviation of the
            bands, it has those of the training.
        training: settings of the training; None if the checkpoint has none.
    """

    model: nn.Module
    experiment: Experiment
    training: dict[str, Any] | None


def load_network(experiment: Experiment, path: Path, content: dict | None = None) -> Trained:
    """Build the network of an experiment and load the weights of a checkpoint.

    Args:
        experiment: the experiment.
        path: path of the checkpoint.
        content: content of the checkpoint, if it is already read.

    Raises:
        InputError: the checkpoint cannot be read, or was trained with other settings.
    """
    model = experiment.build_model(pretrained=False)
    content = read_checkpoint(path) if content is None else content
    training = content.get(SETTINGS_KEY)
    experiment = as_trained(experiment, training)
    if training:
        matters = partial(changes_predictions, training_only=training_settings(model))
        check_same_settings(training, experiment, path, matters)
    load_weights(model, path, content)
    return Trained(model, experiment, training)


@dataclass(frozen=True)
class BestClasses:
    """The most probable class of each pixel of an image, on the CPU.

    Attributes:
        labels: (h, w) uint8 labels of the classes.
        confidence: (h, w) float32 probabilities of these classes.
    """

    labels: Tensor
    confidence: Tensor


def best_classes(logits: Tensor) -> BestClasses:
    """Choose the most probable class of each pixel.

    This takes a few rows at a time, since the probabilities of a whole large image would double its
    memory.

    Args:
        logits: (k, h, w)
    """
    height, width = logits.shape[1:]
    labels = torch.empty(height, width, dtype=torch.uint8)
    confidence = torch.empty(height, width)
    rows = max(1, _PIXELS_AT_ONCE // width)
    for top in range(0, height, rows):
        some = slice(top, top + rows)
        confidence[some], labels[some] = logits[:, some].softmax(dim=0).max(dim=0)
    return BestClasses(labels, confidence)
