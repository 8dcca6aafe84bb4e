"""Memory that autograd keeps, the peak memory of tensors, and the peak memory of the process."""

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
    """Count the bytes that autograd keeps from a forward pass for its backward pass.

    Tensors that share memory count once.

    Args:
        forward: runs the forward pass.
        exclude: tensors that exist anyway, such as parameters.
    """
    excluded = {tensor.untyped_storage().data_ptr() for tensor in exclude}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so no memory is reused

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
    """Context that counts the bytes of the tensors that are made in it.

    Memory that an operation allocates and frees inside itself does not count.

    Attributes:
        now: bytes of the tensors that exist now.
        peak: largest number of bytes so far.
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
        """Run one operation; new memory of its result counts until it is freed."""
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
    """Measure the peak memory in bytes while a function runs.

    Args:
        step: the function.
        device: a GPU, of which torch's memory counts, or the CPU, where the resident memory of the
            process counts.

    Returns:
        The bytes; None if the system does not tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    gc.collect()
    # The C library keeps freed memory, so without this, an earlier peak would count again.
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
