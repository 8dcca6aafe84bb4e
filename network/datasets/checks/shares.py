"""How much of each class a split holds, as a table."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from network.datasets.schema import DatasetInfo


def print_shares(
    info: DatasetInfo, headings: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[int]]]
) -> None:
    """Print one row a split: its own cells, then each class's share of the valid pixels.

    Args:
        headings: of the cells that come first.
        rows: those cells, and the split's pixels by label, the ignored ones last.
    """
    table = Table(title=f"{info.name}: share of the classes in the valid pixels, %")
    for heading in (*headings, *info.classes, "ignored, of all"):
        table.add_column(heading, justify="right")
    for cells, pixels in rows:
        *classes, ignored = pixels
        valid = sum(classes)
        shares = [_percent(count, valid) for count in classes]
        table.add_row(*cells, *shares, _percent(ignored, valid + ignored))
    # Too wide for a terminal, whole lines wrap: cells stay readable, in files too.
    Console(width=max(140, Console().width)).print(table)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if whole else "-"
