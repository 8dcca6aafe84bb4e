"""Files of polygons that are written batch by batch, so their size does not matter.

This module needs the extra ``vectors``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyarrow import parquet
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS

from network.rasters.vector_paths import plain, plain_name
from network.writing import replacing, unwritable

DATE = "2000-01-01T00:00:00.000Z"
"""The date in each GeoPackage. With the true one, a rerun would give other bytes."""

_GEOMETRY = "geometry"
_TYPES = {int: pa.int32(), float: pa.float64(), str: pa.string()}
_WKB = pa.field(_GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Layer:
    """A table of polygons.

    Attributes:
        name: its name.
        crs: reference system of the coordinates.
        fields: type of each column: int, float or str.
    """

    name: str
    crs: CRS
    fields: Mapping[str, type]


@dataclass(frozen=True)
class Rows:
    """Rows of a table of polygons.

    Attributes:
        polygons: polygons of shapely (n,), with counterclockwise exteriors.
        values: for each column (n,).
    """

    polygons: np.ndarray
    values: Mapping[str, np.ndarray | Sequence[str]]


def write_geopackage(path: Path, layer: Layer, batches: Iterable[Rows]) -> None:
    """Write a GeoPackage, whole or not at all. The same rows give the same bytes.

    Args:
        path: the file.
        layer: the table.
        batches: its rows. An error that is raised by this iterable is raised again.

    Raises:
        InputError: the file cannot be written.
    """
    write_geopackage_layers(path, [(layer, batches)])


def write_geopackage_layers(path: Path, tables: Sequence[tuple[Layer, Iterable[Rows]]]) -> None:
    """Write a GeoPackage of several tables, whole or not at all.

    Args:
        path: the file.
        tables: the tables, each with its rows. An error that is raised by an iterable of rows is
            raised again.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as partial:
        # GDAL warns of other endings.
        draft = partial.with_name(f"{plain_name(partial.name)}.gpkg")
        try:
            with _fixed_date():
                for number, (layer, batches) in enumerate(tables):
                    _add_table(path, draft, layer, batches, append=number > 0)
            draft.replace(partial)
        finally:
            for left in (draft, draft.with_name(f"{draft.name}-journal")):
                with suppress(OSError):
                    left.unlink(missing_ok=True)


def _add_table(
    path: Path, draft: Path, layer: Layer, batches: Iterable[Rows], *, append: bool
) -> None:
    schema = pa.schema([*_schema(layer), _WKB])
    failed: list[BaseException] = []

    def arrow() -> Iterator[pa.RecordBatch]:
        try:
            for rows in batches:
                yield _batch(layer, rows, schema)
        except BaseException as error:  # GDAL would turn it into an error of its own
            failed.append(error)
            raise

    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(schema, arrow()),
            plain(draft),
            layer=layer.name,
            driver="GPKG",
            geometry_name=_GEOMETRY,
            geometry_type="Polygon",
            crs=layer.crs.to_wkt(),
            append=append,
        )
    except (RuntimeError, DataSourceError, DataLayerError) as error:
        if failed:
            raise failed[0] from None
        raise unwritable(path, error) from error


def write_geoparquet(path: Path, layer: Layer, batches: Iterable[Rows]) -> None:
    """Write a GeoParquet file (version 1.1), whole or not at all.

    Each batch is a row group. A column ``bbox`` has the bounds of each polygon, so readers skip the
    groups that they do not need. geopandas writes such files too, but only from one table in
    memory.

    Args:
        path: the file.
        layer: the table.
        batches: its rows.

    Raises:
        InputError: the file cannot be written.
    """
    bounds_type = pa.struct([(side, pa.float64()) for side in _SIDES])
    schema = pa.schema([*_schema(layer), pa.field(_GEOMETRY, pa.binary()), ("bbox", bounds_type)])
    lowest, highest = np.full(2, np.inf), np.full(2, -np.inf)
    with replacing(path) as partial:
        try:
            with parquet.ParquetWriter(partial, schema, compression="zstd") as file:
                for rows in batches:
                    if not len(rows.polygons):
                        continue
                    bounds = shapely.bounds(rows.polygons)
                    lowest = np.minimum(lowest, bounds[:, :2].min(axis=0))
                    highest = np.maximum(highest, bounds[:, 2:].max(axis=0))
                    column = pa.StructArray.from_arrays(list(bounds.T), fields=list(bounds_type))
                    file.write_batch(_batch(layer, rows, schema, column))
                about = _about(layer.crs, [*lowest.tolist(), *highest.tolist()])
                file.add_key_value_metadata({"geo": json.dumps(about)})
        except pa.ArrowException as error:
            raise unwritable(path, error) from error


def _schema(layer: Layer) -> list[pa.Field]:
    return [pa.field(name, _TYPES[kind]) for name, kind in layer.fields.items()]


def _batch(layer: Layer, rows: Rows, schema: pa.Schema, *more: pa.Array) -> pa.RecordBatch:
    columns = [pa.array(rows.values[name], _TYPES[kind]) for name, kind in layer.fields.items()]
    wkb = pa.array(shapely.to_wkb(rows.polygons), pa.binary())
    return pa.record_batch([*columns, wkb, *more], schema=schema)


@contextmanager
def _fixed_date() -> Iterator[None]:
    """Let GDAL write a fixed date while the block runs."""
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": DATE})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})


def _about(crs: CRS, bounds: list[float]) -> dict[str, Any]:
    """Describe a table as the specification of GeoParquet says."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": crs.to_json_dict(),
        "orientation": "counterclockwise",
        "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
    }
    if np.isfinite(bounds).all():  # there is a polygon
        column["bbox"] = bounds
    return {"version": "1.1.0", "primary_column": _GEOMETRY, "columns": {_GEOMETRY: column}}
