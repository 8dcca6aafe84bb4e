"""Answers of the service: masks, GeoTIFFs, probabilities and polygons of one received image.

All are computed in the windows and blocks of ``predict.py``. GeoTIFFs, and polygons of images on
Earth, are also written by its code. So an answer has the pixels of the file that
``predict.py`` writes for the same image.
"""

import io
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from network.arrays import Array
from network.datasets.files import encode_mask
from network.datasets.open_image import open_image
from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.maps.finish import split_validity
from network.maps.in_memory import predict_in_memory
from network.maps.layers import CONFIDENCE, ENTROPY, LABELS, PROBABILITIES, STEPS, Layer
from network.maps.options import MapOptions, PolygonOptions
from network.maps.work import MapWork, Means, Task, plan_of
from network.memory import give_back_free_memory
from network.prediction import NoNumbers
from network.rasters.header import Header
from network.rasters.place import ground_at_middle
from network.rasters.reader import forget_checked
from network.rasters.source import Source
from network.serving.batches import Ticket
from network.serving.limits import Limits
from network.serving.refusal import Refusal
from network.serving.uploads import check_image, no_space
from network.writing import Unwritable

MASK, GEOTIFF = "image/png", "image/tiff"
POLYGONS, ARRAYS = "application/geo+json", "application/x-npz"
TYPES = (MASK, GEOTIFF, POLYGONS, ARRAYS)
"""Media types of the answers, the usual one first."""

SETTINGS = {"colors": MASK, "layer": GEOTIFF, "min_area": POLYGONS, "simplify": POLYGONS}
"""The settings of a request, and the media type that each of them is for."""

LAYERS = {layer.name or "labels": layer for layer in (LABELS, CONFIDENCE, PROBABILITIES, ENTROPY)}
"""Layers that a GeoTIFF may have."""

MOST_POLYGONS = 100_000

LARGE = 2**20
"""After an image with more pixels than this, free memory is given back to the system."""


@dataclass(frozen=True)
class Wish:
    """The kind of answer that a request asks for.

    Attributes:
        media_type: one of ``TYPES``.
        colors: whether a PNG has the colors of the classes instead of their labels.
        layer: name of the layer of a GeoTIFF, one of ``LAYERS``.
        min_area: area in square meters; smaller polygons join a neighbor.
        simplify: tolerance in meters of simpler outlines.
    """

    media_type: str = MASK
    colors: bool = False
    layer: str = "labels"
    min_area: float = 0.0
    simplify: float = 0.0


def check_settings(given: Collection[str], media_type: str) -> None:
    """Refuse settings that would change nothing.

    Args:
        given: names of the settings that a request gives.
        media_type: type of the answer, one of ``TYPES``.

    Raises:
        Refusal: there is no such setting, or it is for another type.
    """
    for name in given:
        if name not in SETTINGS:
            known = ", ".join(SETTINGS)
            raise Refusal(422, f"There is no setting {name[:100]!r}; there are {known}.")
        if SETTINGS[name] != media_type:
            kind = SETTINGS[name]
            raise Refusal(422, f"The setting {name} is for {kind}; send Accept: {kind}.")


@dataclass(frozen=True)
class Answer:
    """The answer to a request.

    Attributes:
        content: the body.
        pixels: number of pixels of the image.
        headers: further headers.
    """

    content: bytes
    pixels: int
    headers: dict[str, str]


class Answerer:
    """Turns received images into answers; several threads may use it at the same time.

    Args:
        info: description of images and classes.
        identity: ``checkpoint_sha256``, ``tta`` and ``precision``, which GeoTIFFs keep as tags.
        limits: limits of the images.
        options: how images are cut into windows.
    """

    def __init__(
        self, info: DatasetInfo, identity: dict[str, Any], limits: Limits, options: MapOptions
    ):
        self.info, self._identity, self._limits = info, identity, limits
        self._options = options

    def answer(self, path: Path, wish: Wish, ticket: Ticket) -> Answer:
        """Predict a received image.

        Args:
            path: file of the body, in a folder of its own.
            wish: what is wanted.
            ticket: gives access to the network.

        Returns:
            The answer. Its header ``Pixel-Area`` has the area on the ground of a pixel in the
            middle of the image, in square meters, if the image says where it lies.

        Raises:
            Refusal: the image cannot be predicted, or not in the wanted way.
            Cancelled: nobody waits for the answer any more.
        """
        ticket.check()
        try:
            with _as_refusals(path.parent):
                path, header = check_image(path, self._limits)
                content = self._way(wish.media_type)(path, header, wish, ticket)
        finally:
            forget_checked()
        if header.height * header.width > LARGE:
            give_back_free_memory()
        ground = ground_at_middle(header.place, header.height, header.width)
        headers = {} if ground is None else {"Pixel-Area": f"{ground.meters * ground.down:.9g}"}
        return Answer(content, header.height * header.width, headers)

    def _way(self, media_type: str) -> Callable[[Path, Header, Wish, Ticket], bytes]:
        ways = {
            MASK: self._mask,
            GEOTIFF: self._geotiff,
            POLYGONS: self._polygons,
            ARRAYS: self._arrays,
        }
        return ways[media_type]

    def _mask(self, path: Path, header: Header, wish: Wish, ticket: Ticket) -> bytes:
        values = self._predict(path, (LABELS,), ticket)
        labels, valid = split_validity(values[LABELS.name][0])
        return encode_mask(labels, self.info, rgb=wish.colors, valid=valid)

    def _arrays(self, path: Path, header: Header, wish: Wish, ticket: Ticket) -> bytes:
        values = self._predict(path, (LABELS, PROBABILITIES), ticket)
        file = io.BytesIO()
        np.savez_compressed(
            file,
            labels=values[LABELS.name][0],
            probabilities=values[PROBABILITIES.name],
            scale=np.float32(1 / STEPS),
            classes=np.array(self.info.classes),
        )
        return file.getvalue()

    def _geotiff(self, path: Path, header: Header, wish: Wish, ticket: Ticket) -> bytes:
        layer = LAYERS[wish.layer]
        extra = () if layer is LABELS else (layer,)
        with self._work(path, replace(self._options, layers=extra, format="tif"), ticket) as work:
            return work.job.file(layer).read_bytes()

    def _polygons(self, path: Path, header: Header, wish: Wish, ticket: Ticket) -> bytes:
        # They need an extra, which is not imported before it is wanted.
        from network.serving.outlines import polygons_of_labels, polygons_on_earth

        # A transform alone may be of any unit, and between control points a pixel has no one area.
        place = header.place
        if place is None or place.crs is None or place.transform is None:
            if wish.min_area or wish.simplify:
                raise Refusal(
                    422,
                    "The image does not say where it lies on Earth, so min_area and simplify, "
                    "which are in meters, cannot be used; leave them out.",
                )
            labels = self._predict(path, (LABELS,), ticket)[LABELS.name][0]
            return polygons_of_labels(labels, self.info.classes, MOST_POLYGONS)
        wanted = PolygonOptions("gpkg", min_area=wish.min_area, simplify=wish.simplify)
        options = replace(self._options, format="tif", polygons=wanted)
        with self._work(path, options, ticket) as work:
            assert work.job.polygons is not None
            return polygons_on_earth(work.job.polygons, MOST_POLYGONS)

    def _predict(
        self, path: Path, layers: tuple[Layer, ...], ticket: Ticket
    ) -> dict[str, np.ndarray]:
        """Compute layers in memory, which is faster than through files."""
        with open_image(path, self.info) as source:
            self._check_blocks(source)
            return predict_in_memory(
                lambda images, parts: ticket.logits(images),
                self.info.num_classes,
                source,
                plan_of(source, replace(self._options, layers=layers)),
                layers,
            )

    @contextmanager
    def _work(self, path: Path, options: MapOptions, ticket: Ticket) -> Iterator[MapWork]:
        """Predict a map into the folder of the image, as ``predict.py`` does."""
        with open_image(path, self.info) as source:
            self._check_blocks(source)
        task = Task(str(path), path.with_name("map.tif"), is_file=True)
        with MapWork(task, Means(self.info, self._identity, options)) as work:
            # GDAL 3.10 keeps 40 KB for each name of a mosaic that it has read. The folder of its
            # parts is named after the image, and all images are one here.
            work.job = replace(work.job, image="", source="")
            network = _Network(self.info, ticket)
            share = work.predict(network, work.missing())
            ticket.check()
            if share.failed and network.failures:
                raise network.failures[-1]  # a fault of the service, not of the image
            for reason in share.failed.values():
                raise InputError(path, reason)
            work.finish()
            yield work

    def _check_blocks(self, source: Source) -> None:
        """Refuse a file whose parts are larger than any allowed image, to protect the memory."""
        height, width = source.block_size
        if height * width > max(self._limits.max_pixels, 1024 * 1024):
            raise Refusal(
                413, f"The image is stored in parts of {height} x {width} pixels; use smaller ones."
            )


@dataclass(frozen=True)
class _Network:
    """Predicts the windows of a map in batches that all requests share."""

    info: DatasetInfo
    ticket: Ticket
    failures: list[Exception] = field(default_factory=list)

    def logits(self, images: Array) -> Array:
        try:
            return self.ticket.logits(images)
        except Exception as error:
            self.failures.append(error)
            raise


@contextmanager
def _as_refusals(folder: Path) -> Iterator[None]:
    """Turn errors of the input into refusals that do not tell where the service keeps its files."""
    try:
        yield
    except Unwritable as error:
        raise no_space(error.__cause__) from error
    except NoNumbers:
        raise  # a fault of the network, not of the image
    except InputError as error:
        # The remedies are for those who have the file and the config.
        reason = f"{error.where}: {error.problem}" if error.where else error.problem
        for path in sorted(folder.glob("*"), key=lambda path: -len(str(path))):
            reason = reason.replace(str(path), "image").replace(path.name, "image")
        reason = reason.replace(f"{folder}{os.sep}", "").removeprefix("image: ")
        raise Refusal(422, f"The image cannot be predicted: {reason}.") from error


def classes_of(info: DatasetInfo) -> list[dict[str, Any]]:
    """List the classes with label, name and color, as plain values."""
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in info.palette]
    return [
        {"label": label, "name": name, "color": color}
        for label, (name, color) in enumerate(zip(info.classes, colors, strict=True))
    ]
