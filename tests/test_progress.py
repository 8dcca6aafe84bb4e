"""Progress bars on a terminal and in a log file, seen from outside a real process."""

import os
import pty
import subprocess
import sys
import termios

from network.progress import no_progress_bars, progress_bar

COUNT = """
import sys
import time
from network import progress

progress.LINE_EVERY = float(sys.argv[1])
for _ in progress.progress_bar(range(20), desc="Counting", unit="sheep", leave=False):
    time.sleep(0.05)
"""


def test_a_log_gets_whole_lines_now_and_then_and_one_at_the_end():
    done = subprocess.run([sys.executable, "-c", COUNT, "0.4"], capture_output=True, check=True)
    text = done.stderr.decode()
    lines = text.splitlines()
    assert "\r" not in text
    assert 2 <= len(lines) <= 4  # of one second, a line every 0.4 seconds
    assert all(line.startswith("Counting: ") and "sheep" in line for line in lines)
    assert "20/20" in lines[-1]


def test_a_short_job_is_one_line_in_a_log():
    done = subprocess.run([sys.executable, "-c", COUNT, "30"], capture_output=True, check=True)
    assert done.stderr.count(b"\n") == 1
    assert b"100%" in done.stderr
    assert b"20/20" in done.stderr


def test_a_terminal_gets_a_bar_that_moves():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", COUNT, "30"], stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 1000)
        except OSError:  # the terminal's other end is closed
            break
        if not part:
            break
        text += part
    os.close(ours)
    assert process.wait() == 0
    assert text.count(b"\r") > 5
    assert b"0/20" in text


def test_a_bar_without_items_counts_what_it_is_told(capsys):
    with progress_bar(total=3, unit="file") as bar:
        bar.update(3)
    assert "3/3" in capsys.readouterr().err


def test_no_bars_in_the_meantime(capsys):
    with no_progress_bars():
        assert list(progress_bar("ab")) == ["a", "b"]
    assert capsys.readouterr().err == ""
    list(progress_bar("ab"))
    assert "2/2" in capsys.readouterr().err
