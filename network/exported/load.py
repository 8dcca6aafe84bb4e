"""Loading of exported files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from network.card import Card, parse_card
from network.datasets.schema import DatasetInfo
from network.datasets.windows import STRIDE
from network.errors import InputError
from network.exported.choice import Backend
from network.exported.engine import ExportedEngine
from network.exported.programs import PROGRAMS, Program, Run
from network.exported.record import QUANTIZED_BITS, ExportRecord
from network.prediction import OVERLAP, ImagePredictor, PredictionOptions
from network.writing import file_hash

ENDINGS = tuple(dict.fromkeys(e for program in PROGRAMS.values() for e in program.endings))
"""Endings of all exported files."""


def is_exported(path: str | Path) -> bool:
    """Tell by its ending whether a path names an exported file, not a checkpoint."""
    return Path(path).suffix in ENDINGS


@dataclass(frozen=True)
class ExportedNetwork:
    """An exported file that a program has opened.

    Attributes:
        path: the file.
        sha256: digest of the file, in hexadecimal; of an ``.xml`` file with its ``.bin`` file.
        record: the facts that it carries.
        card: the facts about its network.
        backend: name of the program, a key of :data:`network.exported.programs.PROGRAMS`.
        runtime: name and version of the program.
        precision: precision of the computation.
        engine: runs it.
    """

    path: Path
    sha256: str
    record: ExportRecord
    card: Card
    backend: str
    runtime: str
    precision: str
    engine: ExportedEngine

    def predictor(
        self,
        *,
        info: DatasetInfo | None = None,
        **options: Unpack[PredictionOptions],
    ) -> ImagePredictor:
        """Make a predictor.

        Args:
            info: description of images and classes; by default what the file knows of it.
            options: further arguments of :class:`network.prediction.ImagePredictor`. If the file
                takes images of one size, this is the default size of the patches.

        Raises:
            InputError: a value is out of range, or views need other sizes than the file takes.
        """
        fixed = self.engine.fixed_size
        if fixed and "patch" not in options:
            options["patch"] = fixed
            options.setdefault("overlap", min(OVERLAP, min(fixed) // 4))
        options.setdefault("ground_resolution", self.card.ground_resolution)
        predictor = ImagePredictor(self.engine, info or self.card.info, **options)
        self._check_views(options.get("tta", "none"), predictor)
        return predictor

    def _check_views(self, tta: str, predictor: ImagePredictor) -> None:
        """Raise an :class:`InputError` if the file cannot take all views of an image."""
        fixed, views = self.engine.fixed_size, predictor.views
        if fixed is None:
            return
        takes = f"{self.path.name} takes images of {fixed[0]} x {fixed[1]} pixels only"
        if views.scales != (1.0,):
            remedy = "use tta=dihedral, or export it without a fixed size"
            raise InputError(f"tta={tta}", f"resizes the images, and {takes}", remedy)
        if views.turns and fixed[0] != fixed[1]:
            remedy = "use tta=lr, or export it for squares"
            raise InputError(f"tta={tta}", f"turns the images, and {takes}", remedy)

    @property
    def identity(self) -> dict[str, Any]:
        """The facts that predictions depend on, beside those of the views."""
        return {
            "checkpoint_sha256": self.record.checkpoint_sha256,
            "exported_sha256": self.sha256,
            "format": self.record.format,
            "backend": self.backend,
            "precision": self.precision,
            **({"bits": QUANTIZED_BITS} if self.record.quantization else {}),
        }


def load_exported(path: str | Path, backend: Backend | None = None) -> ExportedNetwork:
    """Open an exported file.

    Args:
        path: the file: ``.onnx``, ``.xml`` or ``.pt2``.
        backend: the program that runs it; by default the first that can. Its precision is
            ``"32-true"``, or with OpenVINO also ``"bf16-mixed"``. Layers of 8 bits stay so.

    Raises:
        InputError: the program does not run such files or is not installed, the file cannot be
            opened, or it was not written by this project.
    """
    path, backend = Path(path), backend or Backend()
    name, program = find_program(path, backend.name)
    precision = backend.precision or program.precisions[0]
    if precision not in program.precisions:
        able = [key for key, p in PROGRAMS.items() if precision in p.precisions]
        raise InputError(
            f"precision={precision}",
            f"{program.package} computes exported files in {' or '.join(program.precisions)}",
            f"use backend={able[0]}" if able else "leave it out",
        )
    for needed in program.files(path):
        if not needed.is_file() and path.is_file():
            problem = f"no such file, and it has the weights of {path.name}"
            raise InputError(needed, problem, "keep the two files together")
        if not needed.is_file():
            raise InputError(needed, "no such file")
    program.check(f"backend={name}")
    run, text = _open(program, path, precision)
    if text is None:
        raise InputError(
            path, "does not say how it is used", "export the network by tools/export.py"
        )
    try:
        record = ExportRecord.from_json(text)
        card = parse_card(record.card)
        if (record.input.shape[1], record.output.shape[1]) != (card.bands, len(card.classes)):
            raise ValueError("its bands or classes are not those of its network")
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            path, f"its facts cannot be used ({reason})", "export the network again"
        ) from error
    engine = ExportedEngine(run, record, card, path.name)
    sha256 = file_hash(*program.files(path))
    return ExportedNetwork(path, sha256, record, card, name, program.runtime, precision, engine)


def window_problem(size: tuple[int, int] | None) -> str | None:
    """Say why a file cannot see the windows of a map; None if it can.

    Args:
        size: height and width of all images that the file takes; None if they may vary.
    """
    if size is None or (size[0] == size[1] and size[0] % STRIDE == 0):
        return None
    return f"takes {size[0]} x {size[1]} pixels, and windows are squares of multiples of {STRIDE}"


def check_windows(size: tuple[int, int] | None) -> None:
    """Raise an :class:`InputError` if a file cannot see windows, see :func:`window_problem`."""
    if problem := window_problem(size):
        raise InputError("the exported file", problem, "export it so")


def exported_card(path: Path, backend: Backend | None = None) -> Card:
    """Read the facts about the network of an exported file, see :func:`load_exported`."""
    return load_exported(path, backend).card


def find_program(path: Path, backend: str | None = None) -> tuple[str, Program]:
    """Find the program that runs a file.

    Args:
        path: the file.
        backend: name of the program; by default the first one that runs such files.

    Returns:
        The name and the program.

    Raises:
        InputError: the program does not run such files.
    """
    able = [name for name, program in PROGRAMS.items() if path.suffix in program.endings]
    if not able:
        raise InputError(path, f"is no exported file; these end in {', '.join(ENDINGS)}")
    name = backend or able[0]
    if name not in able:
        raise InputError(
            f"backend={name}", f"does not run {path.suffix} files", f"give {' or '.join(able)}"
        )
    return name, PROGRAMS[name]


def _open(program: Program, path: Path, precision: str) -> tuple[Run, str | None]:
    try:
        return program.open(path, precision)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each program has its own kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1][:200] if lines else type(error).__name__
        raise InputError(
            path, f"cannot be opened by {program.package} ({reason})", "export it again"
        ) from error
