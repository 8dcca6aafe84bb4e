"""Tests of whole splits: their masks and scores. All test scripts use it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch import Tensor

from network.config import Experiment
from network.datasets.files import write_mask
from network.datasets.frames import find_frames
from network.datasets.loaders import evaluation_loader
from network.datasets.samples import spread_samples
from network.datasets.scene_windows import fitting_window, is_large
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, check_samples, find_samples
from network.datasets.windows import padding_margin
from network.errors import InputError, warn
from network.evaluation.large_images import predict_large
from network.evaluation.output_folder import (
    IMAGES_KEY,
    facts_of_masks,
    fingerprint,
    output_folder,
)
from network.evaluation.protocol import check_image_files
from network.evaluation.records import (
    Counter,
    ImageRecord,
    add_record,
    check_counts,
    read_records,
)
from network.evaluation.results import print_results, write_figures, write_results
from network.evaluation.stamp import make_stamp
from network.evaluation.subject import load_subject
from network.evaluation.summary import Summary, summarize
from network.evaluation.training_distance import distance_to_training
from network.exported.choice import Backend
from network.prediction import BestClasses, ImagePredictor, best_classes
from network.predictor import Predictor, PredictorOptions, load_network
from network.progress import progress_bar
from network.rasters.resolution import compare_with_training
from network.tta import build_views

BOUNDARY_TOLERANCE = 3
"""Largest distance of matched boundaries in pixels: 15 cm on the ground in Potsdam, 90 cm in
LoveDA."""

MASK_BYTES = 9
"""Memory in bytes for each pixel of a mask that is written at once: labels, valid pixels, colors
and the encoded file."""


def evaluate(
    experiment: Experiment,
    *,
    checkpoint: str | Path,
    output: str | Path,
    split: str,
    tta: str = "none",
    rgb: bool = False,
    batch_size: int = 1,
    device: str = "auto",
    backend: Backend | None = None,
    boundary_tolerance: int = BOUNDARY_TOLERANCE,
    frames: Path | None = None,
    patch: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> dict[str, Summary]:
    """Predict ``split`` into PNG masks in ``output``, and score them where there are labels.

    Large images are predicted and counted in windows, see ``data.windows_above``; the protocol says
    so. All others are predicted as a whole, or in patches.

    Masks are written during prediction. An interrupted evaluation goes on where it stopped;
    ``output`` gets its scores when all masks are there.

    Args:
        experiment: the experiment.
        checkpoint: the checkpoint, or an exported file.
        output: folder of the masks and the scores.
        split: name of the split.
        tta: test-time augmentation, see :func:`network.tta.build_views`.
        rgb: whether to write colors instead of labels.
        batch_size: number of images in a step. Images in a batch have the same size. A batch of
            views has at most as many pixels as a batch of images, or is a single view.
        device: name of the device, see :func:`network.compute.find_device`.
        backend: how an exported file is run.
        boundary_tolerance: largest distance of boundaries that boundary F1 takes as matched, in
            pixels.
        frames: folder of sequences to predict instead of the config's folders; see
            :func:`network.datasets.frames.find_frames`. ``split`` is then only the name of the
            split that these frames belong to.
        patch: height and width of the patches that larger images are predicted in, with
            ``batch_size`` patches in a step; by default, images are predicted whole.
        overwrite: whether to delete the results of another run in ``output``.

    Returns:
        The measured scores by label kind; empty if the split has no labels.

    Raises:
        InputError: data, checkpoint, device or output folder cannot be used.
    """
    checkpoint, output = Path(checkpoint), Path(output)
    info, root = experiment.dataset, experiment.root
    experiment.check_normalization()
    data = experiment.data
    samples = find_frames(frames, info) if frames else find_samples(info, root, split)
    large = [] if patch else [sample for sample in samples if is_large(sample, info, data)]
    check_memory(samples, info, large)
    kinds = list(samples[0].masks)
    subject = load_subject(experiment, checkpoint, device, backend)
    experiment, training = subject.experiment, subject.training
    check_image_files(training, info, samples, checkpoint)
    # A training knows unchanged masks by the state of their files. Here, all are read: a published
    # score names its labels by this digest, so the digest is that of the pixels on the disk. A disk
    # may change bytes and not the times of a file, and no such file may pass for the old one. A
    # mask of 1024 x 1024 pixels takes 7 ms of a core, far less than the prediction of its image.
    digests = check_samples(samples, info, split).digests if kinds else {}
    protocol = make_stamp(
        experiment,
        split=split,
        samples=samples,
        digests=digests,
        checkpoint=checkpoint.as_posix(),
        sha256=subject.sha256,
        exported=subject.exported,
        training=training,
        tta=tta,
        views=len(build_views(tta, info)),
        boundary_tolerance=boundary_tolerance,
        frames=frames.as_posix() if frames else None,
        training_distance=None
        if frames
        else distance_to_training(info, root, split, samples, training),
    )
    side, halo = fitting_window(data.window)
    if patch:
        protocol = protocol.predicted_in(*patch)
    elif large:
        protocol = protocol.predicted_in(side, side, halo, images=len(large))
    record = {
        **protocol.to_json(),
        "rgb": rgb,
        **facts_of_masks(info, tta=tta, rgb=rgb),
        IMAGES_KEY: _folder(frames or root),
    }
    if patch and not kinds:  # otherwise the tiling of the masks says it
        record["patch"] = patch
    if large and not kinds:
        record["patch"] = (side, side, halo)
    with output_folder(output, samples, record, overwrite=overwrite) as todo:
        if todo:
            predictor = subject.predictor(tta=tta, patch=patch, overlap=0, batch_size=batch_size)
            trained = predictor.ground_resolution
            notes = (
                compare_with_training(sample.image, *sample.place(), trained)
                for sample in spread_samples(todo)
            )
            if note := next(filter(None, notes), None):
                warn(note)
            counter = Counter(info, boundary_tolerance)
            whole = [sample for sample in todo if sample not in large]
            if whole:
                predict(predictor, whole, output, counter, rgb=rgb, workers=data.workers)
            for sample in (sample for sample in todo if sample in large):
                counts = predict_large(
                    predictor,
                    sample,
                    output / f"{sample.name}.png",
                    counter,
                    window=side,
                    rgb=rgb,
                    workers=0 if predictor.is_on_cpu else data.workers,
                )
                add_record(output, ImageRecord(sample.name, counts, fingerprint(sample.image)))
        found = read_records(output)
        records = [found[sample.name] for sample in samples]
        check_counts(output, records, kinds, info.num_classes)
        summaries = {kind: summarize(records, kind, info) for kind in kinds}
        if summaries:
            write_results(output, protocol, summaries)
            write_figures(output, protocol, summaries)
            print_results(protocol, summaries)
    return summaries


def _folder(path: Path) -> str:
    return path.resolve().as_posix()


def predict_samples(
    experiment: Experiment,
    checkpoint: Path,
    samples: list[Sample],
    output: Path,
    device: torch.device,
    patch: int,
) -> None:
    """Predict a few images and write their labels into an empty folder.

    Args:
        experiment: the experiment.
        checkpoint: the checkpoint file.
        samples: the images.
        output: the empty folder.
        device: the device.
        patch: side of the patches that larger images are predicted in, in pixels.
    """
    trained = load_network(experiment, checkpoint)
    options: PredictorOptions = {"device": device, "patch": (patch, patch), "overlap": 0}
    predictor = Predictor.of(trained.experiment, trained.model, **options)
    predict(predictor, samples, output, rgb=False, workers=experiment.data.workers)


def predict(
    predictor: ImagePredictor,
    samples: Sequence[Sample],
    output: Path,
    counter: Counter | None = None,
    *,
    rgb: bool,
    workers: int,
) -> None:
    """Predict images and write their masks, and beside them a record of each image.

    Args:
        predictor: the predictor.
        samples: the images.
        output: folder of the masks.
        counter: counter of the images with labels; may be None if no image has labels.
        rgb: whether to write colors instead of labels.
        workers: number of processes that load the images, if the device is not the CPU.

    Raises:
        InputError: an image is damaged.
    """
    info = predictor.info
    counter = counter or Counter(info, BOUNDARY_TOLERANCE)
    # On the CPU the network takes far longer than the decoding, and workers cost memory: after a
    # fork, both processes copy the pages they write.
    workers = min(workers, len(samples)) if not predictor.is_on_cpu else 0
    images_at_once = 1 if predictor.patch else predictor.batch_size
    loader = evaluation_loader(info, samples, images_at_once, num_workers=workers)
    by_name = {sample.name: sample for sample in samples}

    def save(name: str, image: Tensor, valid: Tensor, labels: dict, best: BestClasses) -> None:
        """Write and count one image, in a separate thread during the next forward pass."""
        sample, path = by_name[name], output / f"{name}.png"
        where = None if valid.all() else valid.numpy()
        write_mask(path, best.labels, info, rgb=rgb, valid=where)
        confidence, found = map(torch.from_numpy, (best.confidence, best.labels))
        margin = padding_margin(image.permute(1, 2, 0).numpy()) if info.tiles else (0, 0)
        counts = {
            kind: counter.count(confidence, found.long(), truth, margin)
            for kind, truth in labels.items()
        }
        add_record(output, ImageRecord(name, counts, fingerprint(sample.image)))

    views = len(predictor.views)
    progress = progress_bar(total=len(samples), desc=f"Predicting ({views} views)", unit="image")
    with progress, torch.inference_mode(), _background() as later:
        for batch in loader:
            logits = predictor.logits(batch["image"])
            for index, name in enumerate(batch["name"]):
                labels = {kind: masks[index] for kind, masks in batch["labels"].items()}
                best = best_classes(logits[index])
                later(save, name, batch["image"][index], batch["valid"][index], labels, best)
            progress.update(len(logits))


def check_memory(samples: Sequence[Sample], info: DatasetInfo, large: Sequence[Sample]) -> None:
    """Refuse images that are too large for the memory.

    It holds the scores of an image that is predicted as a whole, but only the mask of an image that
    is predicted in windows. The need was measured on images of 2000 x 2000 to 8000 x 8000 pixels.
    It does not include the network's own memory.

    Args:
        samples: the images.
        info: description of the data set.
        large: those that are predicted in windows.

    Raises:
        InputError: an image is too large.
    """
    bits = 32 if info.is_measured else info.bits  # in memory
    scores = 6 + 4 * info.num_classes + 3 * info.bands * bits // 8

    def needed(sample: Sample) -> int:
        height, width = sample.size
        return height * width * (MASK_BYTES if sample in large else scores)

    largest, free = max(samples, key=needed), psutil.virtual_memory().available
    if needed(largest) > free:
        height, width = largest.size
        what = "the mask takes" if largest in large else "the scores take"
        raise InputError(
            largest.image,
            f"{height} x {width} pixels, of which {what} {needed(largest) / 1e9:.0f} GB of memory, "
            f"{free / 1e9:.0f} GB are free",
            "cut it into smaller images (gdal_retile.py -ps 8192 8192)",
        )


@contextmanager
def _background() -> Iterator[Callable]:
    """Provide a function that calls others in a separate thread; only a few calls may wait."""
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(max_workers=1) as pool:

        def later(function: Callable, *args: object) -> None:
            pending.append(pool.submit(function, *args))
            while len(pending) > 4 or (pending and pending[0].done()):
                pending.popleft().result()

        yield later
        while pending:
            pending.popleft().result()
