"""Command lines as processes of their own, which start in a tenth of a second.

They are forked from a process that has imported torch and the like, see
:mod:`tests.command_server`. Whatever is about the start of Python itself, such as ``PYTHONPATH``,
needs a process of :mod:`subprocess`; ``tests/test_starts.py`` starts each script so.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.conftest import ROOT


class Command:
    """A command that runs, with the methods of :class:`subprocess.Popen` that the tests use.

    Args:
        script: below the root of the repository.
        env: the environment (default: that of the tests).
        start_new_session: the command leads a session, and a process group, of its own.
    """

    def __init__(
        self,
        script: str | Path,
        *args: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
    ):
        self.args = [str(ROOT / script), *map(str, args)]
        self.returncode: int | None = None
        request = {
            "argv": self.args,
            "cwd": str(cwd),
            "env": dict(os.environ if env is None else env),
            "session": start_new_session,
        }
        self._out, self._err = (os.fdopen(os.memfd_create("stream"), "rb") for _ in range(2))
        status, theirs = os.pipe()
        self._status = os.fdopen(status)
        streams = [self._out.fileno(), self._err.fileno(), theirs]
        socket.send_fds(_server(), [json.dumps(request).encode()], streams)
        os.close(theirs)
        self.pid = int(self._status.readline())

    @property
    def stdout(self) -> str:
        """The output so far."""
        return _content(self._out)

    @property
    def stderr(self) -> str:
        """The errors so far."""
        return _content(self._err)

    def poll(self) -> int | None:
        """The exit code; None while the command runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when the command has ended."""
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._status.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end of the command; return its output and its errors."""
        self.wait(timeout)
        return self.stdout, self.stderr

    def send_signal(self, number: int) -> None:
        """Send a signal to a command that runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> socket.socket:
    """The connection to the server of this process, which is started when it is first needed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen(
        [sys.executable, str(ROOT / "tests/command_server.py"), str(theirs.fileno())],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()
    return ours


def _content(file) -> str:
    # Not through the file's position, which is the command's too.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()


def run(script: str | Path, *args: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    """Run a command to its end."""
    command = Command(script, *args, cwd=cwd)
    out, err = command.communicate()
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)


def succeed(script: str | Path, *args: str | Path, cwd: Path) -> str:
    """The output of a command that ends with exit code 0."""
    result = run(script, *args, cwd=cwd)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def written(cwd: Path) -> set[Path]:
    """All but the data, and what Python keeps of a config that it has read."""
    return {path for path in cwd.rglob("*") if not {"data", "__pycache__"} & set(path.parts)}


def error_of(script: str | Path, *args: str | Path, cwd: Path) -> str:
    """The one line of a run that ends with exit code 2 and writes nothing."""
    before = written(cwd)
    result = run(script, *args, cwd=cwd)
    assert result.returncode == 2, result.stderr[-3000:]
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert written(cwd) == before
    return errors[0]
