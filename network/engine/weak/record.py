"""What has been done in a work folder, and with which settings."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from network.datasets.files import replacing
from network.engine.weak.work import Work
from network.errors import InputError
from network.weak.chain import settings_of


@dataclass(frozen=True)
class Step:
    """One step of a chain.

    Attributes:
        name: of its record and of its command under ``tools/weak/``.
        run: does what is missing and tells what it found; gets the time that names its result.
        keys: settings that its result depends on.
        needs: steps whose results it reads.
        outputs: what it makes, files and folders.
        missing: what of that is not there.
        is_first: whether all others build on it, so that it never begins anew.
    """

    name: str
    run: Callable[[Work, str], dict]
    keys: Sequence[str]
    needs: Sequence["Step"]
    outputs: Callable[[Work], Sequence[Path]]
    missing: Callable[[Work], Iterable[Path]]
    is_first: bool = False


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


def run_step(step: Step, work: Work) -> dict:
    """Do what is not done of a step; returns what it found.

    Raises:
        InputError: a step that it needs is not done with these settings, or its input cannot be
            used.
    """
    before = read_record(step.name, work)
    record = _begin(step, work)
    if record.done and not any(True for _ in step.missing(work)):
        print(f"{step.name}: done already")
        return record.results
    try:
        results = step.run(work, record.made)
    except InputError:
        if before is not None and before != record:
            _restore(step, work, before)
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
    path = _path(name, work)
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: unreadable ({error}); delete it, and repeat the step") from error


def is_current(step: Step, work: Work) -> bool:
    """Whether a step and all that it needs are done with the settings of the chain."""
    record = read_record(step.name, work)
    if record is None or not record.done:
        return False
    return all(is_current(need, work) for need in step.needs) and (
        record.settings == _expected(step, work)
    )


def _expected(step: Step, work: Work) -> dict:
    """The settings of a step whose needs are done."""
    settings = settings_of(work.chain, step.keys)
    for need in step.needs:
        settings[f"{need.name} of"] = read_record(need.name, work).made
    return settings


def _begin(step: Step, work: Work) -> Record:
    """The record of a step that goes on, or of one that begins anew since something changed.

    Old outputs are put aside.
    """
    for need in step.needs:
        if not is_current(need, work):
            raise InputError(
                f"{work.folder}: {need.name}, which comes before {step.name}, is not done with "
                f"these settings; run 'python tools/weak/{need.name}.py -c {work.chain.config} "
                f"--work {work.folder}' first, with all key=value settings"
            )
    settings, record = _expected(step, work), read_record(step.name, work)
    if record is not None and record.settings == settings:
        return record
    outputs = [path for path in step.outputs(work) if path.exists()]
    if record is None and outputs:
        raise InputError(
            f"{outputs[0]}: not made by {step.name}; choose another --work, or move it away"
        )
    if record is not None:
        changed = [k for k in settings if record.settings.get(k) != settings[k]]
        if step.is_first:
            raise InputError(
                f"{work.folder}: was made with {changed[0]}={record.settings.get(changed[0])}, not "
                f"{settings[changed[0]]}; choose another --work, or delete it"
            )
        print(f"{step.name}: anew, since it has other {', '.join(changed)}")
    # First of all: files of the old settings must never be taken for those of the new.
    aside = _aside(step, work)
    shutil.rmtree(aside, ignore_errors=True)  # of a step that was interrupted
    for path in outputs:
        _move(path, aside / path.relative_to(work.folder))
    fresh = Record(settings, datetime.now().strftime("%Y%m%d_%H%M%S_%f"))
    _write(step, work, fresh)
    return fresh


def _restore(step: Step, work: Work, record: Record) -> None:
    """Give a step that cannot run with other settings its old result back."""
    aside = _aside(step, work)
    for path in step.outputs(work):
        if path.is_dir():
            shutil.rmtree(path)
        if (aside / path.relative_to(work.folder)).exists():
            _move(aside / path.relative_to(work.folder), path)
    _write(step, work, record)
    shutil.rmtree(aside, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _aside(step: Step, work: Work) -> Path:
    """Where old outputs lie until the step is done anew."""
    return work.folder / "steps" / f".{step.name}.old"


def _path(name: str, work: Work) -> Path:
    return work.folder / "steps" / f"{name}.json"


def _write(step: Step, work: Work, record: Record) -> None:
    with replacing(_path(step.name, work)) as partial:
        partial.write_text(json.dumps(vars(record), indent=2) + "\n", encoding="utf-8")
