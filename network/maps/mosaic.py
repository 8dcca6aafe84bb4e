"""One map of many: maps that overlap, such as those of flight strips, put together."""

import hashlib
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform, transform_bounds
from rasterio.windows import Window as RasterioWindow

from network.datasets.schema import DatasetInfo
from network.errors import InputError
from network.maps.finish import Format, finish_map, legend_of
from network.maps.job import Job
from network.maps.layers import CONFIDENCE, LABELS, NO_DATA
from network.maps.plan import Block, Plan
from network.maps.records import MapRecord, MapRecords
from network.maps.run import make_tasks
from network.progress import progress_bar
from network.rasters.place import Place
from network.rasters.tiles import Grid, write_mosaic
from network.writing import Busy, beside, locked, remove_leftovers

RULES = ("last", "confidence")
"""Which map counts where several overlap: the last one in the order of the images, or the one with
the highest confidence."""

SIDE = 4096
"""Side of the blocks that a mosaic is made in, in pixels."""


SPREAD = 1000
"""Area of a mosaic divided by that of its maps, above which one of them seems misplaced."""


@dataclass(frozen=True)
class MosaicOptions:
    """How maps are put together.

    Attributes:
        target: the file: ``.tif``, or ``.vrt`` for a small file that refers to the maps.
        rule: one of ``RULES``.
        crs: reference system of the mosaic, such as ``"EPSG:32632"``; by default that of the maps,
            which must have the same one then.
        overwrite: whether to delete a mosaic that was made with other settings.

    Raises:
        InputError: a value is out of range.
    """

    target: Path
    rule: str = "last"
    crs: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.target.suffix.lower() not in (".tif", ".vrt"):
            raise InputError(self.target, "a mosaic is a .tif or a .vrt", "choose such a name")
        if self.rule not in RULES:
            raise InputError(f"rule={self.rule}", f"must be one of {', '.join(RULES)}")
        if self.crs is not None:
            try:
                CRS.from_user_input(self.crs)
            except CRSError as error:
                raise InputError(
                    f"crs={self.crs}", "is not known", "give one like EPSG:32632"
                ) from error


@dataclass(frozen=True)
class _Map:
    """A finished map.

    Attributes:
        path: file of its labels.
        crs: reference system.
        transform: transform from columns and rows to coordinates.
        size: height and width.
    """

    path: Path
    crs: CRS
    transform: Affine
    size: tuple[int, int]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest and largest coordinates: left, bottom, right, top."""
        height, width = self.size
        # Its rows may go north, its columns west, and it may be turned.
        columns, rows = np.array([[0, width, 0, width], [0, 0, height, height]], float)
        x, y = self.transform @ (columns, rows)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def check_target(options: MosaicOptions, images: Sequence[str | Path], output: Path) -> None:
    """Check that a mosaic can be made and replaces no image, before anything is predicted.

    Args:
        options: the mosaic.
        images: the images.
        output: folder of the maps; with one image also the file.

    Raises:
        InputError: the mosaic has the name of one of these files, or the map is a PNG.
    """
    target = options.target.resolve()
    taken = {Path(image).resolve() for image in images}
    for task in make_tasks(images, output):
        if task.is_file and task.output.suffix.lower() == ".png":
            raise InputError(
                task.output, "is no georeferenced map, which a mosaic needs", "choose a .tif"
            )
        ending = "" if task.is_file else ".tif"
        taken.add(task.output.with_name(f"{task.output.name}{ending}").resolve())
    if target in taken:
        raise InputError(
            options.target, "is an image or a map of its own", "choose another name for the mosaic"
        )


def map_files(images: Sequence[str | Path], output: Path) -> list[Path]:
    """List the maps of images, after they are finished.

    Args:
        images: the images, in their order.
        output: folder of the maps; with one image also the file.

    Raises:
        InputError: an image has a PNG mask, or no map.
    """
    found = []
    for task in make_tasks(images, output):
        path = task.output if task.is_file else task.output.with_name(f"{task.output.name}.tif")
        if not path.is_file():
            raise InputError(
                Path(task.image),
                "has no georeferenced map, which a mosaic needs",
                "georeference it, or leave it out",
            )
        found.append(path)
    return found


def make_mosaic(maps: Sequence[Path], info: DatasetInfo, options: MosaicOptions) -> bool:
    """Put maps together.

    Pixels of maps that do not lie on the same grid take the value of the nearest pixel. If several
    processes are told to make a mosaic, the first one does it.

    Args:
        maps: files of the labels. Where maps overlap, later ones count, or those with the higher
            value in ``NAME_confidence.tif`` beside them.
        info: description of the classes.
        options: how they are put together.

    Returns:
        Whether the mosaic is there; it is not if another process is still making it.

    Raises:
        InputError: a map is not georeferenced, the maps have several reference systems, or the
            mosaic there was made with other settings, or from other maps.
    """
    found = [_opened(path, options) for path in maps]
    grid = _grid(found, options)
    target = options.target
    remove_leftovers(target.parent)
    if target.suffix.lower() == ".vrt":
        _write_vrt(found, grid, info, options)
        return True
    job = Job(
        target,
        (LABELS,),
        identity={
            "rule": options.rule,
            "grid": str(grid.place),
            "size": [grid.height, grid.width],
            "classes": list(info.classes),
        },
        image=_version(maps, target),
        source=f"mosaic of {len(maps)} maps ({_names(maps, target)})",
    )
    # From the start, since the blocks are removed when the mosaic is finished.
    with suppress(Busy), locked(job.parts, job.lock):
        _write_tif(job, found, grid, info, options)
        return True
    return False


def _write_tif(
    job: Job, maps: Sequence[_Map], grid: Grid, info: DatasetInfo, options: MosaicOptions
) -> None:
    """Write a mosaic block by block, or nothing if it is there."""
    records = MapRecords(job.target.parent)
    job.check_or_discard(records, overwrite=options.overwrite)
    if job.is_finished(records):
        job.clean()
        return
    job.begin()
    plan = Plan(grid.height, grid.width, window=SIDE, halo=0, cores=(1, 1))
    sources = [_Source(one, grid, options) for one in maps]
    for block in progress_bar(list(plan.blocks()), desc="Mosaic", unit="block"):
        if not job.is_sound(block):
            job.commit(block, {LABELS.name: _assembled(block, sources, options)[None]})
    counts = finish_map(job, plan, grid.place, info, Format(rgb=False, tags={}))
    record = MapRecord(job.image, job.source, dict(job.identity))
    pixels = dict(zip(info.classes, counts, strict=True))
    records.add(job.target, record, {"size": [grid.height, grid.width], "pixels": pixels})
    job.clean()


def _opened(path: Path, options: MosaicOptions) -> _Map:
    if options.rule == "confidence" and not _confidence_of(path).is_file():
        raise InputError(
            _confidence_of(path),
            "no such file",
            "predict with the confidence too, or use rule=last",
        )
    with rasterio.open(path) as file:
        if not file.crs or file.gcps[0]:
            raise InputError(
                path, "is not georeferenced, which a mosaic needs", "georeference its image"
            )
        return _Map(path, file.crs, file.transform, (file.height, file.width))


def _confidence_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}_{CONFIDENCE.name}.tif")


def _version(maps: Sequence[Path], target: Path) -> str:
    """Make a text that shows later whether a map has changed."""
    stats = [(path.stat().st_size, path.stat().st_mtime_ns) for path in maps]
    return hashlib.sha256(repr([_relative(maps, target), stats]).encode()).hexdigest()


def _names(maps: Sequence[Path], target: Path) -> str:
    """Make a short text that shows whether a mosaic is one of other maps."""
    return hashlib.sha256(repr(_relative(maps, target)).encode()).hexdigest()[:16]


def _relative(maps: Sequence[Path], target: Path) -> list[str]:
    """List the paths of maps from the folder of their mosaic, with which they may be moved."""
    return [os.path.relpath(path.resolve(), target.parent.resolve()) for path in maps]


def _grid(maps: Sequence[_Map], options: MosaicOptions) -> Grid:
    """Find the grid that covers all maps. It has the pixels of the first one if it can."""
    first = maps[0]
    crs = CRS.from_user_input(options.crs) if options.crs else first.crs
    others = [one for one in maps if one.crs != crs]
    if others and not options.crs:
        raise InputError(
            others[0].path,
            f"has another reference system ({others[0].crs}) than {first.path.name} ({crs})",
            "choose one of them by crs=...",
        )
    transform = _upright(first)
    if first.crs != crs:
        left, bottom, right, top = first.bounds
        # Not the size of the map, which is smaller than its bounds if it is turned.
        width, height = (right - left) / transform.a, (bottom - top) / transform.e
        transform, _, _ = calculate_default_transform(
            first.crs, crs, round(width), round(height), left, bottom, right, top
        )
    corners = []
    for one in maps:
        left, bottom, right, top = transform_bounds(one.crs, crs, *one.bounds)
        both = [~transform @ (left, top), ~transform @ (right, bottom)]
        if not np.isfinite(both).all():
            raise InputError(
                one.path, f"lies where {crs} is not defined", "choose another system by crs=..."
            )
        corners += both
    columns, rows = np.array(corners).T
    _check_spread(maps, columns, rows)
    # A map that begins a millionth of a pixel earlier adds no pixel.
    left, top = (math.floor(round(float(v.min()), 4)) for v in (columns, rows))
    right, bottom = (math.ceil(round(float(v.max()), 4)) for v in (columns, rows))
    place = Place(crs, transform @ Affine.translation(left, top))
    return Grid(bottom - top, right - left, bands=1, no_data=NO_DATA, place=place)


def _upright(one: _Map) -> Affine:
    """Find the transform of a grid whose rows go south and whose columns go east.

    Its pixels are those of the map, also if that is flipped. If it is turned, they have the same
    area.
    """
    a, b, _, d, e, _ = one.transform[:6]
    across, down = (abs(b), abs(d)) if a == e == 0 else (abs(a), abs(e))
    if (a or e) and (b or d):
        across = down = math.sqrt(abs(one.transform.determinant))
    left, _, _, top = one.bounds
    return Affine(across, 0, left, 0, -down, top)


def _check_spread(maps: Sequence[_Map], columns: np.ndarray, rows: np.ndarray) -> None:
    """Raise an :class:`InputError` if nearly all of a mosaic would be empty.

    Args:
        maps: the maps.
        columns: columns of two corners of each map (2 n,).
        rows: rows of the same corners (2 n,).
    """
    covered = sum(height * width for height, width in (one.size for one in maps))
    if np.ptp(columns) * np.ptp(rows) <= SPREAD * covered:
        return
    apart = np.hypot(columns - np.median(columns), rows - np.median(rows))
    raise InputError(
        maps[int(apart.argmax()) // 2].path,
        f"lies far from the other maps: they cover less than 1/{SPREAD} of the mosaic",
        "check where it lies, or leave it out",
    )


class _Source:
    """A map that is read on the grid of the mosaic.

    Args:
        one: the map.
        grid: the grid.
        options: how maps are put together.
    """

    def __init__(self, one: _Map, grid: Grid, options: MosaicOptions):
        place = grid.place
        assert place is not None
        assert place.crs is not None
        assert place.transform is not None
        left, bottom, right, top = transform_bounds(one.crs, place.crs, *one.bounds)
        corners = [~place.transform @ (left, top), ~place.transform @ (right, bottom)]
        columns, rows = zip(*corners, strict=True)
        self._columns = min(columns) - 1, max(columns) + 1
        self._rows = min(rows) - 1, max(rows) + 1
        paths = [one.path]
        if options.rule == "confidence":
            paths.append(_confidence_of(one.path))
        self._grid = {
            "crs": place.crs,
            "transform": place.transform,
            "height": grid.height,
            "width": grid.width,
            "resampling": Resampling.nearest,
        }
        self._paths = paths

    def touches(self, block: Block) -> bool:
        """Tell whether a block may have pixels of this map."""
        return (
            self._rows[0] < block.rows.stop
            and block.rows.start < self._rows[1]
            and self._columns[0] < block.columns.stop
            and block.columns.start < self._columns[1]
        )

    def read(self, block: Block) -> list[np.ndarray]:
        """Read labels, and confidence if it is needed, (h, w) uint8."""
        window = RasterioWindow.from_slices(block.rows, block.columns)
        found = []
        for path in self._paths:
            with rasterio.open(path) as file, WarpedVRT(file, **self._grid) as warped:
                found.append(warped.read(1, window=window))
        return found


def _assembled(block: Block, sources: Sequence[_Source], options: MosaicOptions) -> np.ndarray:
    """Put the labels of a block together, (h, w) uint8."""
    labels = np.full(block.shape, NO_DATA, np.uint8)
    best = np.zeros(block.shape, np.uint8)
    for source in sources:
        if not source.touches(block):
            continue
        found, *confidence = source.read(block)
        counts = found != NO_DATA
        if options.rule == "confidence":
            counts &= (labels == NO_DATA) | (confidence[0] > best)
            best[counts] = confidence[0][counts]
        labels[counts] = found[counts]
    return labels


def _write_vrt(maps: Sequence[_Map], grid: Grid, info: DatasetInfo, options: MosaicOptions) -> None:
    """Write a VRT over maps that lie on one grid."""
    if options.rule != "last":
        raise InputError(options.target, "a .vrt shows the last map", "use rule=last, or a .tif")
    assert grid.place is not None
    assert grid.place.transform is not None
    tiles = {}
    for one in maps:
        relative = ~grid.place.transform @ one.transform
        column, row = relative.c, relative.f
        is_aligned = (
            one.crs == grid.place.crs
            and np.allclose(relative[:6], (1, 0, column, 0, 1, row), atol=1e-6)
            and math.isclose(column, round(column), abs_tol=1e-3)
            and math.isclose(row, round(row), abs_tol=1e-3)
        )
        if not is_aligned:
            other = "the mosaic" if one is maps[0] else maps[0].path.name
            raise InputError(one.path, f"lies on another grid than {other}", "make a .tif instead")
        top, left = round(row), round(column)
        tiles[one.path] = slice(top, top + one.size[0]), slice(left, left + one.size[1])
    legend = legend_of(LABELS, info, {})
    if options.target.exists() and not options.overwrite:
        new = beside(options.target, "partial")
        try:
            write_mosaic(new, grid, legend, tiles, overlap=True)
            is_same = new.read_bytes() == options.target.read_bytes()
        finally:
            new.unlink(missing_ok=True)
        if is_same:
            return
        raise InputError(
            options.target,
            "is there already, with another content",
            "choose another name, or give overwrite=True to replace it",
        )
    write_mosaic(options.target, grid, legend, tiles, overlap=True)
