"""Try what stands on the pages: run the blocks that need nothing, check all others.

A block of a page that has no title is run. A title says what the block needs that is not there
(data, a GPU, minutes), or which file it is; such a command is checked: its script exists, takes
each of its flags, and its config each of its settings.
"""

import ast
import contextlib
import importlib
import io
import json
import re
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from docs.command_lines import main_of, parser_of
from network.commands import make_demo_data
from network.config import load_experiment
from network.errors import InputError
from tests.docs.markdown import Block, commands, inline_commands, split_page
from tests.scenes import make_dataset

OVERRIDE = re.compile(r"[a-z]\w*(\.\w+)*=")
OTHERS = {
    *("source", "cd", "export", "until", "sha256sum", "openssl", "chmod"),
    *("apt-get", "jupyter", "gdalbuildvrt"),
}
"""Commands of the system."""
DATA = ("config/demo/bicor.py", "config/drone/bicor.py", "config/fields/bicor.py")
"""Configs for which there are tiny images, so that commands with them can run."""
TOWN = [
    *("--georeferenced", "--output", "data/town", "--size", "384", "512"),
    *("--scenes-train", "2", "--scenes-val", "0", "--scenes-test", "0", "--seed", "3"),
]
"""Small scenes on Earth for the story of docs/own_data.md, with all classes in each split."""


class Problem(Exception):
    """Something on a page that does not work."""


@cache
def strict_parser(script: str) -> ArgumentParser:
    """The parser of a script; it takes no shortened flags."""
    if not Path(script).is_file():
        raise Problem(f"{script}: there is no such script")
    parser = parser_of(script)
    parser.allow_abbrev = False
    return parser


def check_request(words: list[str]) -> None:
    """Raise a :class:`Problem` if the service has no such address, or no answer of this type."""
    from network.serving.answers import TYPES

    app = Path("network/serving/service_app.py").read_text()
    for word in words:
        if word.startswith("http"):
            path = f"/{word.split('/', 3)[3].partition('?')[0]}"
            if f'"{path}"' not in app:
                raise Problem(f"curl: the service has no address {path}")
        name, _, value = word.partition(": ")
        if name == "Accept" and value not in TYPES:
            raise Problem(f"curl: the service gives no {value}")


def check_command(words: list[str]) -> None:
    """Raise a :class:`Problem` for a command that could not run, whatever data there are."""
    match words:
        case ["srun", "--overlap", *words] | ["srun", *words]:
            check_command(words)
        case ["dask", ("scheduler" | "worker") as name, *words]:
            module = importlib.import_module(f"distributed.cli.dask_{name}")
            known = {option for each in module.main.params for option in each.opts}
            for flag in (word for word in words if word.startswith("--")):
                if flag not in known:
                    raise Problem(f"dask {name}: it has no {flag}")
        case ["python" | "python3", "-m", "venv", _]:
            pass
        case ["python", script] if script.startswith("docs/notebooks/"):
            check_files([script])
        case ["python", script, *words]:
            check_script(script, words)
        case ["make", target]:
            if f"\n{target}:" not in Path("Makefile").read_text():
                raise Problem(f"make {target}: the Makefile has no such target")
        case ["pip", "install", *words]:
            check_files(word for flag, word in pairwise(words) if flag == "-r")
        case ["pytest", path, "-k", expression]:
            check_files([path])
            for name in set(expression.split()) - {"or", "and", "not"}:
                if not re.search(rf"def test_\w*{name}", Path(path).read_text()):
                    raise Problem(f"{path}: no test is named '{name}'")
        case ["curl", *words]:
            check_request(words)
        case [name, *_] if name in OTHERS:
            pass
        case _:
            raise Problem(f"{' '.join(words)}: nobody knows how to check this")


def check_files(paths: Iterator[str] | list[str]) -> None:
    for path in paths:
        if not Path(path).is_file():
            raise Problem(f"{path}: there is no such file")


def check_script(script: str, words: list[str]) -> None:
    parser = strict_parser(script)
    takes_overrides = any(action.dest == "overrides" for action in parser._actions)
    overrides = [word for word in words if takes_overrides and OVERRIDE.match(word)]
    parse = parser.parse_intermixed_args if takes_overrides else parser.parse_args

    def fail(message: str) -> None:
        raise Problem(f"{script}: {message}")

    if words == ["--help"]:
        return
    with patch.object(parser, "error", fail):
        args = parse([word for word in words if word not in overrides])
    configs = getattr(args, "config", None) or []
    if overrides and not configs:
        raise Problem(f"{script}: there is no config to check {overrides} with")
    module = sys.modules[main_of(script)[0].__module__]
    load = getattr(module, "load_chain", load_experiment)
    for config in configs if isinstance(configs, list) else [configs]:
        try:
            load(config, overrides)
        except InputError as error:
            raise Problem(str(error)) from error


def run_command(words: list[str]) -> None:
    """Run a script in this process, where torch has been imported already."""
    python, script, *rest = words
    if python != "python":
        raise Problem(f"{' '.join(words)}: only scripts are run; give the block a title")
    main, args = main_of(script)
    output = io.StringIO()
    try:
        with (
            patch.object(sys, "argv", [script, *rest]),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            main(*args)
    except SystemExit as ended:
        if ended.code:
            raise Problem(
                f"{' '.join(words)}: ended with {ended.code}\n{output.getvalue()}"
            ) from None
    except Exception:
        raise Problem(f"{' '.join(words)}: {traceback.format_exc()}\n{output.getvalue()}") from None


def check_python(block: Block) -> None:
    """It is Python, and what it imports exists; without a title it runs."""
    try:
        tree = ast.parse(block.text)
    except SyntaxError as error:
        raise Problem(f"no Python: {error}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("network"):
            try:
                module = importlib.import_module(node.module)
            except ImportError as error:
                raise Problem(f"{node.module}: {error}") from error
            for name in node.names:
                if not hasattr(module, name.name):
                    raise Problem(f"{node.module} has no '{name.name}'")
    if not block.title:
        exec(compile(tree, "page", "exec"), {})


def try_block(block: Block) -> None:
    """Raise a :class:`Problem` for what does not work."""
    if block.language == "python":
        check_python(block)
    if block.language == "bash":
        for words in commands(block.text):
            check_command(words)
            if not block.title:
                run_command(words)


def write_files(pages: list[list[Block]]) -> None:
    """The files that the pages tell to write."""
    for block in (block for blocks in pages for block in blocks):
        if block.language == "python" and re.fullmatch(r"[\w/]+\.py", block.title):
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text + "\n", encoding="utf-8")


def main(names: list[str]) -> dict[str, list[str]]:
    """What does not work, by page. The current folder is a copy of the repository."""
    pages = {name: split_page(Path(name).read_text(encoding="utf-8")) for name in names}
    write_files([blocks for _, blocks in pages.values()])
    for config in DATA:
        experiment = load_experiment(config)
        counts = {"train": 8, "val": 2, "test": 2}
        make_dataset(experiment.root, experiment.dataset, counts, ((96, 96),))
    make_demo_data.run(make_demo_data.make_parser("").parse_args(TOWN))
    problems: dict[str, list[str]] = {name: [] for name in names}
    for name, (prose, blocks) in pages.items():
        inline = [(line, partial_check(words)) for line, words in inline_commands(prose)]
        tried = [(block.line, partial_try(block)) for block in blocks]
        problems[name] += [f"line {line}: {text}" for line, text in inline + tried if text]
    return problems


def partial_check(words: list[str]) -> str:
    """The problem of a command within a sentence, if it has one."""
    try:
        check_command(words)
    except Problem as problem:
        return str(problem)
    return ""


def partial_try(block: Block) -> str:
    """The problem of a block, if it has one."""
    try:
        try_block(block)
    except Problem as problem:
        return str(problem)
    return ""


if __name__ == "__main__":
    # As if there were one core: tools work within this process then, and import torch only once.
    with patch("os.sched_getaffinity", lambda _: {0}):
        found = main(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(found))
