"""What the command lines say."""

import os
import pickle
import subprocess
import sys

import pytest

from network.errors import InputError, listed, nearest, warn
from tests.conftest import ROOT


@pytest.mark.parametrize("key", ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID"])
def test_only_the_first_process_warns(monkeypatch, capsys, key):
    for rank, told in (("0", "warning: no cars\n"), ("1", "")):
        monkeypatch.setenv(key, rank)
        warn("no cars")
        assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (("x.png", "damaged", "copy it again"), "x.png: damaged; copy it again"),
        (("optim.lr=-1", "must be above 0"), "optim.lr=-1: must be above 0"),
        (("", "no class", "mend the masks"), "no class; mend the masks"),
        (("no config was given",), "no config was given"),
        (("a\nb.png", "damaged\r", "copy it"), "a\\nb.png: damaged\\r; copy it"),
    ],
)
def test_the_parts_of_an_error(parts, line):
    """They outlive the way from a worker process."""
    for error in (InputError(*parts), pickle.loads(pickle.dumps(InputError(*parts)))):
        assert str(error) == line
        assert [error.where, error.problem, error.remedy] == (
            ["", parts[0], ""] if len(parts) == 1 else [*parts, ""][:3]
        )


def test_known_words_fit_into_a_message():
    """The nearest; else the first ten of them, however many there are."""
    words = [f"model_{n}" for n in range(2000)]
    assert nearest("modl_7", words) == "; did you mean 'model_7'?"
    told = nearest("zzz", words)
    assert told.endswith("model_8, model_9 and 1990 more")
    assert nearest("zzz", ("a", "b")) == "; known: a, b"
    assert nearest("zzz", ()) == "; known: none"
    assert nearest(10**6 * "z", words) == told
    assert listed(words[:10]).endswith("model_8, model_9")


def test_names_that_a_log_cannot_show(tmp_path):
    """A log of ASCII alone gets their numbers, and the command goes on."""
    code = "from network.errors import run_command\nrun_command(lambda: print('\\u5730', 'done'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "\\u5730 done\n"), done.stderr


def test_output_that_is_no_file():
    """As in a notebook, whose stdout cannot be reconfigured."""
    code = (
        "import io, sys\nfrom network.errors import run_command\n"
        "sys.stdout = io.StringIO()\nrun_command(lambda: print('done'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
