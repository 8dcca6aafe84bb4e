"""Checkpoints of strangers: they execute nothing, and end in one line."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

pytestmark = pytest.mark.slow

State = dict[str, Tensor]


class Payload:
    """A pickled object that makes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def saved(value: object, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def deflated(content: bytes) -> bytes:
    """A torch file whose records are compressed: zeros of gigabytes fit into kilobytes."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    return buffer.getvalue()


def with_first(state: State, change: Callable[[Tensor], object]) -> OrderedDict:
    name = next(n for n, value in state.items() if value.is_floating_point() and value.ndim > 1)
    return OrderedDict(state) | {name: change(state[name])}


def hostile(state: State, payload: Path) -> dict[str, bytes]:
    """Files by name; no one of them holds weights of this network that could be used."""
    good = saved({"state_dict": state})
    numbers = iter(range(len(state)))
    cut = {f"cut_{n}.ckpt": good[: len(good) * n // 8] for n in range(1, 8)}
    flipped = {}
    for n in range(8):
        content = bytearray(good)
        content[n * 40 : n * 40 + 16] = b"\xff" * 16
        flipped[f"header_{n}.ckpt"] = bytes(content)
    nan = torch.full_like
    objects = {
        "pickle.ckpt": pickle.dumps(Payload(payload)),
        "torch_pickle.ckpt": saved({"state_dict": state, "x": Payload(payload)}),
        "legacy_pickle.ckpt": saved(Payload(payload), _use_new_zipfile_serialization=False),
        "whole_model.ckpt": saved(torch.nn.Linear(2, 2)),
        "class.ckpt": saved({"state_dict": state, "x": Path}),
    }
    tensors = {
        "nan.ckpt": with_first(state, lambda v: nan(v, float("nan"))),
        "inf.ckpt": with_first(state, lambda v: nan(v, float("inf"))),
        "integers.ckpt": with_first(state, lambda v: v.to(torch.int64)),
        "complex.ckpt": with_first(state, lambda v: v.to(torch.complex64)),
        "bools.ckpt": with_first(state, lambda v: v > 0),
        "sparse.ckpt": with_first(state, lambda v: v.to_sparse()),
        "meta.ckpt": with_first(state, lambda v: v.to("meta")),
        "quantized.ckpt": with_first(
            state, lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)
        ),
        "expanded.ckpt": with_first(state, lambda v: torch.zeros(1).expand(2**33)),
        "other_shape.ckpt": with_first(state, lambda v: v[:1]),
        "text.ckpt": with_first(state, lambda v: "weights"),
        "none.ckpt": with_first(state, lambda v: None),
        "numbered.ckpt": {next(numbers): value for value in state.values()},
        "tuples.ckpt": {(name, 0): value for name, value in state.items()},
        "missing.ckpt": dict(list(state.items())[1:]),
        "foreign.ckpt": state | {"another": torch.zeros(1)},
        "nothing.ckpt": {},
    }
    others = {
        "empty.ckpt": b"",
        "zeros.ckpt": bytes(10_000),
        "text.pth": b"not a checkpoint\n" * 99,
        "html.safetensors": b"<html>404</html>",
        "long_header.safetensors": (2**62).to_bytes(8, "little") + b"{}",
        "deep.safetensors": (10**6).to_bytes(8, "little") + b"[" * 10**6,
        "list.ckpt": saved([1, 2, 3]),
        "tensor.ckpt": saved(torch.zeros(3)),
        "settings.ckpt": saved({"state_dict": state, "settings": [1]}),
        "settings_text.ckpt": saved({"state_dict": state, "settings": "epochs=3"}),
        "inflates.ckpt": deflated(saved({"state_dict": {"a": torch.zeros(2**28)}})),
        "zip.ckpt": deflated(good)[:-30],
    }
    wrapped = {name: saved({"state_dict": value}) for name, value in tensors.items()}
    return cut | flipped | objects | wrapped | others


@pytest.fixture(scope="module")
def state(project) -> State:
    return torch.load(project / "weights.ckpt", weights_only=True)["state_dict"]


def test_predicting(launcher, project, state, tmp_path, trials, count):
    """Hostile checkpoints, given to a prediction."""
    for name in ("fields.py", "data"):
        (tmp_path / name).symlink_to(project / name)
    payload = tmp_path / "executed"
    files = hostile(state, payload)
    half = {n: v.half() if v.is_floating_point() else v for n, v in state.items()}
    save_file(half, tmp_path / "half.safetensors")  # not hostile: other code saves so
    names = sorted(files)[:: max(1, len(files) // trials(len(files)))]
    for name in names:
        (tmp_path / name).write_bytes(files[name])
        argv = ["predict.py", "-c", "fields.py", "-i", "data/test/images", "-o", "out"]
        ended = launcher.run(tmp_path, *argv, "--checkpoint", name, "--device", "cpu", timeout=60)
        text = f"{name}: code {ended.code} in {ended.seconds:.0f} s {ended.log[-1500:]}"
        held = ended.error is not None and name in ended.error and ended.seconds < 10
        count.add(held and not (tmp_path / "out").exists(), text)
        count.add(not payload.exists(), f"{name}: executed what it holds")
        (tmp_path / name).unlink()
    for name in ("half.safetensors", str(project / "weights.ckpt")):
        argv = [
            "predict.py",
            "-c",
            "fields.py",
            "-i",
            "data/test/images",
            "-o",
            "out",
            "--overwrite",
        ]
        ended = launcher.run(tmp_path, *argv, "--checkpoint", name, "--device", "cpu")
        assert ended.code == 0, ended.log[-2000:]


def test_resuming(launcher, project, tmp_path, trials, count):
    """Damaged checkpoints, given to a training that is to go on."""
    for name in ("fields.py", "data"):
        (tmp_path / name).symlink_to(project / name)
    train = ("train.py", "-c", "fields.py", "--accelerator", "cpu")
    first = launcher.run(tmp_path, *train, "optim.epochs=1")
    assert first.code == 0, first.log[-2000:]
    last = next(tmp_path.rglob("last.ckpt"))
    good = torch.load(last, weights_only=True)
    optimizer = good["optimizer_states"][0]
    changes = {
        "no_optimizer": {"optimizer_states": []},
        "empty_optimizer": {"optimizer_states": [{}]},
        "no_moments": {"optimizer_states": [optimizer | {"state": {}}]},
        "no_groups": {"optimizer_states": [optimizer | {"param_groups": []}]},
        "no_scheduler": {"lr_schedulers": []},
        "no_loops": {"loops": {}},
        "epoch_text": {"epoch": "one"},
        "epoch_negative": {"epoch": -7},
        "no_weights": {"state_dict": {}},
        "settings_list": {"settings": []},
        "callbacks_list": {"callbacks": [1]},
    }
    names = sorted(changes)[:: max(1, len(changes) // trials(len(changes)))]
    for name in names:
        path = tmp_path / f"{name}.ckpt"
        torch.save({**good, **changes[name]}, path)
        ended = launcher.run(tmp_path, *train, "--resume", str(path), "optim.epochs=2", timeout=60)
        held = ended.error is not None and name in ended.error
        count.add(held, f"{name}: code {ended.code} {ended.log[-1500:]}")
