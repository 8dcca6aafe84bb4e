"""Small disks of their own, for tests of what happens when one is full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory at ``folder``; the test is skipped where nobody can mount one."""
    if os.geteuid():
        pytest.skip("only root can mount a disk")
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, option: str) -> None:
    """Change a mounted disk, as by ``"ro"`` or ``"size=1m"``."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)
