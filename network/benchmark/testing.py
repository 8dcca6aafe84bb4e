"""A whole test against the floor: a plain forward pass of as many pixels as all views have."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from network.benchmark.timing import interleave, median, ratio
from network.config import Experiment
from network.datasets.files import write_image
from network.datasets.scenes import make_scene
from network.datasets.segmentation import Sample
from network.engine.compute import arrange, autocast, prepare
from network.engine.evaluate import predict
from network.engine.metrics import ConfusionMatrix
from network.engine.tta import build_views


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
    """Time of loading, predicting, turning back, scoring and writing synthetic images.

    ``ratio`` is that time divided by (pixels of all views) x (time of a plain forward pass for
    one pixel), the median over rounds.
    """
    info, compute = experiment.dataset, experiment.compute
    torch.manual_seed(0)
    model = prepare(experiment.build_model(pretrained=False).to(device).eval(), compute)
    views = build_views(tta, info)
    images_per_view = sum(
        round(size * scale) ** 2 * len(views.symmetries) for scale in views.scales
    ) / (size**2)
    image = arrange(torch.randn(batch_size, 3, size, size, device=device), compute)

    def forward() -> None:
        with torch.inference_mode(), autocast(compute, device):
            model(image)

    with TemporaryDirectory() as folder:
        samples = _samples(Path(folder), images, size)
        matrices = {"full": ConfusionMatrix(info.num_classes)}
        output = Path(folder) / "output"
        options = {"tta": tta, "rgb": True, "batch_size": batch_size, "device": device}

        def test() -> None:
            predict(experiment, model, samples, output, matrices, **options)

        times = interleave({"forward": forward, "test": test}, repeats, device=device)
    floor = images / batch_size * images_per_view
    return {
        "tta": tta,
        "views": len(views),
        "size": size,
        "images_per_s": 1000 * images / median(times["test"]),
        "floor_images_per_s": 1000 * images / (floor * median(times["forward"])),
        "ratio": ratio(times, "test", "forward") / floor,
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
