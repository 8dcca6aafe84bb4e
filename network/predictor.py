"""The predictor, which loads a trained network and predicts with it."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from network.card import CARD_KEY, build_from, read_card
from network.compute import arrange, autocast, find_device, prepare
from network.config import Experiment, load_experiment
from network.contracts import ExplainingNetwork
from network.datasets.schema import DatasetInfo
from network.datasets.transforms import Normalize
from network.differences import (
    as_trained,
    changes_predictions,
    check_same_classes,
    check_same_settings,
    training_settings,
)
from network.errors import InputError
from network.models.adaptation import merge_lora
from network.models.checkpoint import SETTINGS_KEY, load_weights, read_checkpoint
from network.models.output import SegOutput
from network.prediction import (
    OVERLAP,
    PATCH,
    ImagePredictor,
    Prediction,
    PredictionOptions,
    to_batch,
)
from network.rasters.pixels import finite_pixels, network_values
from network.settings import Compute

__all__ = ["Prediction", "Predictor", "PredictorOptions", "Trained", "heatmaps_of", "load_network"]

Result = TypeVar("Result")


class PredictorOptions(PredictionOptions, total=False):
    """How a predictor computes; see :class:`Predictor`."""

    device: str | torch.device


class TorchEngine:
    """A network in torch as a :class:`network.prediction.Engine`.

    Args:
        model: the network with its weights. LoRA is merged into them.
        normalization: mean and standard deviation of each band, in pixel values.
        compute: precision and memory format.
        device: device of the computation.
    """

    def __init__(
        self,
        model: nn.Module,
        normalization: tuple[Sequence[float], Sequence[float]],
        compute: Compute,
        device: torch.device,
    ):
        self.settings, self.device = compute, device
        is_double = compute.precision == "64-true"
        model = merge_lora(model).to(device, torch.float64 if is_double else None)
        self.model = prepare(model, compute).eval()
        self._dtype = next(model.parameters()).dtype
        self._normalize = Normalize(*normalization).to(device)

    @property
    def is_on_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def fixed_size(self) -> None:
        return None

    @torch.inference_mode()
    def prepare(self, images: Tensor | np.ndarray) -> Tensor:
        """Move images (b, bands, H, W) to the device and normalize them."""
        tensor = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
        return self._normalize(tensor.to(self.device)).to(self._dtype)

    @torch.inference_mode()
    def scores(self, images: Tensor) -> Tensor:
        """Compute the logits (b, k, H, W) of normalized images (b, bands, H, W)."""
        return self.call(self.model, images).logits

    def call(self, function: Callable[[Tensor], Result], images: Tensor) -> Result:
        """Call a function of normalized images in the set precision."""
        with autocast(self.settings, self.device):
            return function(arrange(images, self.settings))


class Predictor(ImagePredictor):
    """A network with its weights and all processing of its images.

    Args:
        model: the network with its weights. LoRA is merged into them.
        info: description of images and classes.
        normalization: mean and standard deviation of each band, in pixel values.
        compute: precision and memory format.
        device: device of the computation.
        options: further arguments of :class:`network.prediction.ImagePredictor`.

    Raises:
        InputError: a value is out of range.
    """

    engine: TorchEngine

    def __init__(
        self,
        model: nn.Module,
        info: DatasetInfo,
        normalization: tuple[Sequence[float], Sequence[float]],
        *,
        compute: Compute | None = None,
        device: str | torch.device = "auto",
        **options: Unpack[PredictionOptions],
    ):
        target = find_device(device) if isinstance(device, str) else device
        engine = TorchEngine(model, normalization, compute or Compute(), target)
        super().__init__(engine, info, **options)

    @property
    def model(self) -> nn.Module:
        """The network on its device, in the mode of prediction."""
        return self.engine.model

    @property
    def device(self) -> torch.device:
        """The device of the computation."""
        return self.engine.device

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
            compute: precision and memory format; by default those of the config, or without one the
                double precision of a training in it and single precision for others.
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
            resolution = trained.ground_resolution
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
            resolution = card.ground_resolution
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
            ground_resolution=resolution,
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
            image: (h, w, bands), see :meth:`ImagePredictor.predict`.
            probabilities: whether to give the probability of each class.
            heatmaps: whether to give the heatmaps of each layer. They are computed for the whole
                image at once, so a large image takes much memory.
            valid: (h, w) bool, see :meth:`ImagePredictor.predict`.

        Raises:
            InputError: see :meth:`ImagePredictor.predict`.
        """
        found = super().predict(image, probabilities=probabilities, valid=valid)
        if heatmaps:
            found = replace(found, heatmaps=self.heatmaps(image, valid=found.valid))
        return found

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
        batch = torch.from_numpy(to_batch(network_values(image, finite_pixels(image, valid))))
        model = self.model
        with torch.inference_mode():
            explain = model.explain if isinstance(model, ExplainingNetwork) else model
            return self.compute(explain, batch)

    def compute(self, function: Callable[[Tensor], Result], images: Tensor) -> Result:
        """Call a function of normalized images, with the precision of this predictor.

        Args:
            function: takes (b, bands, H, W) on the device.
            images: (b, bands, H, W) pixel values on the CPU.
        """
        return self.engine.call(function, self.engine.prepare(images))

    def with_network(self, model: nn.Module) -> "Predictor":
        """Make a predictor that differs only in its network, which is on the device already."""
        other = copy(self)
        other.engine = copy(self.engine)
        other.engine.model = model
        return other


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
        ground_resolution: side of a pixel of the training images in meters; None if unknown.
    """

    model: nn.Module
    experiment: Experiment
    training: dict[str, Any] | None
    ground_resolution: float | None


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
        check_same_classes(training, experiment, path)
        matters = partial(changes_predictions, training_only=training_settings(model))
        check_same_settings(training, experiment, path, matters)
    load_weights(model, path, content)
    resolution = (content.get(CARD_KEY) or {}).get("ground_resolution")
    return Trained(model, experiment, training, resolution)
