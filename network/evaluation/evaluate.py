"""Evaluation: predict a split, write its masks, score them; the engine of every test script."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from torch import Tensor

from network.compute import find_device
from network.config import Experiment, settings
from network.datasets.files import write_mask
from network.datasets.folder_jobs import check_folders
from network.datasets.frames import find_frames
from network.datasets.loaders import evaluation_loader
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, check_samples, find_images, find_samples
from network.datasets.windows import padding_margin
from network.errors import InputError
from network.evaluation.output_folder import IMAGES_KEY, fingerprint, output_folder
from network.evaluation.protocol import check_image_files, file_hash
from network.evaluation.records import (
    Counter,
    ImageRecord,
    add_record,
    check_counts,
    read_records,
)
from network.evaluation.results import print_results, write_figures, write_results
from network.evaluation.stamp import make_stamp
from network.evaluation.summary import Summary, summarize
from network.predictor import BestClasses, Predictor, best_classes, load_network
from network.progress import progress_bar
from network.rasters.header import read_header
from network.rasters.place import write_place
from network.tta import build_views

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
    overwrite: bool = False,
) -> dict[str, Summary]:
    """Predict ``split`` into PNG masks in ``output``, and score them where there are labels.

    Masks are written while predicting. An interrupted evaluation goes on where it stopped;
    ``output`` gets its scores when all masks are there.

    Args:
        tta: see :func:`network.tta.build_views`.
        rgb: write colors instead of labels.
        batch_size: images a step; images of other sizes are never in one batch. Views of one
            size are batched too, up to as many pixels.
        boundary_tolerance: of boundary F1, pixels.
        frames: folder of sequences to predict instead of the config's folders; see
            :func:`network.datasets.frames.find_frames`. ``split`` says what they are.
        patch: height and width of the patches that larger images are predicted in, ``batch_size``
            of them a step; by default they are predicted whole.
        overwrite: delete the results of another run in ``output``, which are left alone else.

    Returns:
        What was measured by label kind; nothing where the labels are held back.

    Raises:
        InputError: data, checkpoint, device or output folder cannot be used.
    """
    info, root = experiment.dataset, experiment.root
    experiment.check_normalization()
    target = find_device(device)
    samples = find_frames(frames, info) if frames else find_samples(info, root, split)
    check_memory(samples, info)
    kinds = list(samples[0].masks)
    model, training = load_network(experiment, checkpoint)
    check_image_files(training, info, samples, checkpoint)
    digests = check_samples(samples, info, split).digests if kinds else {}
    protocol = make_stamp(
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
        frames=frames.as_posix() if frames else None,
    )
    if patch:
        protocol = protocol.predicted_in(*patch)
    record = {**protocol.to_json(), "rgb": rgb, IMAGES_KEY: _folder(frames or root)}
    with output_folder(output, samples, record, overwrite=overwrite) as todo:
        if todo:
            predictor = Predictor(
                model,
                info,
                experiment.normalization,
                compute=experiment.compute,
                device=target,
                tta=tta,
                patch=patch,
                overlap=0,
                batch_size=batch_size,
            )
            counter = Counter(info, boundary_tolerance)
            predict(predictor, todo, output, counter, rgb=rgb, workers=experiment.data.workers)
        found = read_records(output)
        records = [found[sample.name] for sample in samples]
        check_counts(output, records, kinds, info.num_classes)
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
    overwrite: bool = False,
) -> int:
    """Masks of all images in a folder, at their own size; goes on where it was interrupted.

    Masks of georeferenced images are georeferenced too. Where an image says that it has no data,
    its mask has no class; see :func:`write_mask`.

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
        raise InputError(
            output, f"is in the folder of the images {images}", "choose another output"
        )
    samples = find_images(images, experiment.dataset)
    check_memory(samples, experiment.dataset)
    model, _ = load_network(experiment, checkpoint)
    record = {
        "images": images.as_posix(),
        IMAGES_KEY: _folder(images),
        "checkpoint": checkpoint.as_posix(),
        "checkpoint_sha256": file_hash(checkpoint),
        "tta": tta,
        "patch": patch,
        "overlap": overlap,
        "rgb": rgb,
        "precision": experiment.compute.precision,
        "settings": settings(experiment),
    }
    with output_folder(output, samples, record, overwrite=overwrite) as todo:
        if todo:
            predictor = Predictor(
                model,
                experiment.dataset,
                experiment.normalization,
                compute=experiment.compute,
                device=target,
                tta=tta,
                patch=patch,
                overlap=overlap,
                batch_size=batch_size,
            )
            workers = experiment.data.workers
            predict(predictor, todo, output, rgb=rgb, workers=workers, georeference=True)
    return len(samples)


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
    """Write the labels of a few images into an empty folder.

    Args:
        patch: side of the patches that larger images are predicted in, pixels.
    """
    model, _ = load_network(experiment, checkpoint)
    predictor = Predictor(
        model,
        experiment.dataset,
        experiment.normalization,
        compute=experiment.compute,
        device=device,
        patch=(patch, patch),
        overlap=0,
    )
    predict(predictor, samples, output, rgb=False, workers=experiment.data.workers)


def predict(
    predictor: Predictor,
    samples: list[Sample],
    output: Path,
    counter: Counter | None = None,
    *,
    rgb: bool,
    workers: int,
    georeference: bool = False,
) -> None:
    """Write the masks of ``samples``, and beside them a record of each image.

    Args:
        counter: counts each image where it has labels; it may be left out where none has.
        rgb: write colors instead of labels.
        workers: processes that load the images, on a GPU.
        georeference: tell beside each mask where its image lies on Earth.

    Raises:
        InputError: an image is damaged.
    """
    info = predictor.info
    counter = counter or Counter(info, BOUNDARY_TOLERANCE)
    # Beside a network on the CPU decoding is nothing, and after a fork both copy what they write.
    workers = min(workers, len(samples)) if predictor.device.type != "cpu" else 0
    images_at_once = 1 if predictor.patch else predictor.batch_size
    loader = evaluation_loader(info, samples, images_at_once, num_workers=workers)
    by_name = {sample.name: sample for sample in samples}

    def save(name: str, image: Tensor, valid: Tensor, labels: dict, best: BestClasses) -> None:
        """Runs in a thread of its own, beside the next forward pass."""
        sample, path = by_name[name], output / f"{name}.png"
        if georeference:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_place(read_header(sample.image).place, path)
        mask, where = best.labels.numpy(), None if valid.all() else valid.numpy()
        write_mask(path, mask, info, rgb=rgb, valid=where)
        margin = padding_margin(image.permute(1, 2, 0).numpy()) if info.tiles else (0, 0)
        counts = {
            kind: counter.count(best.confidence, best.labels.long(), truth, margin)
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


def check_memory(samples: Sequence[Sample], info: DatasetInfo) -> None:
    """Refuse images whose scores, which are held as a whole, do not fit into the memory.

    Measured on images of 2000 x 2000 to 8000 x 8000 pixels; the network's own memory comes beside.

    Raises:
        InputError: an image is too large.
    """
    a_pixel = 6 + 4 * info.num_classes + 3 * info.bands * info.bits // 8
    largest = max(samples, key=lambda sample: sample.size[0] * sample.size[1])
    height, width = largest.size
    needed, free = height * width * a_pixel, psutil.virtual_memory().available
    if needed > free:
        raise InputError(
            largest.image,
            f"the scores of {height} x {width} pixels take {needed / 1000000000.0:.0f} GB of "
            f"memory, {free / 1000000000.0:.0f} GB are free",
            "cut it into smaller images (gdal_retile.py -ps 8192 8192)",
        )


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
