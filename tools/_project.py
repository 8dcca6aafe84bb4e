"""Let a tool find the project, whether it is installed or only unpacked."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from network.errors import run_command

__all__ = ["run_command"]
