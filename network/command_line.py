"""What the command lines have in common."""

import argparse


def command_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows the docstring of its script as it was written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
