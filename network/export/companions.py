"""Files that lie beside an exported file and are made from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from network.exported.record import ExportRecord


class Companion(Protocol):
    """A file that appears together with an exported file, or not at all."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def check(self, record: ExportRecord) -> None:
        """Raise an :class:`network.errors.InputError` if the file cannot be made.

        Args:
            record: facts of the exported file, before it is written.
        """
        ...

    def write(self, partial: Path, files: Mapping[str, Path], record: ExportRecord) -> None:
        """Write the file.

        Args:
            partial: temporary path to write to.
            files: where the files of the exported network lie now, by their final names.
            record: facts of the exported file.
        """
        ...
