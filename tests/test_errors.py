"""What the command lines say."""

import pytest

from network.errors import warn


@pytest.mark.parametrize("key", ["RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID"])
def test_only_the_first_process_warns(monkeypatch, capsys, key):
    for rank, told in (("0", "warning: no cars\n"), ("1", "")):
        monkeypatch.setenv(key, rank)
        warn("no cars")
        assert capsys.readouterr().err == told
