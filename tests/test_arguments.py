"""What several command lines share: where ``key=value`` words stand, and errors said in flags."""

import pickle
from pathlib import Path

import pytest

from network.commands.arguments import add_model_flags, command_parser, execute, in_flags
from network.errors import InputError


@pytest.fixture
def parser():
    parser = command_parser("A command.")
    parser.add_argument("-o", "--output")
    parser.add_argument("--num-nodes", type=int)
    add_model_flags(parser)
    return parser


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (("num_nodes=0", "must be at least 1"), "--num-nodes 0: must be at least 1"),
        (("device=tpu", "unknown", "give cpu"), "--device tpu: unknown; give cpu"),
        (
            (
                "out",
                "holds other masks",
                "choose another output folder, or give overwrite=True to delete them",
            ),
            "out: holds other masks; choose another -o, or give --overwrite to delete them",
        ),
        (("optim.lr=-1", "must be above 0"), "optim.lr=-1: must be above 0"),
        (("compute.device=x", "unknown"), "compute.device=x: unknown"),
        (("a/device=3.png", "damaged"), "a/device=3.png: damaged"),
        ((Path("device=3.png"), "damaged"), "device=3.png: damaged"),
        (("seed=-1", "must be at least 0"), "seed=-1: must be at least 0"),  # it has no such flag
        (
            ("a.tif", "3 bands", "convert it, or set device=cpu in the config's DatasetInfo"),
            "a.tif: 3 bands; convert it, or set device=cpu in the config's DatasetInfo",
        ),
        (
            ("x.ckpt", "damaged", "take another checkpoint"),
            "x.ckpt: damaged; take another checkpoint",
        ),
    ],
)
def test_errors_name_flags(parser, error, line):
    sent = pickle.loads(pickle.dumps(InputError(*error)))  # as from a worker process
    for one in (InputError(*error), sent):
        assert str(in_flags(one, parser)) == line


@pytest.mark.parametrize(
    ("remedy", "shown"),
    [
        ("choose another output folder, or give overwrite=True to delete it", "choose another -o"),
        ("choose another output, or replace it by overwrite=True", "choose another -o"),
        ("give another output, or overwrite=True", "give another -o"),
    ],
)
def test_a_flag_that_a_command_lacks_is_not_advised(remedy, shown):
    parser = command_parser("A command.")
    parser.add_argument("-o", "--output")
    error = in_flags(InputError("out", "holds other masks", remedy), parser)
    assert str(error) == f"out: holds other masks; {shown}"


def test_execute(parser, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x.py", "optim.lr=1", "--num-nodes", "0"])

    def run(args):
        assert args.overrides == ["optim.lr=1"]
        raise InputError(f"num_nodes={args.num_nodes}", "must be at least 1")

    with pytest.raises(InputError, match=r"^--num-nodes 0: must be at least 1$"):
        execute(parser, run)
