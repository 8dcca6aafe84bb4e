"""Ctrl-C and SIGTERM at any moment of a command, as real processes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, heed_interrupts
from tests.datasets.test_workers import members, wait_until

pytestmark = pytest.mark.slow

COMMANDS = {
    "train": ["train.py", "-c", str(ROOT / "config/vaihingen/bicor.py")],
    "demo": ["tools/make_demo_data.py", "--output", "demo", "--scenes-train", "200"],
    "chain": ["tools/weak/run_chain.py", "-c", str(ROOT / "config/weak/potsdam.py"), "--work", "w"],
}


def heeds_sigterm(pid: int) -> bool:
    """Whether a process has come to its own first line, which says what SIGTERM does."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", COMMANDS)
def test_interrupted_at_any_moment(tmp_path, name, number):
    for seed, longest in enumerate((0, 0.5, 3)):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / COMMANDS[name][0]), *COMMANDS[name][1:]],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed_interrupts,
        )
        wait_until(lambda pid=process.pid: heeds_sigterm(pid))
        time.sleep(random.Random(seed).uniform(0, longest))
        ended_before = process.poll() is not None
        process.send_signal(number)
        _, text = process.communicate(timeout=30)
        assert "Traceback" not in text
        assert process.returncode in ((130, 2) if name in ("train", "chain") else (130,))
        if process.returncode == 130:
            assert not ended_before
            assert text.splitlines()[-1] == "interrupted"
        wait_until(lambda group=process.pid: not members(group), 10)
    assert not list(tmp_path.rglob(".*"))


def test_what_is_ignored_stays_ignored(tmp_path):
    """As of jobs that a shell has put into the background."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/make_demo_data.py"), "--scenes-train", "1"],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    wait_until(lambda: heeds_sigterm(process.pid))
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0


def test_output_that_nobody_reads(tmp_path):
    """``python test_... | head``: one line at most, and no traceback at the exit."""
    reads, writes = os.pipe()
    os.close(reads)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); " + (
        "from network.errors import run_command; run_command(print, 'x' * 100)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, text=True
    )
    os.close(writes)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "Broken pipe" in ended.stderr
