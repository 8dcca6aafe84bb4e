"""The folder that a test or a prediction writes: whose it is, and what in it is done.

Finished work is only taken over by a run that would make it again just so. What decides is what
changes the output (:func:`identity`), not how the command was spelled.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from network.datasets.files import image_size
from network.datasets.segmentation import Sample
from network.differences import changes_predictions
from network.errors import InputError
from network.evaluation.records import RECORDS_FILE, ImageRecord, read_records
from network.evaluation.results import (
    FIGURES,
    PROTOCOL_FILE,
    REPORT_FILE,
    SCORES_FILE,
    SCORES_TABLE,
)
from network.writing import owned, read_json, replacing

IMAGES_KEY = "images_in"
"""In a record: the folder of the images, resolved."""

# Of a record, beside the settings of the model: what masks and scores depend on.
_DEFINING = (
    *("checkpoint_sha256", "tta", "patch", "overlap", "rgb", "precision"),
    *("data_set", "split", "masks", "labels_sha256", "classes", "classes_in_mean"),
    "boundary_tolerance",
)


def identity(record: dict) -> dict[str, Any]:
    """What of a run's record changes its output, by name.

    Args:
        record: a protocol stamp, or what :func:`predict_folder` writes.
    """
    settings = record.get("settings", {})
    found = {key: record[key] for key in _DEFINING if key in record}
    # Records of older predictions say this in their settings alone.
    found.setdefault("precision", settings.get("compute.precision"))
    return found | {key: value for key, value in settings.items() if changes_predictions(key)}


@contextmanager
def output_folder(
    output: Path, samples: Sequence[Sample], record: dict, *, overwrite: bool = False
) -> Iterator[list[Sample]]:
    """Own ``output`` for a run, and tell which of its samples are still to be predicted.

    Args:
        record: what the run is, see :func:`identity`.
        overwrite: delete what another run has left there.

    Raises:
        InputError: the folder holds images that no run has made, or the work of another run, or
            another process is writing there.
    """
    record = json.loads(json.dumps(record))  # as it will be read back
    if output.exists() and not output.is_dir():
        raise InputError(output, "is a file", "choose another output")
    _check_own(output, samples)
    with owned(output):
        done = _take_over(output, samples, record, overwrite)
        todo = [s for s in samples if not _is_done(output / f"{s.name}.png", s, done)]
        with replacing(output / PROTOCOL_FILE) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n")
        if todo:  # what was scored is not what will lie here
            _remove(output, (SCORES_FILE, SCORES_TABLE, REPORT_FILE))
        yield todo


def fingerprint(image: Path) -> str:
    """Size and time of a file: what tells that it is still the one that was predicted."""
    about = image.stat()
    return f"{about.st_size}-{about.st_mtime_ns}"


def _masks(output: Path) -> set[str]:
    found = (path.relative_to(output) for path in output.rglob("*.png"))
    return {path.as_posix() for path in found if path.parts[0] != FIGURES}


def _check_own(output: Path, samples: Sequence[Sample]) -> None:
    """Raise an :class:`InputError` if there are images that no run of ours has recorded."""
    names = set()
    # Without its record a folder is not of such a run: it may hold images, or the truth.
    if (output / PROTOCOL_FILE).is_file():
        names = {f"{name}.png" for name in (*(s.name for s in samples), *read_records(output))}
    foreign = sorted(_masks(output) - names)
    if foreign:
        raise InputError(
            output,
            f"holds images that are not of this evaluation ({foreign[0]}, {len(foreign)} files)",
            "choose another output",
        )


def _take_over(
    output: Path, samples: Sequence[Sample], record: dict, overwrite: bool
) -> dict[str, ImageRecord]:
    """The records of what is there, if the same run made it."""
    present = _masks(output)
    # A mask is written before its record: both are there, or the image is predicted again.
    done = {name: r for name, r in read_records(output).items() if f"{name}.png" in present}
    if not present:
        _remove(output, (RECORDS_FILE, SCORES_FILE, SCORES_TABLE, REPORT_FILE))
        return {}
    difference = _difference(output, samples, record, done)
    if difference is None:
        return done
    if not overwrite:
        raise InputError(
            output,
            f"holds {len(present)} masks of another run ({difference})",
            "choose another output, or delete them by overwrite=True",
        )
    _remove(output, (RECORDS_FILE, SCORES_FILE, SCORES_TABLE, REPORT_FILE, *present))
    return {}


def _difference(
    output: Path, samples: Sequence[Sample], record: dict, done: dict[str, ImageRecord]
) -> str | None:
    """The first thing in which the run that made ``output`` differs from this one."""
    try:
        old = read_json(output / PROTOCOL_FILE)
        found = difference(old, record)
    except (ValueError, OSError, AttributeError, TypeError):
        return f"whose {PROTOCOL_FILE} is damaged"
    if found:
        return found
    if old.get(IMAGES_KEY) != record.get(IMAGES_KEY):
        # The same files elsewhere are the same images; other ones may have the same names.
        for sample in samples:
            known = done.get(sample.name)
            if known and known.image and known.image != fingerprint(sample.image):
                return f"of the images in {old.get(IMAGES_KEY)}"
    return None


def difference(old: dict, new: dict) -> str | None:
    """The first thing in which the outputs of two records may differ, and how many there are."""
    before, now = identity(old), identity(new)
    different = [key for key in before | now if before.get(key) != now.get(key)]
    if not different:
        return None
    key, more = different[0], len(different) - 1
    text = f"its {key} is {_short(before.get(key))}, not {_short(now.get(key))}"
    return text + (f", and {more} more" if more else "")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_done(mask: Path, sample: Sample, done: dict[str, ImageRecord]) -> bool:
    """Whether the mask is of the image as it is now."""
    record = done.get(sample.name)
    if record is None:
        return False
    if record.image:
        return record.image == fingerprint(sample.image)
    # Records of older versions do not tell.
    is_newer = mask.stat().st_mtime >= sample.image.stat().st_mtime
    return is_newer and image_size(mask) == sample.size


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
