"""Build steps of the site: add the help of every script, and plain names to docstrings."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.command_lines import help_of, scripts

MARKER = "<!-- the help of all scripts -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the helps where the page has their marker."""
    if MARKER not in markdown:
        return markdown
    sections = [f"## {script}\n\n```text\n{help_of(script)}```" for script in scripts()]
    return markdown.replace(MARKER, "\n\n".join(sections))


def on_page_content(html: str, **_: object) -> str:
    """Leave out the roles of Sphinx in docstrings: ``:class:`X``` is shown as a name."""
    return re.sub(r":(?:attr|class|data|func|meth|mod):(?=<code>)", "", html)
