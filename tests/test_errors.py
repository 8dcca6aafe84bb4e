"""What the command lines say."""

import pytest

from network.errors import listed, nearest, warn


@pytest.mark.parametrize("key", ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID"])
def test_only_the_first_process_warns(monkeypatch, capsys, key):
    for rank, told in (("0", "warning: no cars\n"), ("1", "")):
        monkeypatch.setenv(key, rank)
        warn("no cars")
        assert capsys.readouterr().err == told


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
