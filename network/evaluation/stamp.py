"""The protocol stamp, which says for each result how it was measured."""

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from typing import Any

from network.config import Experiment, settings
from network.datasets.schema import has_tile
from network.datasets.segmentation import Sample
from network.evaluation.json_forms import checked
from network.evaluation.protocol import (
    UNKNOWN,
    MaskProtocol,
    TrainingRecord,
    is_known_policy,
    mask_protocol,
)
from network.tta import changed_views

_PACKAGES = (
    "torch",
    "timm",
    "pytorch-lightning",
    "torchmetrics",
    "opencv-python-headless",
)


@dataclass(frozen=True)
class Fact:
    """A fact that two results must share to be in the same table.

    Attributes:
        words: text of the fact; known facts with equal texts are equal.
        is_known: whether the fact is known. Unknown facts may differ even if their texts are equal.
    """

    words: str
    is_known: bool = True


@dataclass(frozen=True, kw_only=True)
class MapTruth:
    """How a map was compared with truth on Earth.

    Attributes:
        map: path of the map.
        map_values: the class of each value of the map, if the user has said it.
        map_crs: name of the reference system of the map, whose grid counts.
        pixel_meters: side of its pixels on the ground; None if it is not known.
        truth: path of the truth.
        truth_sha256: digest of the truth.
        truth_crs: name of its reference system.
        truth_values: the class of each of its values, if the user has said it.
        resampling: how the truth was brought onto the grid of the map.
        layer: layer of its polygons; None for a raster.
        attribute: attribute of the polygons that has the class.
        all_are: the class of all polygons, instead of an attribute.
        background: the class of pixels in no polygon; None if they do not count.
        areas: path of the areas of interest; None if there are none.
        areas_sha256: digest of that file.
        areas_layer: layer of the areas.
        areas_attribute: attribute with the names of the areas.
        confidence: path of the confidence of the map; None if there is none.
        pixels: number of pixels that count.
        ignored: shares of the pixels of all areas that do not count, by the reason.
    """

    map: str
    map_values: dict[str, str]
    map_crs: str
    pixel_meters: float | None
    truth: str
    truth_sha256: str
    truth_crs: str
    truth_values: dict[str, str]
    resampling: str
    layer: str | None
    attribute: str | None
    all_are: str | None
    background: str | None
    areas: str | None
    areas_sha256: str | None
    areas_layer: str | None
    areas_attribute: str | None
    confidence: str | None
    pixels: int
    ignored: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ExportedStamp:
    """How an exported file was tested.

    Attributes:
        format: format of the file: ``"onnx"``, ``"openvino"`` or ``"torch"``.
        backend: the program that ran it, see :data:`network.exported.programs.PROGRAMS`.
        runtime: name and version of the program.
        checkpoint: name of the checkpoint that was exported.
        checkpoint_sha256: digest of this checkpoint.
        bits: 8 if the file is quantized; otherwise None.
    """

    format: str
    backend: str
    runtime: str
    checkpoint: str
    checkpoint_sha256: str
    bits: int | None = None


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """All facts of a test that a reader needs to compare its result with others.

    Attributes:
        data_set: name of the data set.
        split: name of the tested split.
        trained_on: whether the run was trained on images of this split; None if unknown.
        chosen_on: whether the checkpoint was chosen by images of this split; None if unknown.
        images: number of images.
        label_kinds: kinds of labels that were scored; empty if a server holds the labels.
        masks: how the masks were made, by label kind.
        labels_sha256: digest of all labels, by label kind.
        classes: names of the classes, by label.
        classes_in_mean: names of the classes in the means.
        tta: name of the test-time augmentation.
        views: number of its views; None if unknown.
        tta_views: the views of ``d4`` if the config has changed them; None if their name says all.
        boundary_tolerance: largest distance of matched boundaries, in pixels.
        checkpoint: path of the checkpoint or the exported file, or another source of the
            predictions.
        checkpoint_sha256: digest of the checkpoint or the file, or of the predictions.
        config: file of the experiment.
        settings: settings of the experiment, by key.
        training: settings of the training run in the checkpoint, see :attr:`trained`; None if the
            checkpoint has none.
        seed: seed of the training run; None if unknown.
        precision: precision of the computation; None in results of versions that had only one.
        software: versions of packages.
        predictions: folder of the masks, if other code has predicted them.
        frames: folder of the frames, if they were predicted instead of the data set.
        on_earth: how a map was compared with truth on Earth; None for images of a split.
        patch_names: where the names of patches say their tile, see :class:`DatasetInfo`; None for
            the names of the patch tools.
        training_distance: smallest distance on Earth between the tested split and that of the
            training, in meters; 0 if they touch or overlap, None if it is not known.
        exported: how an exported file was tested; None for a checkpoint.
        seen_unlabeled: whether the run has seen images of this split without their labels; None if
            unknown.
    """

    data_set: str
    split: str
    trained_on: bool | None
    chosen_on: bool | None
    images: int
    label_kinds: tuple[str, ...]
    masks: dict[str, MaskProtocol]
    labels_sha256: dict[str, str]
    classes: tuple[str, ...]
    classes_in_mean: tuple[str, ...]
    tta: str
    views: int | None
    boundary_tolerance: int
    checkpoint: str
    checkpoint_sha256: str
    config: str
    settings: dict[str, Any]
    training: dict[str, Any] | None
    seed: int | None
    precision: str | None = None
    tta_views: str | None = None
    software: dict[str, str]
    predictions: str | None = None
    frames: str | None = None
    on_earth: MapTruth | None = None
    patch_names: str | None = None
    training_distance: float | None = None
    exported: ExportedStamp | None = None
    seen_unlabeled: bool | None = False

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.settings["name"]

    @property
    def trained(self) -> TrainingRecord:
        """The training settings in the checkpoint, with a property for each important one."""
        return TrainingRecord(self.training or {})

    @property
    def unit(self) -> str:
        """Unit that bootstrap intervals draw: ``"tiles"`` if they were cut, else ``"images"``.

        It is ``"areas"`` for a map.
        """
        return "tiles" if any(masks.is_cut for masks in self.masks.values()) else self.records

    @property
    def records(self) -> str:
        """The units of the records: ``"images"``, or ``"areas"`` of a map."""
        return "areas" if self.on_earth else "images"

    @property
    def size(self) -> str:
        """Number of the records in words, such as ``"3 areas"`` or ``"1 image"``."""
        return f"{self.images} {self.records if self.images != 1 else self.records[:-1]}"

    def predicted_in(
        self, height: int, width: int, halo: int | None = None, *, images: int | None = None
    ) -> "Stamp":
        """Make the stamp of a test that predicts its images in patches, or in windows.

        Args:
            height: height of the patches in pixels.
            width: width of the patches in pixels.
            halo: context around the part of a window that is kept; None for patches.
            images: number of images that are predicted so; by default all.
        """
        note = f", predicted in patches of {height} x {width}"
        if halo is not None:
            note = f", predicted in windows of {height} x {width} with a halo of {halo}"
        if images is not None and images < self.images:
            note += f" ({images} of {self.images} images)"
        masks = {kind: replace(m, tiling=m.tiling + note) for kind, m in self.masks.items()}
        return replace(self, masks=masks)

    def comparability(self, kind: str) -> dict[str, Fact]:
        """List the facts that two results must share to be in the same table, by name.

        Args:
            kind: kind of the labels.

        Raises:
            KeyError: there was no test on this kind.
            TypeError, ValueError, AttributeError: the settings of the training are damaged.
        """
        masks, training = self.masks[kind], self.trained
        views, split = self.views, self.split
        tta = self.tta + (f" ({views} view{'s' * (views != 1)})" if views else "")
        used = (
            (self.trained_on, "TRAINED ON"),
            (self.chosen_on, "CHECKPOINT CHOSEN ON"),
            (self.seen_unlabeled, "SEEN WITHOUT LABELS"),
        )
        for is_used, words in used:
            unknown = f" (unknown if {words.lower()})"
            split += {True: f" ({words})", False: "", None: unknown}[is_used]
        return {
            "data set": Fact(self.data_set),
            "split": Fact(split, all(is_used is not None for is_used, _ in used)),
            "images": Fact(str(self.images)),
            "masks": Fact(kind),
            "labels": Fact(self.labels_sha256[kind][:12]),
            "padding": Fact(masks.padding_policy, is_known_policy(masks.padding_policy)),
            "tiling": Fact(masks.tiling),
            "image files": Fact(masks.image_files),
            "TTA": Fact(
                tta + (f": {self.tta_views}" if self.tta_views else ""), self.tta != UNKNOWN
            ),
            "classes": Fact(", ".join(self.classes)),
            "mean over": Fact(", ".join(self.classes_in_mean)),
            "trained on": Fact(training.trained_on(self.data_set), training.knows_data),
            "padding in training": Fact(training.padding, is_known_policy(training.padding)),
            "boundary tolerance": Fact(f"{self.boundary_tolerance} pixels"),
        }

    def to_json(self) -> dict[str, Any]:
        """Convert to the form that the stamp has in result files."""
        facts = {f.name: getattr(self, f.name) for f in fields(self)}
        optional = ("precision", "predictions", "frames", "on_earth", "patch_names", "exported")
        for name in (*optional, "training_distance", "tta_views"):
            if facts[name] is None:
                del facts[name]
        if facts["seen_unlabeled"] is False:
            del facts["seen_unlabeled"]
        if self.on_earth:
            facts["on_earth"] = asdict(self.on_earth)
        if self.exported:
            facts["exported"] = asdict(self.exported)
        facts["masks"] = {kind: masks.to_json() for kind, masks in self.masks.items()}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in facts.items()}

    @classmethod
    def from_json(cls, document: Any, where: str = "") -> "Stamp":
        """Read the stamp that :meth:`to_json` has written; other entries are left out.

        Args:
            document: content of a result file.
            where: name of the document in an error.

        Raises:
            ValueError: the stamp is not complete; the error tells what is missing or wrong.
        """
        stamp = checked(cls, document, where)
        if not isinstance(stamp.settings.get("name"), str):
            raise ValueError(f"{where and f'{where}.'}settings.name: Field required")
        if stamp.patch_names is not None and not has_tile(stamp.patch_names):
            raise ValueError(
                f"{where and f'{where}.'}patch_names: no regular expression with a group 'tile'"
            )
        # In the files, only these words tell whether images were cut.
        masks = {
            kind: replace(masks, is_cut=masks.tiling.startswith("patches"))
            for kind, masks in stamp.masks.items()
        }
        return replace(stamp, masks=masks)


def make_stamp(
    experiment: Experiment,
    *,
    split: str,
    samples: Sequence[Sample],
    digests: dict[str, str],
    checkpoint: str,
    sha256: str,
    training: dict[str, Any] | None,
    tta: str,
    views: int | None,
    boundary_tolerance: int,
    frames: str | None = None,
    training_distance: float | None = None,
    exported: ExportedStamp | None = None,
) -> Stamp:
    """Make the stamp of a test.

    Args:
        experiment: the tested experiment.
        split: name of the tested split.
        samples: the samples of the split.
        digests: digests of their labels, see :func:`check_samples`.
        checkpoint: path of the checkpoint, or another source of the predictions.
        sha256: digest of the checkpoint, or of the predictions.
        training: settings of the run that wrote the checkpoint; None if they are unknown.
        tta: name of the test-time augmentation.
        views: number of its views; None if unknown.
        boundary_tolerance: largest distance of matched boundaries, in pixels.
        frames: folder of the samples, if they are whole frames from outside the data set.
        training_distance: smallest distance on Earth between the split and that of the training, in
            meters; None if it is not known.
        exported: how an exported file is tested; None for a checkpoint.
    """
    info, record = experiment.dataset, TrainingRecord(training or {})
    root = experiment.root
    is_whole = frames is not None
    return Stamp(
        data_set=info.name,
        split=split,
        trained_on=record.has_seen(info, root, "data.train", split),
        chosen_on=record.has_seen(info, root, "data.val", split),
        seen_unlabeled=record.has_seen(info, root, "data.unlabeled", split),
        images=len(samples),
        label_kinds=tuple(digests),
        masks=mask_protocol(info, samples, is_whole) if digests else {},
        labels_sha256=digests,
        classes=info.classes,
        classes_in_mean=tuple(info.classes[label] for label in info.scored),
        tta=tta,
        views=views,
        tta_views=changed_views(tta, info),
        boundary_tolerance=boundary_tolerance,
        checkpoint=checkpoint,
        checkpoint_sha256=sha256,
        config=experiment.config,
        settings=settings(experiment),
        training=training,
        seed=record.seed,
        precision=experiment.compute.precision,
        software=software_versions(),
        frames=frames,
        patch_names=info.patch_names or None,
        training_distance=training_distance,
        exported=exported,
    )


def software_versions() -> dict[str, str]:
    """Find the versions of Python and of the packages that scores depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
