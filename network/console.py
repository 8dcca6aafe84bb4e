"""The terminal that tables are printed to."""

from rich.console import Console


def text_console(width: int = 0) -> Console:
    """Make a console that prints text as it is: names of classes may have brackets and colons.

    Args:
        width: smallest width in columns. In a narrower terminal whole lines wrap, so cells stay
            readable, also in files.
    """
    console = Console(markup=False, emoji=False)
    console.width = max(width, console.width)
    return console
