"""Tests of splits of scenes on Earth: their maps, and the scores of these."""

from collections.abc import Sequence
from pathlib import Path

from network.config import Experiment
from network.datasets.on_earth.areas import Area, Areas
from network.datasets.on_earth.classes import ValueLabels
from network.datasets.on_earth.labels import RasterLabels
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample, check_samples, find_samples
from network.errors import InputError, warn
from network.evaluation.evaluate import BOUNDARY_TOLERANCE
from network.evaluation.on_earth.counts import KIND, count_map
from network.evaluation.on_earth.open_map import MapFile, OpenMap
from network.evaluation.output_folder import check_no_test, fingerprint, write_scores
from network.evaluation.protocol import check_image_files
from network.evaluation.records import Counts, ImageRecord
from network.evaluation.results import print_results, write_figures
from network.evaluation.stamp import make_stamp
from network.evaluation.subject import load_subject
from network.evaluation.summary import Summary, summarize
from network.evaluation.training_distance import distance_to_training
from network.exported.choice import Backend
from network.maps.layers import CONFIDENCE
from network.maps.options import MapOptions
from network.maps.plan import WINDOW
from network.maps.run import predict_images
from network.rasters.source import Source
from network.tta import build_views


def evaluate_scenes(
    experiment: Experiment,
    *,
    checkpoint: Path,
    output: Path,
    split: str,
    tta: str = "none",
    batch_size: int = 1,
    device: str = "auto",
    backend: Backend | None = None,
    boundary_tolerance: int = BOUNDARY_TOLERANCE,
    window: int = WINDOW,
    halo: int | None = None,
    overwrite: bool = False,
) -> dict[str, Summary]:
    """Predict the map of each scene of a split, and score the maps where there are labels.

    The memory does not depend on the size of the scenes. A scene is scored as a whole image,
    whatever the windows are, and pixels outside the areas of the split do not count. An interrupted
    test goes on where it stopped.

    Args:
        experiment: the experiment.
        checkpoint: the checkpoint, or an exported file.
        output: folder of the maps and the scores.
        split: name of the split.
        tta: test-time augmentation, see :func:`network.tta.build_views`.
        batch_size: number of windows in a step.
        device: name of the device, see :func:`network.compute.find_device`.
        backend: how an exported file is run.
        boundary_tolerance: largest distance of boundaries that boundary F1 takes as matched, in
            pixels.
        window: largest side of the windows that the network sees, in pixels.
        halo: context around the part of a window that is kept, in pixels; None for the default.
        overwrite: whether to delete the maps and scores of another run in ``output``.

    Returns:
        The measured scores by label kind; empty if the split has no labels.

    Raises:
        InputError: data, checkpoint, device or output folder cannot be used.
        SomeFailed: some maps could not be predicted.
    """
    info = experiment.dataset
    experiment.check_normalization()
    info.check_one_kind(split, "split")
    check_no_test(output)
    samples = find_samples(info, experiment.root, split)
    bands = _common_bands(samples, info)
    subject = load_subject(experiment, checkpoint, device, backend)
    experiment, training = subject.experiment, subject.training
    check_image_files(training, info, samples, checkpoint)
    digests = check_samples(samples, info, split).digests if samples[0].masks else {}
    options = MapOptions(
        window=window,
        halo=halo,
        batch_size=batch_size,
        layers=(CONFIDENCE,),
        format="tif",
        bands=bands,
        overwrite=overwrite,
    )
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
        training_distance=distance_to_training(info, experiment.root, split, samples, training),
    ).predicted_in(window, window, options.halo_width)
    del subject  # its network, which is loaded again
    images = [sample.image for sample in samples]
    predict_images(
        experiment,
        checkpoint=checkpoint,
        images=images,
        output=output,
        tta=tta,
        device=device,
        backend=backend,
        options=options,
    )
    if not digests:
        return {}
    records = [_count(sample, info, output, boundary_tolerance) for sample in samples]
    if not any(next(iter(record.counts.values())).matrix.any() for record in records):
        raise InputError(
            output, "its maps have no data where the labels are", "look at both in a GIS"
        )
    summaries = {kind: summarize(records, kind, info) for kind in digests}
    write_scores(output, protocol, records, summaries, "maps", overwrite=overwrite)
    write_figures(output, protocol, summaries)
    print_results(protocol, summaries)
    return summaries


def _common_bands(samples: Sequence[Sample], info: DatasetInfo) -> tuple[int, ...]:
    """Find the bands that are read of all scenes."""
    found = {sample.scene.bands for sample in samples if sample.scene}
    if len(found) > 1:
        raise InputError(
            info.name,
            f"scenes of one split use different bands ({' and '.join(map(str, sorted(found)))})",
            "test them as two splits",
        )
    return found.pop()


def _count(sample: Sample, info: DatasetInfo, output: Path, tolerance: int) -> ImageRecord:
    """Count the map of a scene against its labels."""
    (kind, mask), path = next(iter(sample.masks.items())), output / f"{sample.name}.tif"
    own = ValueLabels({label: label for label in range(info.num_classes)}, {}, "labels")
    file = MapFile(path=path, info=info)
    with OpenMap(file, with_confidence=True) as map_, Source(mask) as raster:
        truth = RasterLabels(mask, raster, map_.info, own)
        areas = Areas([Area(sample.name, map_.everything)])
        found = count_map(map_, truth, areas, tolerance)
    if not found.records:
        warn(f"{sample.image}: none of its labeled pixels has data, so it does not count")
    counts = found.records[0].counts[KIND] if found.records else Counts.none(info.num_classes)
    return ImageRecord(sample.name, {kind: counts}, fingerprint(sample.image))
