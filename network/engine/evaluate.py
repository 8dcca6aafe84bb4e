"""Evaluation: predict a split, write its masks, score them; the engine of every test script."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from network.config import Compute, Experiment, settings
from network.datasets.files import copy_georeference, write_image
from network.datasets.folder_jobs import check_folders
from network.datasets.headers import image_size
from network.datasets.patches import padding_margin
from network.datasets.segmentation import Sample, check_samples, find_images, find_samples
from network.datasets.transforms import Normalize
from network.datasets.uavid import find_frames
from network.engine.compute import arrange, autocast, find_device, prepare
from network.engine.data import evaluation_loader
from network.engine.protocol import (
    changes_predictions,
    check_image_files,
    check_same_settings,
    file_hash,
    stamp,
)
from network.engine.records import (
    RECORDS_FILE,
    Counter,
    ImageRecord,
    add_record,
    read_records,
)
from network.engine.results import (
    FIGURES,
    PROTOCOL_FILE,
    REPORT_FILE,
    SCORES_FILE,
    SCORES_TABLE,
    print_results,
    write_figures,
    write_results,
)
from network.engine.summary import Summary, summarize
from network.engine.tta import build_views, mean_logits, patched_logits
from network.errors import InputError
from network.models.checkpoint import SETTINGS_KEY, load_weights, read_checkpoint
from network.writing import replacing

BOUNDARY_TOLERANCE = 3
"""Pixels that boundaries may lie apart: 15 cm on the ground in Potsdam, 90 cm in LoveDA."""


def evaluate(
    experiment: Experiment,
    *,
    checkpoint: Path,
    output: Path,
    split: str,
    tta: str = "none",
    rgb: bool = False,
    batch_size: int = 1,
    device: str = "auto",
    boundary_tolerance: int = BOUNDARY_TOLERANCE,
    frames: Path | None = None,
    patch: tuple[int, int] | None = None,
) -> dict[str, Summary]:
    """Predict ``split`` into PNG masks in ``output``, and score them where there are labels.

    Masks are written while predicting. An interrupted evaluation goes on where it stopped;
    ``output`` gets its scores when all masks are there.

    Args:
        tta: see :func:`network.engine.tta.build_views`.
        rgb: write colors instead of labels.
        batch_size: images a step; images of other sizes are never in one batch. Views of one
            size are batched too, up to as many pixels.
        boundary_tolerance: of boundary F1, pixels.
        frames: folder of sequences to predict instead of the config's folders; see
            :func:`network.datasets.uavid.find_frames`. ``split`` says what they are.
        patch: height and width of the patches that larger images are predicted in, ``batch_size``
            of them a step; by default they are predicted whole.

    Returns:
        What was measured by label kind; nothing where the labels are held back.

    Raises:
        InputError: data, checkpoint, device or output folder cannot be used.
    """
    info, root = experiment.dataset, experiment.root
    experiment.check_normalization()
    target = find_device(device)
    samples = find_frames(frames) if frames else find_samples(info, root, split)
    kinds = list(samples[0].masks)
    model, training = _load_model(experiment, checkpoint)
    check_image_files(training, info, samples, checkpoint)
    digests = check_samples(samples, info, split).digests if kinds else {}
    protocol = stamp(
        experiment,
        split=split,
        samples=samples,
        digests=digests,
        checkpoint=checkpoint.as_posix(),
        sha256=file_hash(checkpoint),
        training=training,
        tta=tta,
        views=len(build_views(tta, info)),
        boundary_tolerance=boundary_tolerance,
        is_whole=frames is not None,
    )
    if frames:
        protocol["frames"] = frames.as_posix()
    if patch:
        for masks in protocol["masks"].values():
            masks["tiling"] += f", predicted in patches of {patch[0]} x {patch[1]}"
    done = _start(output, samples, protocol, rgb)
    todo = [s for s in samples if s.name not in done or _is_older(output / f"{s.name}.png", s)]
    options = {"tta": tta, "rgb": rgb, "batch_size": batch_size, "patch": patch}
    if todo:
        _to_device(model, target, experiment.compute)
        predict(
            experiment,
            model,
            todo,
            output,
            device=target,
            boundary_tolerance=boundary_tolerance,
            **options,
        )
    found = read_records(output)
    records = [found[sample.name] for sample in samples]
    summaries = {kind: summarize(records, kind, info) for kind in kinds}
    if summaries:
        write_results(output, protocol, summaries)
        write_figures(output, protocol, summaries)
        print_results(protocol, summaries)
    return summaries


def predict_folder(
    experiment: Experiment,
    *,
    checkpoint: Path,
    images: Path,
    output: Path,
    tta: str = "none",
    rgb: bool = True,
    batch_size: int = 1,
    device: str = "auto",
    patch: tuple[int, int] | None = None,
    overlap: int = 0,
) -> int:
    """Masks of all images in a folder, at their own size; goes on where it was interrupted.

    Masks of georeferenced images are georeferenced too.

    Args:
        images: folder of images.
        overlap: pixels that neighboring patches share at least.
        For the others see :func:`evaluate`.

    Returns:
        The number of images.

    Raises:
        InputError: images, checkpoint, device or output folder cannot be used.
    """
    experiment.check_normalization()
    target = find_device(device)
    check_folders((images,), (output,))
    if output.resolve().is_relative_to(images.resolve()):
        raise InputError(f"{output}: is in the folder of the images {images}; choose another -o")
    samples = find_images(images, experiment.dataset)
    model, _ = _load_model(experiment, checkpoint)
    record = {
        "images": images.as_posix(),
        "checkpoint": checkpoint.as_posix(),
        "checkpoint_sha256": file_hash(checkpoint),
        "tta": tta,
        "patch": patch,
        "overlap": overlap,
        "settings": settings(experiment),
    }
    done = _start(output, samples, record, rgb)
    todo = [s for s in samples if s.name not in done or _is_older(output / f"{s.name}.png", s)]
    if todo:
        _to_device(model, target, experiment.compute)
        options = {"tta": tta, "rgb": rgb, "batch_size": batch_size}
        options |= {"patch": patch, "overlap": overlap}
        predict(experiment, model, todo, output, device=target, **options)
    for sample in samples:
        copy_georeference(sample.image, output / f"{sample.name}.png")
    return len(samples)


def _is_older(mask: Path, sample: Sample) -> bool:
    """Whether the image has been replaced since it was predicted."""
    return mask.stat().st_mtime < sample.image.stat().st_mtime or image_size(mask) != sample.size


def predict_samples(
    experiment: Experiment,
    checkpoint: Path,
    samples: list[Sample],
    output: Path,
    device: torch.device,
    patch: int,
) -> None:
    """Labels of a few images into an empty folder.

    Args:
        patch: side of the patches that larger images are predicted in.
    """
    model, _ = _load_model(experiment, checkpoint)
    _to_device(model, device, experiment.compute)
    options = {"tta": "none", "rgb": False, "batch_size": 1, "patch": (patch, patch)}
    predict(experiment, model, samples, output, device=device, **options)


def _load_model(experiment: Experiment, checkpoint: Path) -> tuple[nn.Module, dict | None]:
    """The model with its weights, and the settings that they were trained with, if known."""
    model = experiment.build_model(pretrained=False)
    load_weights(model, checkpoint)
    training = read_checkpoint(checkpoint).get(SETTINGS_KEY)
    if training:
        check_same_settings(training, experiment, checkpoint, changes_predictions)
    return model, training


def _to_device(model: nn.Module, device: torch.device, compute: Compute) -> None:
    model.to(device, torch.float64 if compute.precision == "64-true" else None)
    prepare(model, compute).eval()


def predict(
    experiment: Experiment,
    model: nn.Module,
    samples: list[Sample],
    output: Path,
    *,
    tta: str,
    rgb: bool,
    batch_size: int,
    device: torch.device,
    boundary_tolerance: int = BOUNDARY_TOLERANCE,
    patch: tuple[int, int] | None = None,
    overlap: int = 0,
) -> None:
    """Write the masks and records of ``samples``; see :func:`evaluate`.

    Args:
        model: on ``device``, ready to evaluate.
    """
    info, compute = experiment.dataset, experiment.compute
    dtype = next(model.parameters()).dtype
    normalize = Normalize(*experiment.normalization).to(device)
    # Beside a network on the CPU decoding is nothing, and after a fork both copy what they write.
    workers = min(experiment.data.workers, len(samples)) if device.type != "cpu" else 0
    images_at_once = 1 if patch else batch_size
    loader = evaluation_loader(info, samples, images_at_once, num_workers=workers)
    views = build_views(tta, info)

    def logits_of(image: Tensor) -> Tensor:
        with autocast(compute, device):
            return model(arrange(image, compute)).logits

    counter = Counter(info, boundary_tolerance)

    def save(name: str, image: Tensor, labels: dict, confidence: Tensor, best: Tensor) -> None:
        """Runs in a thread of its own, beside the next forward pass."""
        mask = best.numpy().astype(np.uint8)
        write_image(output / f"{name}.png", info.to_rgb(mask) if rgb else mask)
        margin = padding_margin(image.permute(1, 2, 0).numpy()) if info.tiles else (0, 0)
        counts = {
            kind: counter.count(confidence, best, truth, margin) for kind, truth in labels.items()
        }
        add_record(output, ImageRecord(name, counts))

    progress = tqdm(total=len(samples), desc=f"Predicting ({len(views)} views)", unit="image")
    with progress, torch.inference_mode(), _background() as later:
        for batch in loader:
            image = normalize(batch["image"].to(device)).to(dtype)
            if patch:
                logits = patched_logits(logits_of, image, views, patch, batch_size, overlap)
            else:
                max_pixels = batch_size * image[0, 0].numel()
                logits = mean_logits(logits_of, image, views, max_pixels)
            confidence, best = (maps.cpu() for maps in logits.softmax(dim=1).max(dim=1))
            for index, name in enumerate(batch["name"]):
                labels = {kind: masks[index] for kind, masks in batch["labels"].items()}
                later(save, name, batch["image"][index], labels, confidence[index], best[index])
            progress.update(len(best))


@contextmanager
def _background() -> Iterator[Callable]:
    """A function that calls others in a thread of its own, a few of them waiting at most."""
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:

        def later(function: Callable, *args: object) -> None:
            pending.append(pool.submit(function, *args))
            while len(pending) > 4 or (pending and pending[0].done()):
                pending.popleft().result()

        yield later
        while pending:
            pending.popleft().result()


def _start(output: Path, samples: list[Sample], protocol: dict, rgb: bool) -> set[str]:
    """Make ``output`` ready and tell the names of the samples whose masks are already there.

    Masks count as done only if the same evaluation, by its protocol, wrote them.
    """
    record = json.loads(json.dumps({**protocol, "rgb": rgb}))  # as it will be read back
    names = {f"{sample.name}.png" for sample in samples}
    found = (path.relative_to(output) for path in output.rglob("*.png"))
    present = {path.as_posix() for path in found if path.parts[0] != FIGURES}
    run_file = output / PROTOCOL_FILE
    # Without its record a folder is not of this script: it may hold images, or the truth.
    foreign = sorted(present - names if run_file.is_file() else present)
    if foreign:
        raise InputError(
            f"{output}: holds images that are not of this evaluation ({foreign[0]}, "
            f"{len(foreign)} files); choose another -o"
        )
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; choose another -o")
    is_same = run_file.is_file() and _read_json(run_file) == record
    if not is_same:
        for name in (SCORES_FILE, SCORES_TABLE, RECORDS_FILE, REPORT_FILE, *present):
            (output / name).unlink(missing_ok=True)
        with replacing(run_file) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n")
        return set()
    # A mask is written before its record: both are there, or the image is predicted again.
    return {name for name in read_records(output) if f"{name}.png" in present}


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None
