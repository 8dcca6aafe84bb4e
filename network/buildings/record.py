"""What has been done in a work folder, and with which settings."""

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
        name: of its record, and of ``run_chain.py --only NAME``.
        run: does what is missing and tells what it found.
        keys: settings that its result depends on.
        needs: steps whose results it reads.
        outputs: what it makes, files and folders.
        parts: files of the result that must be there; by default the outputs.
        inputs: what else its result depends on, as far as it can be told now.
        is_first: whether all others build on it, so that it never begins anew.
        always: run it each time.
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
        """Whether nothing of the result is missing."""
        parts = self.parts(work) if self.parts else self.outputs(work)
        return all(path.exists() for path in parts)

    def existing(self, work: Work) -> list[Path]:
        """Those of the outputs that there are."""
        return [path for path in self.outputs(work) if path.exists()]


@dataclass(frozen=True)
class Record:
    """What is known of one step.

    Attributes:
        settings: by key, and when the steps that it needs were made.
        made: when it began, which names its result.
        done: whether it ended.
        results: what it measured.
    """

    settings: dict
    made: str
    done: bool = False
    results: dict = field(default_factory=dict)

    def fits(self, settings: dict) -> bool:
        """Whether it was made with these settings, as far as they are known."""
        return all(self.settings.get(key) == value for key, value in settings.items())


def run_step(step: Step, work: Work) -> dict:
    """Do what is not done of a step; returns what it found.

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
        if not step.existing(work):
            _restore(step, work)
        raise
    _write(step, work, replace(record, done=True, results=results))
    shutil.rmtree(_aside(step, work), ignore_errors=True)
    found = ", ".join(f"{key} {value}" for key, value in results.items())
    print(f"{step.name}: done" + (f" ({found})" if found else ""))
    return results


def read_record(name: str, work: Work) -> Record | None:
    """The record of a step; None if it was never begun.

    Raises:
        InputError: the file is damaged.
    """
    return _read(_path(name, work))


def record_of(name: str, work: Work) -> Record:
    """The record of a step that was begun.

    Raises:
        InputError: the file is damaged, or gone.
    """
    record = read_record(name, work)
    if record is None:
        raise InputError(f"{_path(name, work)}", "missing", "repeat the step")
    return record


def _read(path: Path) -> Record | None:
    try:
        record = Record(**read_json(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(path, f"unreadable ({error})", "delete it, and repeat the step") from error
    if not (isinstance(record.settings, dict) and isinstance(record.results, dict)):
        raise InputError(path, "no record of a step", "delete it, and repeat the step")
    return record


def is_current(step: Step, work: Work) -> bool:
    """Whether a step and all that it needs are done with the settings of the chain."""
    record = read_record(step.name, work)
    if record is None or not record.done:
        return False
    return all(is_current(need, work) for need in step.needs) and record.fits(_expected(step, work))


def _expected(step: Step, work: Work) -> dict:
    """The settings of a step whose needs are done."""
    settings = settings_of(work.chain, step.keys)
    settings |= step.inputs(work) if step.inputs else {}
    for need in step.needs:
        settings[f"{need.name} of"] = record_of(need.name, work).made
    return settings


def _begin(step: Step, work: Work) -> Record:
    """The record of a step that goes on, or of one that begins anew since something changed.

    Old outputs are put aside until the new ones are whole.
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
            outputs[0], f"not made by {step.name}", "choose another work, or move it away"
        )
    if record is not None and not is_lost:
        changed = [k for k in settings if record.settings.get(k) != settings[k]]
        if step.is_first and (record.done or outputs):
            raise InputError(
                work.folder,
                f"was made with {changed[0]}={record.settings.get(changed[0])}, not "
                f"{settings[changed[0]]}",
                "choose another work, or delete it",
            )
        print(f"{step.name}: anew, since it has other {', '.join(changed)}")
    aside = _read(_aside(step, work) / _RECORD)
    if aside is not None and aside.fits(settings):
        # Of a change that was taken back before it was done.
        for path in outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        _restore(step, work)
        return aside
    # First of all: files of the old settings must never be taken for those of the new.
    if record is not None and not is_lost:
        _put_aside(step, work, record)
    fresh = Record(settings, datetime.now().strftime("%Y%m%d_%H%M%S_%f"))
    _write(step, work, fresh)
    return fresh


_RECORD = "record.json"


def _aside(step: Step, work: Work) -> Path:
    """Where the old outputs of a step lie until it is done anew."""
    return work.folder / "steps" / f".{step.name}.old"


def _put_aside(step: Step, work: Work, record: Record) -> None:
    aside = _aside(step, work)
    if not record.done and (aside / _RECORD).is_file():
        # What lies there was whole; what there is now was only begun.
        for path in step.existing(work):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    shutil.rmtree(aside, ignore_errors=True)
    for path in step.existing(work):
        _move(path, aside / path.relative_to(work.folder))
    _write_json(aside / _RECORD, record)


def _restore(step: Step, work: Work) -> None:
    """Give a step back what was put aside; without that, let it be as if it had never begun."""
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
