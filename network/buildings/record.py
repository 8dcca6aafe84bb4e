"""Records of the steps that were done in a work folder, with their settings."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from network.buildings.settings import settings_of
from network.buildings.work import Work
from network.errors import InputError
from network.writing import read_json, replacing


@dataclass(frozen=True)
class Step:
    """One step of a chain.

    Attributes:
        name: name of the step, of its record and for ``run_chain.py --only NAME``.
        run: function that does what is missing and returns its results.
        keys: settings on which the result depends.
        needs: steps whose results it reads.
        outputs: function that lists the files and folders that it makes.
        parts: function that lists the files of a complete result; by default the outputs.
        inputs: function that returns what else the result depends on.
        is_first: whether all other steps build on it, so it never starts again.
        always: whether it runs each time.
    """

    name: str
    run: Callable[[Work], dict]
    keys: Sequence[str]
    needs: Sequence["Step"]
    outputs: Callable[[Work], Sequence[Path]]
    parts: Callable[[Work], Iterable[Path]] | None = None
    inputs: Callable[[Work], dict] | None = None
    is_first: bool = False
    always: bool = False

    def is_whole(self, work: Work) -> bool:
        """Tell whether no file of the result is missing."""
        parts = self.parts(work) if self.parts else self.outputs(work)
        return all(path.exists() for path in parts)

    def existing(self, work: Work) -> list[Path]:
        """List the outputs that exist."""
        return [path for path in self.outputs(work) if path.exists()]


@dataclass(frozen=True)
class Record:
    """The record of one step.

    Attributes:
        settings: settings of the step by key, and the times (``made``) of the steps that it needs.
        made: time when the step began; it also identifies its result for later steps.
        done: whether the step is complete.
        results: results of the step.
    """

    settings: dict
    made: str
    done: bool = False
    results: dict = field(default_factory=dict)

    def fits(self, settings: dict) -> bool:
        """Tell whether the step was run with these settings."""
        return all(self.settings.get(key) == value for key, value in settings.items())


def run_step(step: Step, work: Work) -> dict:
    """Run a step, or what is missing of it, and return its results.

    Raises:
        InputError: a step that it needs is not done with these settings, or its input cannot be
            used.
    """
    record = _begin(step, work)
    if record.done and not step.always and step.is_whole(work):
        print(f"{step.name}: done already")
        return record.results
    record = replace(record, done=False)
    _write(step, work, record)
    try:
        results = step.run(work)
    except InputError:
        # A step without outputs may have a training elsewhere, which its record names.
        if step.outputs(work) and not step.existing(work):
            _restore(step, work)
        raise
    _write(step, work, replace(record, done=True, results=results))
    shutil.rmtree(_aside(step, work), ignore_errors=True)
    found = ", ".join(f"{key} {value}" for key, value in results.items())
    print(f"{step.name}: done" + (f" ({found})" if found else ""))
    return results


def read_record(name: str, work: Work) -> Record | None:
    """Read the record of a step; None if the step has never begun.

    Raises:
        InputError: the file is damaged.
    """
    return _read(_path(name, work))


def record_of(name: str, work: Work) -> Record:
    """Read the record of a step that has begun.

    Raises:
        InputError: the file is damaged or missing.
    """
    record = read_record(name, work)
    if record is None:
        raise InputError(f"{_path(name, work)}", "missing", "repeat the step")
    return record


_REMEDY = "delete it and what the step has made, and repeat the step"


def _read(path: Path) -> Record | None:
    try:
        record = Record(**read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, f"unreadable ({error})", _REMEDY) from error
    if not (isinstance(record.settings, dict) and isinstance(record.results, dict)):
        raise InputError(path, "no record of a step", _REMEDY)
    return record


def is_current(step: Step, work: Work) -> bool:
    """Tell whether a step, and all steps that it needs, are done with the chain's settings."""
    record = read_record(step.name, work)
    if record is None or not record.done:
        return False
    return all(is_current(need, work) for need in step.needs) and record.fits(_expected(step, work))


def _expected(step: Step, work: Work) -> dict:
    """Collect the settings that the record of a step should have."""
    settings = settings_of(work.chain, step.keys)
    settings |= step.inputs(work) if step.inputs else {}
    for need in step.needs:
        settings[f"{need.name} of"] = record_of(need.name, work).made
    return settings


def _begin(step: Step, work: Work) -> Record:
    """Return the record of a step that goes on, or that starts again since settings changed.

    Old outputs are moved aside until the new ones are complete.
    """
    for need in step.needs:
        if not is_current(need, work):
            raise InputError(
                work.folder,
                f"{need.name}, which comes before {step.name}, is not done with these settings",
                f"run 'python tools/weak/run_chain.py -c {work.chain.config} --work "
                f"{work.folder} --only {need.name}' first, with the same settings and flags",
            )
    settings, record = _expected(step, work), read_record(step.name, work)
    outputs = step.existing(work)
    is_lost = record is not None and record.done and not outputs and bool(step.outputs(work))
    if record is not None and record.fits(settings) and not is_lost:
        return record
    if record is None and outputs:
        raise InputError(
            outputs[0], f"not made by {step.name}", "choose another work folder, or move it away"
        )
    if record is not None and not is_lost:
        changed = [k for k in settings if record.settings.get(k) != settings[k]]
        if step.is_first and (record.done or outputs):
            raise InputError(
                work.folder,
                f"was made with {changed[0]}={record.settings.get(changed[0])}, not "
                f"{settings[changed[0]]}",
                "choose another work folder, or delete this one",
            )
        print(f"{step.name}: starts again, since it has other {', '.join(changed)}")
    aside = _read(_aside(step, work) / _RECORD)
    if aside is not None and aside.fits(settings):
        # The user went back to the old settings before the new result was complete.
        for path in outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _restore(step, work)
        return aside
    # This comes first, so files of the old settings are never taken for those of the new ones.
    if record is not None and not is_lost:
        _put_aside(step, work, record)
    fresh = Record(settings, datetime.now().strftime("%Y%m%d_%H%M%S_%f"))
    _write(step, work, fresh)
    return fresh


_RECORD = "record.json"


def _aside(step: Step, work: Work) -> Path:
    """Return the folder that keeps the old outputs of a step until the new ones are complete."""
    return work.folder / "steps" / f".{step.name}.old"


def _put_aside(step: Step, work: Work, record: Record) -> None:
    aside = _aside(step, work)
    if not record.done and (aside / _RECORD).is_file():
        # The outputs there were complete, but the present ones were only begun.
        for path in step.existing(work):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    shutil.rmtree(aside, ignore_errors=True)
    for path in step.existing(work):
        _move(path, aside / path.relative_to(work.folder))
    _write_json(aside / _RECORD, record)


def _restore(step: Step, work: Work) -> None:
    """Move the old outputs of a step back; if there are none, delete its record."""
    aside = _aside(step, work)
    record = _read(aside / _RECORD)
    if record is None:
        _path(step.name, work).unlink(missing_ok=True)
        return
    for path in step.outputs(work):
        if (aside / path.relative_to(work.folder)).exists():
            _move(aside / path.relative_to(work.folder), path)
    _write(step, work, record)
    shutil.rmtree(aside)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _path(name: str, work: Work) -> Path:
    return work.folder / "steps" / f"{name}.json"


def _write(step: Step, work: Work, record: Record) -> None:
    _write_json(_path(step.name, work), record)


def _write_json(path: Path, record: Record) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(vars(record), indent=2) + "\n", encoding="utf-8")
