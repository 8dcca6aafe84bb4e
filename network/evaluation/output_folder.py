"""The output folder of a test or a prediction: which run owns it, and which images are done.

A run takes over finished work only if it would produce the same output again. The settings that
change the output decide this (:func:`identity`), not the spelling of the command.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from network.datasets.files import image_size
from network.datasets.schema import DatasetInfo
from network.datasets.segmentation import Sample
from network.differences import changes_predictions
from network.errors import InputError
from network.evaluation.records import RECORDS_FILE, ImageRecord, read_records
from network.evaluation.results import (
    AREA_SCORES,
    FIGURES,
    PROTOCOL_FILE,
    REPORT_FILE,
    SCORES_FILE,
    SCORES_TABLE,
    read_result,
    write_results,
)
from network.evaluation.stamp import Stamp
from network.evaluation.summary import Summary
from network.tta import name_views
from network.writing import owned, read_json, replacing

_RESULTS = (SCORES_FILE, SCORES_TABLE, REPORT_FILE, AREA_SCORES)
"""Files that must fit each other: the scores, and what is made from them."""

IMAGES_KEY = "images_in"
"""Key under which a record stores the resolved folder of the images."""

# Keys of those entries of a record that masks and scores depend on, besides the model's settings.
_DEFINING = (
    *("checkpoint_sha256", "tta", "patch", "overlap", "rgb", "precision"),
    *("data_set", "split", "masks", "labels_sha256", "classes", "classes_in_mean"),
    "boundary_tolerance",
    "exported",
)

# Entries that records of older versions lack. Without an orientation, turned images are refused.
_IF_KNOWN = ("d4", "exif_orientation", "palette", "ignore_index")


def facts_of_masks(info: DatasetInfo, *, tta: str, rgb: bool) -> dict[str, Any]:
    """List what masks depend on beside the settings: views, turned images, what is written.

    Args:
        info: description of the data set.
        tta: name of the test-time augmentation.
        rgb: whether the masks have colors.
    """
    views = {"d4": name_views(info)} if tta == "d4" else {}
    written = {"palette": info.palette} if rgb else {"ignore_index": info.ignore_index}
    turned = {"exif_orientation": info.exif_orientation} if info.exif_orientation else {}
    return views | written | turned


def identity(record: dict) -> dict[str, Any]:
    """Select the entries of a run's record that change its output, by name.

    Args:
        record: a protocol stamp as JSON, or the record of a prediction by older code.
    """
    settings = record.get("settings", {})
    found = {key: record[key] for key in _DEFINING if key in record}
    # Records of older predictions have the precision only in their settings.
    found.setdefault("precision", settings.get("compute.precision"))
    return found | {key: value for key, value in settings.items() if changes_predictions(key)}


@contextmanager
def output_folder(
    output: Path, samples: Sequence[Sample], record: dict, *, overwrite: bool = False
) -> Iterator[list[Sample]]:
    """Lock ``output`` for a run, and give the samples that are still to be predicted.

    Args:
        output: the folder.
        samples: the samples of the run.
        record: description of the run, see :func:`identity`.
        overwrite: whether to delete the results of another run.

    Raises:
        InputError: the folder holds images that no run has made, or the results of another run, or
            another process is writing there.
    """
    record = json.loads(json.dumps(record))  # the form that a reader of the file gets
    if output.exists() and not output.is_dir():
        raise InputError(output, "is a file", "choose another output")
    _check_own(output, samples)
    with owned(output):
        done = _take_over(output, samples, record, overwrite)
        todo = [s for s in samples if not _is_done(output / f"{s.name}.png", s, done)]
        with replacing(output / PROTOCOL_FILE) as partial:
            partial.write_text(json.dumps(record, indent=2) + "\n")
        if todo:  # the old scores are not those of the new masks
            _remove(output, _RESULTS)
        yield todo


def fingerprint(image: Path) -> str:
    """Make a text of size and time of an image file, which shows later whether it has changed."""
    about = image.stat()
    return f"{about.st_size}-{about.st_mtime_ns}"


def _masks(output: Path) -> set[str]:
    found = (path.relative_to(output) for path in output.rglob("*.png"))
    return {path.as_posix() for path in found if path.parts[0] != FIGURES}


def _check_own(output: Path, samples: Sequence[Sample]) -> None:
    """Raise an :class:`InputError` if there are images that no run has recorded."""
    names = set()
    # A folder without a record does not come from a run: it may hold images, or the truth.
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
    """Read the records of finished images, if the same run made them; otherwise clear or refuse."""
    present = _masks(output)
    # A mask is written before its record. An image without both is predicted again.
    done = {name: r for name, r in read_records(output).items() if f"{name}.png" in present}
    has_scores = (output / SCORES_FILE).exists()
    if has_scores and not present and not (output / PROTOCOL_FILE).exists() and not overwrite:
        # A folder of scores without a record of masks holds a scored map, or scored masks.
        raise InputError(
            output,
            f"holds {SCORES_FILE}, which no test of images has written",
            "choose another output folder, or give overwrite=True to delete it",
        )
    held = f"{len(present)} masks" if present else f"the {SCORES_FILE}"
    is_other = bool(present) or has_scores  # otherwise, nothing is lost
    difference = _difference(output, samples, record, done) if is_other else None
    if difference is None:
        if not present:
            _remove(output, (RECORDS_FILE, *_RESULTS))
        return done
    if not overwrite:
        raise InputError(
            output,
            f"holds {held} of another run ({difference})",
            "choose another output folder, or give overwrite=True to delete them",
        )
    _remove(output, (RECORDS_FILE, *_RESULTS, *present))
    return {}


def _difference(
    output: Path, samples: Sequence[Sample], record: dict, done: dict[str, ImageRecord]
) -> str | None:
    """Describe the first difference between this run and the one that made ``output``, if any."""
    try:
        old = read_json(output / PROTOCOL_FILE)
        found = difference(old, record)
    except (ValueError, OSError, AttributeError, TypeError):
        return f"whose {PROTOCOL_FILE} is damaged"
    if found:
        return found
    if old.get(IMAGES_KEY) != record.get(IMAGES_KEY):
        # The folder may have moved, with the same files; or other files may have the same names.
        for sample in samples:
            known = done.get(sample.name)
            if known and known.image and known.image != fingerprint(sample.image):
                return f"of the images in {old.get(IMAGES_KEY)}"
    return None


def difference(old: dict, new: dict) -> str | None:
    """Describe the first of the differences that may change the output, and count the others.

    Args:
        old: record of the earlier run.
        new: record of this run.

    Returns:
        The description; None without a difference.
    """
    in_both = [key for key in _IF_KNOWN if key in old and key in new]
    before, now = (identity(one) | {key: one[key] for key in in_both} for one in (old, new))
    different = [key for key in before | now if before.get(key) != now.get(key)]
    if not different:
        return None
    key, more = different[0], len(different) - 1
    text = f"its {key} is {_short(before.get(key))}, not {_short(now.get(key))}"
    return text + (f", and {more} more" if more else "")


def check_no_test(output: Path) -> None:
    """Raise an :class:`InputError` if a folder is a file, or holds the results of a test script."""
    if output.exists() and not output.is_dir():
        raise InputError(output, "is a file", "choose another output")
    if (output / PROTOCOL_FILE).exists():
        raise InputError(output, "holds the results of a test script", "choose another output")


def write_scores(
    output: Path,
    protocol: Stamp,
    records: Sequence[ImageRecord],
    summaries: dict[str, Summary],
    what: str,
    *,
    tables: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write the scores of predictions that other code has made, with the records of all images.

    Args:
        output: the folder.
        protocol: the protocol stamp.
        records: the record of each image.
        summaries: the scores by label kind.
        what: what was scored, for the error: ``"masks"``.
        tables: further text files, by name.
        overwrite: whether to delete other scores that are there.

    Raises:
        InputError: the folder holds other scores, or another process is writing there.
    """
    with owned(output):
        if (output / SCORES_FILE).is_file() and not overwrite:
            stamps = (read_result(output).protocol, protocol)
            # Both are compared in the form that a reader of the files gets.
            other = difference(*(json.loads(json.dumps(one.to_json())) for one in stamps))
            if other:
                raise InputError(
                    output,
                    f"holds the scores of other {what} ({other})",
                    "choose another output folder, or give overwrite=True to delete them",
                )
        # The folder must never hold new counts beside old scores.
        _remove(output, _RESULTS)
        with replacing(output / RECORDS_FILE) as partial:
            partial.write_text("".join(record.to_json() + "\n" for record in records))
        for name, text in (tables or {}).items():
            with replacing(output / name) as partial:
                partial.write_text(text, encoding="utf-8")
        write_results(output, protocol, summaries)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_done(mask: Path, sample: Sample, done: dict[str, ImageRecord]) -> bool:
    """Tell whether a mask was predicted from the image file as it is now."""
    record = done.get(sample.name)
    if record is None:
        return False
    if record.image:
        return record.image == fingerprint(sample.image)
    # Records of older versions have no fingerprint.
    is_newer = mask.stat().st_mtime >= sample.image.stat().st_mtime
    return is_newer and image_size(mask) == sample.size


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
