"""Time of a whole test, divided by the time of plain forward passes of all its views."""

import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from network.benchmark.timing import interleave, median
from network.compute import arrange, autocast
from network.config import Experiment
from network.datasets.files import write_image
from network.datasets.segmentation import Sample
from network.datasets.synthetic.town import make_scene
from network.errors import InputError
from network.evaluation.evaluate import predict
from network.models.adaptation import merge_lora
from network.predictor import Predictor
from network.tta import build_views


def benchmark_testing(
    experiment: Experiment,
    *,
    tta: str = "d4",
    size: int = 512,
    images: int = 2,
    batch_size: int = 1,
    repeats: int = 3,
    device: torch.device,
) -> dict:
    """Measure the time of a whole test of synthetic images: load, predict, score and write.

    ``ratio`` is this time divided by the time of plain forward passes, one for each view at its
    size. For ``ratio_by_pixels``, the time of a forward pass at ``size`` is scaled by the number of
    pixels of all views. Large views cost more per pixel; this ratio includes that cost. Both are
    medians over rounds.

    Args:
        experiment: the model and its data set.
        tta: name of the test-time augmentation.
        size: height and width of the images in pixels.
        images: least number of images; a last batch is filled up by more.
        batch_size: images in a step.
        repeats: number of rounds.
        device: device that computes.

    Raises:
        InputError: the data set has other images than RGB with 8 bits.
    """
    info, compute = experiment.dataset, experiment.compute
    if not info.is_rgb8:
        raise InputError(
            experiment.config,
            f"has {info.bands} bands of {info.dtype}",
            "this is measured on RGB scenes of 8 bits, give such a config",
        )
    torch.manual_seed(0)
    model = merge_lora(experiment.build_model(pretrained=False))
    views = build_views(tta, info)
    sides = [round(size * scale) for scale in views.scales]
    steps = -(-images // batch_size)
    images = steps * batch_size  # so the test and the forward passes see the same number

    def forward(side: int) -> None:
        image = arrange(torch.randn(batch_size, 3, side, side, device=device), compute)
        with torch.inference_mode(), autocast(compute, device):
            for _ in range(len(views.symmetries) * steps):
                model(image)

    with TemporaryDirectory() as folder:
        samples = _samples(Path(folder), images, size)
        output = Path(folder) / "output"
        predictor = Predictor.of(
            experiment,
            model,
            device=device,
            tta=tta,
            patch=None,
            batch_size=batch_size,
        )

        def test() -> None:
            predict(predictor, samples, output, rgb=True, workers=experiment.data.workers)

        functions = {f"forward {side}": partial(forward, side) for side in {*sides, size}}
        times = interleave({**functions, "test": test}, repeats, device=device)
    rounds = range(repeats)
    by_size = [sum(times[f"forward {side}"][i] for side in sides) for i in rounds]
    pixels = sum(side**2 for side in sides) / size**2
    by_pixels = [pixels * times[f"forward {size}"][i] for i in rounds]
    return {
        "tta": tta,
        "views": len(views),
        "size": size,
        "images_per_s": 1000 * images / median(times["test"]),
        "ratio": statistics.median(t / f for t, f in zip(times["test"], by_size, strict=True)),
        "ratio_by_pixels": statistics.median(
            t / f for t, f in zip(times["test"], by_pixels, strict=True)
        ),
    }


def _samples(folder: Path, count: int, size: int) -> list[Sample]:
    samples = []
    for number in range(count):
        image, labels = make_scene(number, size, size)
        paths = folder / "images" / f"{number}.png", folder / "masks" / f"{number}.png"
        write_image(paths[0], image)
        write_image(paths[1], labels)
        samples.append(
            Sample(name=str(number), image=paths[0], size=(size, size), masks={"full": paths[1]})
        )
    return samples
