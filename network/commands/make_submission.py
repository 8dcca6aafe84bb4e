"""Pack predicted masks as LoveDA's or UAVid's test server expects them.

For the arguments, see ``tools/make_submission.py``.
"""

import argparse
from pathlib import Path

from network.commands.arguments import command_parser, execute
from network.errors import InputError
from network.evaluation.submission import SERVERS, check_submission, write_submission


def main(description: str) -> None:
    """Parse the command line and write or check a submission."""
    execute(make_parser(description), run, overrides=False)


def run(args: argparse.Namespace) -> None:
    """Run the command with its parsed arguments."""
    server = SERVERS[args.data_set]
    root = args.data_root or Path(server.info.root)
    if args.check:
        count = check_submission(server, root, args.check, args.any_count)
        print(f"{args.check}: {count} masks, as the server expects them")
        return
    if not (args.predictions and args.output):
        raise InputError("give the folder of the masks and -o, or --check ZIP")
    count = write_submission(server, root, args.predictions, args.output, args.any_count)
    print(f"{args.output}: {count} masks, checked against {root}")


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = command_parser(description)
    add = parser.add_argument
    add("data_set", choices=SERVERS)
    add(
        "predictions", type=Path, nargs="?", help="folder of the masks; for uavid with seqN/Labels/"
    )
    add("-o", "--output", type=Path, help="zip to write; for uavid also a new folder")
    add("--check", type=Path, metavar="ZIP", help="check this zip, write nothing")
    add("--data-root", type=Path, help="folder of the data (default: data/LoveDA, data/uavid)")
    add("--any-count", action="store_true", help="accept an incomplete Test folder")
    return parser
