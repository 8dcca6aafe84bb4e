"""Reading the pages: blocks of code, commands in them, headings, links."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r'^```(?P<language>\w*)(?: title="(?P<title>[^"]*)")?\s*$')
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_LOOP = re.compile(r"^for (\w+) in ([^;]+); do\n(.*?)^done$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        line: number of its first line in the page.
        title: what it needs, or the file that it is; empty: it needs nothing.
    """

    language: str
    title: str
    text: str
    line: int


def split_page(text: str) -> tuple[list[str], list[Block]]:
    """The lines that are no code, code lines being empty, and the blocks of code."""
    prose, blocks = [], []
    head, code = None, []
    for number, line in enumerate(text.splitlines(), start=1):
        if head is None:
            head = _FENCE.match(line)
            start, code = number + 1, []
            prose.append("" if head else line)
            assert head or not line.startswith("```"), f"line {number}: {line}"
            continue
        prose.append("")
        if line == "```":
            text = "\n".join(code)
            blocks.append(Block(head["language"], head["title"] or "", text, start))
            head = None
        else:
            code.append(line)
    assert head is None, f"line {start}: a block without an end"
    return prose, blocks


def commands(text: str) -> list[list[str]]:
    """The words of each command of a block, loops unrolled."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = _LOOP.sub(_unrolled, text)
    found = []
    for line in text.splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                found.append(words)
                words = []
    return found


def _unrolled(loop: re.Match) -> str:
    name, values, body = loop.groups()
    return "".join(re.sub(rf"\$(?:{name}\b|{{{name}}})", v, body) for v in values.split())


def inline_commands(prose: list[str]) -> list[tuple[int, list[str]]]:
    """Line and words of the commands within sentences."""
    text = "\n".join(prose)
    found = []
    for match in re.finditer(r"`(python [^`]+\.py[^`]*)`", text):
        if not re.search(r"[A-Z]{4,}|\.\.\.", match[1]):  # SCRIPT and such
            found.append((text[: match.start()].count("\n") + 1, shlex.split(match[1])))
    return found


def links(prose: list[str]) -> list[str]:
    """Targets of links and pictures that lead to no other machine."""
    text = re.sub(r"`[^`]*`", "", "\n".join(prose))
    return [target for target in _LINK.findall(text) if not re.match(r"\w+://", target)]


def anchors(page: Path) -> set[str]:
    """Names of the headings, as the web pages of a repository and of mkdocs make them."""
    prose, _ = split_page(page.read_text(encoding="utf-8"))
    found = set()
    for line in prose:
        if heading := re.match(r"#+ (.*)", line):
            words = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(words.replace(" ", "-"))
    return found
