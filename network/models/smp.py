"""Baselines: the networks of segmentation_models_pytorch."""

import segmentation_models_pytorch as smp
import timm
from torch import Tensor, nn

from network.errors import InputError, nearest
from network.models.encoder import any_size_options, pretrained_tensors
from network.models.output import SegOutput
from network.models.padding import crop, pad

ARCHITECTURES = {
    "unet": smp.Unet,
    "unetplusplus": smp.UnetPlusPlus,
    "linknet": smp.Linknet,
    "pspnet": smp.PSPNet,
    "deeplabv3plus": smp.DeepLabV3Plus,
    "fpn": smp.FPN,
    "segformer": smp.Segformer,
    "upernet": smp.UPerNet,
}
STRIDE = 32

# As in its paper, PSPNet has the whole encoder, dilated. The library's default stops at stride 8,
# with less than a tenth of the parameters.
OPTIONS = {"pspnet": {"encoder_depth": 5, "output_stride": 8, "upsampling": 8}}


class SMPSegmenter(nn.Module):
    """A network of segmentation_models_pytorch with a timm encoder.

    SegFormer is only the decoder; with encoders such as ``mit_b2``, which timm does not have, it is
    the paper's network.

    Args:
        num_classes: number of classes, k.
        architecture: a key of ``ARCHITECTURES``.
        encoder: a timm model, or one of segmentation_models_pytorch's own ``mit_*``.
        weights: weights of the encoder: ``"imagenet"``, a local file, or None.
        bands: number of bands of each image.

    Raises:
        InputError: there is no such architecture or encoder, the two do not go together, or the
            weights are missing or do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        architecture: str = "unet",
        encoder: str = "resnet50.a1_in1k",
        weights: str | None = "imagenet",
        bands: int = 3,
    ):
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise InputError(
                f"model.architecture={architecture}",
                f"no such network{nearest(architecture, ARCHITECTURES)}",
            )
        if timm.is_model(encoder):
            name, options = f"tu-{encoder}", any_size_options(encoder)
        elif encoder in smp.encoders.encoders and encoder.startswith("mit_"):
            name, options = encoder, {}
        else:
            known = timm.list_models() + timm.list_pretrained()
            raise InputError(
                f"encoder '{encoder}'", f"timm has no such model{nearest(encoder, known)}"
            )
        build = ARCHITECTURES[architecture]
        options |= {"in_channels": bands, **OPTIONS.get(architecture, {})}
        try:
            self.network = build(name, encoder_weights=None, classes=num_classes, **options)
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RuntimeError,
            AssertionError,
        ) as e:
            reason = next(iter(str(e).splitlines()), type(e).__name__)
            raise InputError(
                f"encoder '{encoder}'",
                f"{architecture} cannot be built on it ({reason})",
                "choose another such as resnet50.a1_in1k",
            ) from e
        if weights is not None:
            _load_encoder(self.encoder, encoder, weights, bands)

    @property
    def encoder(self) -> nn.Module:
        return self.network.encoder

    def forward(self, image: Tensor) -> SegOutput:
        """Compute logits (b, k, H, W) of normalized images (b, bands, H, W) of any size."""
        height, width = image.shape[-2:]
        return SegOutput(crop(self.network(pad(image, STRIDE)), height, width))


def _load_encoder(network: nn.Module, name: str, weights: str, bands: int) -> None:
    if name.startswith("mit_"):
        raise InputError(
            f"encoder '{name}'",
            "its weights are not timm's",
            "use model.weights=None, or another encoder",
        )
    found = pretrained_tensors(name, weights, bands)
    features = network.get_submodule("model")  # timm's own network
    # A network that uses fewer stages has fewer of the tensors.
    wanted = features.state_dict()
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise InputError(
            f"encoder '{name}'",
            f"no pretrained {missing[0]} ({len(missing)} of {len(wanted)} tensors)",
            "use model.weights=None",
        )
    features.load_state_dict({key: found[key] for key in wanted})
