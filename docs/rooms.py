"""The plan of the rooms under ``network/``, and its picture: ``python docs/rooms.py``."""

from pathlib import Path

FLOORS = (
    ("compat", "failures", "progress", "text_encoding"),
    ("factories", "memory", "console", "torch_arrays"),
    ("errors", "arrays"),
    ("extras", "settings", "writing"),
    ("overrides", "compute", "cluster"),
    ("rasters",),
    ("datasets", "models"),
    ("contracts", "losses", "points"),
    ("config",),
    ("differences", "card", "tta"),
    ("prediction",),
    ("exported", "predictor"),
    ("evaluation",),
    ("explanation", "export", "maps", "training"),
    ("reporting", "serving", "buildings"),
    ("benchmark",),
    ("studies",),
    ("commands",),
)
"""From the ground up. A room imports rooms that stand before it, and none in its own line."""

SCRIPTS = ("train.py", "test_*.py", "predict.py", "serve.py", "tools/")

COLORS = {"config": "#f5e3a1", "commands": "#f9d2a8"}
"""Colors of the two floors that every user meets; the others are gray or blue."""

PICTURE = Path(__file__).with_name("architecture.png")


def plan() -> str:
    """The floors as text, from the top; the picture keeps it, which shows whether it is current."""
    return "\n".join(" ".join(floor) for floor in (SCRIPTS, *reversed(FLOORS)))


def draw(path: Path) -> None:
    """Draw one row of boxes a floor, from the scripts at the top down to the ground."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    rows = (SCRIPTS, *reversed(FLOORS))
    figure = Figure(figsize=(8, 0.42 * len(rows)), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(0, 1), ylim=(len(rows), 0))
    axes.axis("off")
    for number, names in enumerate(rows):
        width = 1 / len(names)
        for place, name in enumerate(names):
            ground = "#dbe7f3" if number < rows.index(("rasters",)) else "#ececec"
            color = "#fde3cd" if names is SCRIPTS else COLORS.get(name, ground)
            corner = (place * width + 0.006, number + 0.14)
            style = "round,pad=0,rounding_size=0.008"
            axes.add_patch(
                FancyBboxPatch(
                    *(corner, width - 0.012, 0.66),
                    boxstyle=style,
                    mutation_aspect=20,
                    facecolor=color,
                    edgecolor="#777777",
                    linewidth=0.8,
                )
            )
            axes.text(
                (place + 0.5) * width,
                number + 0.47,
                name,
                ha="center",
                va="center",
                family="DejaVu Sans Mono",
                size=9 if len(names) > 6 else 10,
            )
        if number:
            axes.annotate(
                "",
                xy=(0.5, number + 0.14),
                xytext=(0.5, number - 0.2),
                arrowprops={"arrowstyle": "-|>", "color": "#777777", "linewidth": 0.8},
            )
    figure.savefig(path, metadata={"Description": plan()})


if __name__ == "__main__":
    draw(PICTURE)
