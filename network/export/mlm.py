"""Items of STAC that describe exported files, by its machine-learning-model extension.

Sources: https://github.com/stac-extensions/mlm, version 1.5.2, and the extensions that it builds
on, whose schemas lie in ``schemas``. This module needs the extra ``mlm``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
from rasterio.crs import CRS

from network.card import Card
from network.datasets.on_earth.find import list_files
from network.errors import InputError, warn
from network.export.formats import FORMATS
from network.export.source import Source
from network.exported.record import LARGEST_VALUE, SMALLEST, ExportRecord, TensorFact
from network.extras import require_extra
from network.rasters.earth_grid import Bounds, EarthGrid
from network.rasters.source import Source as Raster
from network.writing import file_hash, read_json

if TYPE_CHECKING:
    import pystac

TASK = "semantic-segmentation"

_SCHEMAS = Path(__file__).with_name("schemas")
_EXTENSIONS = ("mlm-v1.5.2", "file-v2.1.0")
"""Extensions of the items: names of their schemas."""

_EARTH = -180.0, -90.0, 180.0, 90.0
_DEGREES = CRS.from_epsg(4326)
_SHA256 = "1220"
"""Begin of a multihash of SHA-256: the number of the function, and 32 bytes."""

_HYPERPARAMETER = re.compile(r"[0-9a-zA-Z_.-]+")


@dataclass(frozen=True)
class ModelItem:
    """An item of STAC as a companion of an exported file, see :class:`Companion`.

    Args:
        path: the JSON file.
        source: the network.
    """

    path: Path
    source: Source

    def check(self, record: ExportRecord) -> None:
        require_extra("mlm", "mlm")

    def write(self, partial: Path, files: Mapping[str, Path], record: ExportRecord) -> None:
        item = make_item(self.source, files, record)
        check_item(item, self.path)
        text = json.dumps(item.to_dict(include_self_link=False), indent=2, ensure_ascii=False)
        partial.write_text(f"{text}\n", encoding="utf-8")


def item_path(model: Path) -> Path:
    """Name the item of an exported file: ``best.onnx.json`` lies beside ``best.onnx``."""
    return model.with_name(f"{model.name}.json")


def warn_of_older_item(model: Path) -> None:
    """Warn if an item lies beside an exported file that was written without one."""
    item = item_path(model)
    if item.exists():
        warn(f"{item}: tells of an older {model.name}; export it with an item again, or remove it")


def make_item(source: Source, files: Mapping[str, Path], record: ExportRecord) -> "pystac.Item":
    """Describe an exported file.

    The item lies where the scenes of the training lie if that is known, otherwise on the whole
    Earth. Its time is that of the export.

    Args:
        source: the network.
        files: where the files of the exported network lie now, by their final names.
        record: facts of the exported file.
    """
    import pystac

    boxes = training_boxes(source) or [_EARTH]
    sizes = [path.stat().st_size for path in files.values()]
    digests = [file_hash(path) for path in files.values()]
    architecture = type(source.network).__name__
    name = re.sub(r"[^a-zA-Z0-9_.-]+", " ", f"{architecture} {source.card.data_set}").strip("_.- ")
    west, south, east, north = zip(*boxes, strict=True)
    item = pystac.Item(
        id=f"{name} {digests[0][:12]}".replace(" ", "-"),
        geometry=_geometry(boxes),
        bbox=[min(west), min(south), max(east), max(north)],
        datetime=datetime.now(UTC).replace(microsecond=0),
        properties={
            "title": name,
            "description": _description(record),
            **_ground_resolution(source.card),
            "bands": _bands(source.card),
            "mlm:name": name,
            "mlm:architecture": architecture,
            "mlm:tasks": [TASK],
            "mlm:framework": "PyTorch",
            **_version(record.torch),
            "mlm:total_parameters": sum(p.numel() for p in source.network.parameters()),
            "mlm:memory_size": sizes[-1],  # of the file with the weights
            # Programs of ``torch.export`` stay on the kind of device where they were traced.
            "mlm:accelerator": "amd64" if record.format == "torch" else None,
            "mlm:accelerator_constrained": False,
            **_pretraining(record.training),
            **_hyperparameters(source.card, record.training),
            "mlm:input": [_input(source.card, record)],
            "mlm:output": [_output(source.card, record)],
        },
        stac_extensions=[_uri(name) for name in _EXTENSIONS],
    )
    form = FORMATS[record.format]
    # The first file is the model; the last one, which may be the same, has the weights.
    roles = [["mlm:model", "mlm:weights"]] if len(files) == 1 else [["mlm:model"], ["mlm:weights"]]
    facts = zip(files, form.media_types, roles, sizes, digests, strict=True)
    for number, (file, media_type, own_roles, size, digest) in enumerate(facts):
        extra: dict[str, Any] = {"file:size": size, "file:checksum": _SHA256 + digest}
        if number == 0:
            extra["mlm:artifact_type"] = form.artifact_type
            # STAC wants the bands of an item in one of its assets, too.
            extra["bands"] = [{"name": name} for name in _band_names(source.card)]
        asset = pystac.Asset(
            href=f"./{file}", title=file, media_type=media_type, roles=own_roles, extra_fields=extra
        )
        item.add_asset("weights" if number else "model", asset)
    return item


def training_boxes(source: Source) -> list[Bounds]:
    """Find where the scenes of the training lie.

    Args:
        source: the network.

    Returns:
        West, south, east and north of each scene in degrees; empty if that is not known.
    """
    info, root = source.data_set, source.root
    split = source.training.get("data.train", "train")
    if info is None or root is None or split not in info.splits:
        return []
    boxes = []
    try:
        for scenes in info.scenes(split):
            for image in list_files(info, root, scenes).images:
                with Raster(image) as raster:
                    header = raster.header
                grid = EarthGrid.of(image, header.place, header.height, header.width)
                boxes.append(grid.bounds_in(_DEGREES, image))
    except InputError:  # the data are not here, or are no place on Earth
        return []
    known = [box for box in boxes if box is not None]
    return known if len(known) == len(boxes) else []


def _geometry(boxes: list[Bounds]) -> dict[str, Any]:
    rings = [
        [[[west, south], [east, south], [east, north], [west, north], [west, south]]]
        for west, south, east, north in boxes
    ]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _description(record: ExportRecord) -> str:
    sentences = [f"Exported by bicor-seg from {record.checkpoint}."]
    if record.parity:
        sentences.append(f"Check of the file: {record.parity}.")
    if record.quantization:
        sentences.append(f"Quantized: {record.quantization}.")
    return " ".join(sentences)


def _ground_resolution(card: Card) -> dict[str, float]:
    return {} if card.ground_resolution is None else {"gsd": card.ground_resolution}


def _bands(card: Card) -> list[dict[str, Any]]:
    """Describe the bands; what they measure is not known."""
    return [
        {
            "name": name,
            "description": f"Band {number} of the images",
            "data_type": card.info.dtype,
        }
        for number, name in enumerate(_band_names(card), 1)
    ]


def _band_names(card: Card) -> list[str]:
    return [f"band_{number}" for number in range(1, card.bands + 1)]


def _input(card: Card, record: ExportRecord) -> dict[str, Any]:
    size = ""
    if record.input.shape[2] is None:
        size = f"; height and width are multiples of {record.multiple_of}, at least {SMALLEST}"
    return {
        "name": record.input.name,
        "description": f"{record.input.holds}{size}",
        "bands": _band_names(card),
        "input": _structure(record.input, "bands"),
        "value_scaling": _value_scaling(card, record),
        "resize_type": None,
    }


def _value_scaling(card: Card, record: ExportRecord) -> list[dict[str, Any]] | None:
    """Tell what is left to do with pixel values before the file gets them."""
    if record.input.holds == "normalized values":
        pairs = zip(card.mean, card.std, strict=True)
        return [{"type": "z-score", "mean": mean, "stddev": std} for mean, std in pairs]
    if record.input.holds == "pixel values divided by 255":
        return [{"type": "scale", "value": LARGEST_VALUE}]
    return None


def _output(card: Card, record: ExportRecord) -> dict[str, Any]:
    return {
        "name": record.output.name,
        "description": f"{record.output.holds}; the label of a pixel is the class of the largest",
        "tasks": [TASK],
        "result": _structure(record.output, "class"),
        "classification:classes": [
            {
                "value": value,
                "name": name,
                "description": name,
                "color_hint": "".join(f"{part:02X}" for part in color),
            }
            for value, (name, color) in enumerate(zip(card.classes, card.palette, strict=True))
        ],
    }


def _structure(fact: TensorFact, channels: str) -> dict[str, Any]:
    return {
        "shape": [-1 if side is None else side for side in fact.shape],
        "dim_order": ["batch", channels, "height", "width"],
        "data_type": fact.dtype,
    }


def _version(torch: str) -> dict[str, str]:
    """Give a version as the extension wants it, without the suffixes of a build."""
    found = re.match(r"\d+\.\d+\.\d+", torch)
    return {"mlm:framework_version": found[0]} if found else {}


def _pretraining(training: Mapping[str, Any]) -> dict[str, Any]:
    """Tell where the weights came from with which the training began, as far as it is known."""
    if "init_from" in training:
        return {"mlm:pretrained": True}
    if "model.weights" not in training:
        return {}
    weights = training["model.weights"]
    if weights is None:
        return {"mlm:pretrained": False, "mlm:pretrained_source": None}
    if weights != "imagenet":
        return {"mlm:pretrained": True, "mlm:pretrained_source": Path(weights).name}
    encoder = str(training.get("model.encoder", ""))
    try:
        known = timm.get_pretrained_cfg(encoder)
    except RuntimeError:  # timm has no such network
        known = None
    tag = f".{known.tag}" if known and known.tag and "." not in encoder else ""
    return {"mlm:pretrained": True, "mlm:pretrained_source": f"timm: {encoder}{tag}"}


def _hyperparameters(card: Card, training: Mapping[str, Any]) -> dict[str, Any]:
    values = training or {f"model.{key}": value for key, value in card.settings.items()}
    found = {key: value for key, value in values.items() if _HYPERPARAMETER.fullmatch(key)}
    return {"mlm:hyperparameters": found} if found else {}


def _uri(name: str) -> str:
    extension, _, version = name.rpartition("-")
    return f"https://stac-extensions.github.io/{extension}/{version}/schema.json"


def check_item(item: "pystac.Item", path: Path) -> None:
    """Check an item by the schemas of STAC and of its extensions, without the internet.

    Args:
        item: an item such as :func:`make_item` makes.
        path: its file, for the error.

    Raises:
        InputError: the item does not follow a schema.
    """
    import pystac
    from pystac.validation import JsonSchemaSTACValidator

    validator = JsonSchemaSTACValidator()
    validator.schema_cache |= {_uri(p.stem): read_json(p) for p in _SCHEMAS.glob("*.json")}
    try:
        item.validate(validator)
    except pystac.STACValidationError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(path, f"is no valid item ({reason})", "leave mlm out") from error
