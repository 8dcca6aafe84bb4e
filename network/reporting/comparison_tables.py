"""Output of a comparison as Markdown, LaTeX (booktabs), CSV, and on the terminal."""

import csv
import io
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from network.evaluation.scores import overall_scores
from network.reporting.comparison import Cell, Comparison, Difference

_CSV_COLUMNS = (
    *("model", "runs", "seeds", "labels", "comparable"),
    *("score", "mean", "std", "low_95", "high_95", "protocol"),
)


def caption(comparison: Comparison) -> str:
    """Make the caption of a table: the shared protocol, and a warning if protocols differ."""
    # "classes" only matters if it differs: "mean over" names the classes that count.
    shared = [f"{key}: {v}" for key, v in comparison.protocol.items() if key != "classes"]
    text = f"{'; '.join(shared)}. Percent, mean ± sample standard deviation over runs."
    if comparison.differences:
        names = ", ".join(comparison.differences)
        text += f" ROWS ARE NOT COMPARABLE, their protocols differ: {names}."
    return text


def print_comparison(comparison: Comparison) -> None:
    """Print a comparison to the terminal."""
    table = Table(title=escape(caption(comparison)), title_justify="left")
    headings, rows = _text_rows(comparison, escape, lambda text: f"[bold]{text}[/bold]")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for row in rows:
        table.add_row(*row)
    # In a narrow terminal, whole lines wrap; that is easier to read than wrapped cells.
    Console(width=500, emoji=False).print(table)


def difference_lines(differences: Sequence[Difference]) -> list[str]:
    """Write the results of the paired bootstrap, as one sentence for each difference."""
    return [
        f"{d.other} - {d.one}: {d.score} {100 * d.difference:+.2f} points, {_interval(d)}"
        + ("." if d.is_clear or d.has_few else ": no clear difference.")
        for d in differences
    ]


def _interval(difference: Difference) -> str:
    if difference.interval is None:
        return f"no interval, too few {difference.unit} ({difference.count})"
    low, high = difference.interval
    span, over = f"{100 * low:+.2f} to {100 * high:+.2f}", f"{difference.count} {difference.unit}"
    if difference.has_few:
        return f"{span} in draws of {over}, which are too few for a 95 % interval"
    return f"95 % interval over {over} {span}"


def to_markdown(comparison: Comparison, notes: Sequence[str] = ()) -> str:
    """Convert a comparison to Markdown, with the caption above the table and ``notes`` below."""

    headings, rows = _text_rows(
        comparison, lambda text: text.replace("|", "\\|"), lambda text: f"**{text}**"
    )
    rule = ["---", *["---:"] * (len(headings) - 1)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows)]
    return "\n".join([caption(comparison), "", *lines, "", *(f"- {note}" for note in notes)]) + "\n"


def to_latex(comparison: Comparison, notes: Sequence[str] = ()) -> str:
    """Convert a comparison to a LaTeX ``table``, which needs the package booktabs."""
    headings, rows = _text_rows(comparison, _escape_latex, lambda text: f"\\textbf{{{text}}}")
    lines = [
        "\\begin{table}",
        f"\\caption{{{_escape_latex(' '.join([caption(comparison), *notes]))}}}",
        f"\\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}",
        "\\toprule",
        " & ".join(headings) + " \\\\",
        "\\midrule",
        *(" & ".join(row) + " \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(
    comparisons: Sequence[Comparison], differences: Sequence[Sequence[Difference]] = ()
) -> str:
    """Convert the comparisons of all label kinds to one CSV, with scores from 0 to 1.

    Args:
        comparisons: the comparisons.
        differences: differences for each comparison; each gets a row named as in
            ``mIoU - first``, with the ends of its interval.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for number, comparison in enumerate(comparisons):
        found = differences[number] if number < len(differences) else ()
        for row, model in enumerate(comparison.models):
            own = {key: values[row] for key, values in comparison.differences.items()}
            protocol = "; ".join(f"{k}: {v}" for k, v in {**comparison.protocol, **own}.items())
            seeds = " ".join(str(seed) for seed in model.seeds)
            head = [model.name, len(model.runs), seeds, comparison.kind]
            head.append(not comparison.differences)
            for column, cell in zip(comparison.columns, comparison.cells[row], strict=True):
                writer.writerow([*head, column, cell.mean, cell.std, None, None, protocol])
            for d in found:
                if d.other == model.name:
                    ends = d.interval or (None, None)
                    score = f"{d.score} - {d.one}"
                    writer.writerow([*head, score, d.difference, None, *ends, protocol])
    return file.getvalue()


def _text_rows(
    comparison: Comparison, escape: Callable[[str], str], bold: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    """Make the headings and the rows of cells, with the best mean of each column in bold."""
    known = overall_scores()
    columns = [known[c].heading if c in known else c for c in comparison.columns]
    headings = ["model", "runs", *columns]
    headings += comparison.differences
    rows = []
    for number, (model, cells) in enumerate(zip(comparison.models, comparison.cells, strict=True)):
        scores = [escape(_number(cell)) for cell in cells]
        scores = [
            bold(score) if best == number else score
            for score, best in zip(scores, comparison.best, strict=True)
        ]
        own = [escape(values[number]) for values in comparison.differences.values()]
        rows.append([escape(model.name), str(len(model.runs)), *scores, *own])
    return [escape(heading) for heading in headings], rows


def _number(cell: Cell) -> str:
    if cell.mean is None:
        return "-"
    mean = f"{100 * cell.mean:.2f}"
    return mean if cell.std is None else f"{mean} ± {100 * cell.std:.2f}"


def _escape_latex(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {
        "\\": "\\textbackslash{}",
        "~": "\\textasciitilde{}",
        "^": "\\textasciicircum{}",
        "±": "$\\pm$",
    }
    return "".join(special.get(character, character) for character in text)
