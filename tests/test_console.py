"""Tables in the terminal."""

from rich.table import Table

from network.console import text_console


def test_text_is_printed_as_it_is(capsys):
    """Brackets are markup and words between colons are pictures in rich's own console."""
    table = Table(title="the [bold]title[/bold]")
    table.add_column("house [old]")
    table.add_row("x [/old] :car:")
    text_console(60).print(table)
    printed = capsys.readouterr().out
    for text in ("[bold]title[/bold]", "house [old]", "x [/old] :car:"):
        assert text in printed


def test_width(capsys):
    table = Table("one", "x" * 150)
    text_console(170).print(table)
    assert "x" * 150 in capsys.readouterr().out
