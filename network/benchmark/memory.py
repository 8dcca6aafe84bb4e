"""Memory: what autograd keeps, the most that tensors take at once, and the process's own peak."""

import ctypes
import gc
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MB = 1e6


def saved_bytes(forward: Callable[[], object], exclude: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps between ``forward`` and its backward pass, each memory once.

    Args:
        exclude: tensors that are there anyway, such as parameters.
    """
    excluded = {tensor.untyped_storage().data_ptr() for tensor in exclude}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no memory is used twice meanwhile

    def pack(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in excluded:
            kept[storage.data_ptr()] = storage

    def unpack(_: None) -> Tensor:
        raise RuntimeError("only the forward pass is measured")

    with saved_tensors_hooks(pack, unpack):
        forward()
    return sum(storage.nbytes() for storage in kept.values())


class LiveTensors(TorchDispatchMode):
    """Within this context: bytes of the tensors made in it, ``now`` and at their ``peak``.

    What an operation takes and gives back inside itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._bytes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable,
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operation; what is new in its result is counted until it is freed."""
        kwargs = kwargs or {}
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, Tensor):
                self._track(tensor, is_new=False)
        result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._track(tensor, is_new=True)
        return result

    def _track(self, tensor: Tensor, is_new: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._bytes:
            return
        self._bytes[key] = storage.nbytes() if is_new else 0
        self.now += self._bytes[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self._bytes.pop(key)


def process_peak(step: Callable[[], object], device: torch.device) -> float | None:
    """The most bytes taken while ``step`` runs: the GPU's by torch, or resident in memory.

    None where the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    gc.collect()
    # The C library keeps what was freed: without this, an earlier peak would be seen again.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest value so far
        step()
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(kibibytes)
