"""The finished files of a map, made from its blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rasterio

from network.datasets.files import write_mask
from network.datasets.schema import DatasetInfo
from network.maps.job import Job
from network.maps.layers import CONFIDENCE, LABELS, NO_DATA, STEPS, Layer
from network.maps.options import PolygonOptions
from network.maps.plan import Block, Plan
from network.rasters.legend_files import write_attribute_table, write_qgis_style
from network.rasters.pixels import count_labels
from network.rasters.place import Place, write_place
from network.rasters.tiles import Grid, Legend, write_cog, write_mosaic

if TYPE_CHECKING:
    from network.rasters.ground import Ground


@dataclass(frozen=True)
class Format:
    """How finished maps are written.

    Attributes:
        rgb: whether a PNG has the colors of the classes instead of their labels.
        tags: facts that each GeoTIFF keeps as tags.
    """

    rgb: bool
    tags: Mapping[str, str]


def finish_map(
    job: Job, plan: Plan, place: Place | None, info: DatasetInfo, format_: Format
) -> list[int]:
    """Write the final files of a map whose blocks are all done.

    Args:
        job: the job.
        plan: the plan of its blocks.
        place: place of the image on Earth.
        info: description of the classes.
        format_: how files are written.

    Returns:
        The number of pixels of each class.

    Raises:
        InputError: a file cannot be written.
    """
    blocks = list(plan.blocks())
    counts = _count(job, blocks, info.num_classes)
    for layer in job.computed:
        grid = Grid(plan.height, plan.width, layer.bands(info.num_classes), NO_DATA, place)
        legend = legend_of(layer, info, format_.tags)
        mosaic = job.mosaic(layer)
        write_mosaic(mosaic, grid, legend, job.tiles(blocks, layer))
        target = job.file(layer)
        if layer not in job.layers:
            continue
        if target.suffix.lower() == ".png":
            _write_png(job, plan, blocks, info, format_.rgb)
            write_place(place, target)
        else:
            write_cog(target, mosaic, legend)
            if layer is LABELS:
                write_attribute_table(target, legend, counts)
                write_qgis_style(target, legend)
    return counts


def finish_polygons(job: Job, ground: "Ground", info: DatasetInfo, options: PolygonOptions) -> int:
    """Write the polygons of a map, after its other files.

    Args:
        job: the job.
        ground: measures of the map on the ground.
        info: description of the classes.
        options: which polygons are wanted.

    Returns:
        The number of polygons.

    Raises:
        InputError: the file cannot be written.
    """
    from network.maps.polygons import LabeledMap, write_polygons  # needs an extra

    assert job.polygons is not None
    labels, confidence = job.mosaic(LABELS), job.mosaic(CONFIDENCE)
    map_ = LabeledMap(job.target.stem, labels, confidence, info.classes, ground)
    return write_polygons(job.polygons, map_, options, job.parts)


def legend_of(layer: Layer, info: DatasetInfo, tags: Mapping[str, str]) -> Legend:
    """Describe the values of a layer."""
    if not layer.is_share:
        return Legend([layer.description], info.classes, info.palette, tags=tags)
    names = [f"probability of {name}" for name in info.classes]
    return Legend(
        descriptions=names if layer.per_class else [layer.description],
        scale=1 / STEPS,
        tags=tags,
    )


def _count(job: Job, blocks: Sequence[Block], classes: int) -> list[int]:
    """Count the pixels of each class."""
    total = sum(count_labels(_labels(job, block)) for block in blocks)
    return np.asarray(total)[:classes].tolist()


def _labels(job: Job, block: Block) -> np.ndarray:
    with rasterio.open(job.part(block, LABELS)) as file:
        return file.read(1)


def _write_png(job: Job, plan: Plan, blocks: Sequence[Block], info: DatasetInfo, rgb: bool) -> None:
    """Write the labels of a photo, which fit into memory, since PNG is written at once."""
    labels = np.empty((plan.height, plan.width), np.uint8)
    for block in blocks:
        labels[block.rows, block.columns] = _labels(job, block)
    labels, valid = split_validity(labels)
    write_mask(job.target, labels, info, rgb=rgb, valid=valid)


def split_validity(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Split the labels of a map into labels and the mask of valid pixels.

    Args:
        labels: (h, w) uint8, ``NO_DATA`` where there is no data. It is changed.

    Returns:
        Labels (h, w), 0 where there is no data; and (h, w) bool, or None if all pixels are valid.
    """
    valid = labels != NO_DATA
    labels[~valid] = 0
    return labels, None if valid.all() else valid
