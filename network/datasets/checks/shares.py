"""Table of the share of each class in the splits of a data set."""

from collections.abc import Sequence

from rich.table import Table

from network.console import text_console
from network.datasets.schema import DatasetInfo


def print_shares(
    info: DatasetInfo,
    headings: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Sequence[int]]],
    *,
    ignored: bool = True,
) -> None:
    """Print one row for each split with the share of each class in the valid pixels.

    Args:
        info: description of the data set.
        headings: headings of the first columns.
        rows: for each split, the cells of the first columns and the number of pixels of each
            label, with the ignored ones last.
        ignored: whether ignored pixels were counted; otherwise the last number is left out.
    """
    table = Table(title=f"{info.name}: share of the classes in the valid pixels, %")
    for heading in (*headings, *info.classes, *(["ignored, of all"] if ignored else [])):
        table.add_column(heading, justify="right")
    for cells, pixels in rows:
        classes = pixels[: info.num_classes]
        valid = sum(classes)
        shares = [_percent(count, valid) for count in classes]
        shares += [_percent(pixels[-1], valid + pixels[-1])] if ignored else []
        table.add_row(*cells, *shares)
    text_console(140).print(table)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f}" if whole else "-"
