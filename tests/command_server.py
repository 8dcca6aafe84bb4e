"""A process that has imported what is not ours, and forks into each command that is to be run.

Importing torch and Lightning takes five seconds, most commands of the tests less than one. Our own
code is imported by each command anew, and its script is run as Python runs it: as ``__main__``,
with the script's folder in front of ``sys.path``, and up to what is registered for its exit. For
the other side see :mod:`tests.commands`.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]

PRELOADED = (
    *("torch.utils.data", "torchvision.models", "torchvision.ops", "pytorch_lightning"),
    *("torchmetrics.classification", "timm", "segmentation_models_pytorch", "psutil"),
    *("albumentations", "cv2", "rasterio.warp", "rasterio.features", "scipy.ndimage"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_agg", "jinja2", "rich.table"),
)


def preload() -> None:
    """Import them, torchvision with the repair that it may need, and forget our own modules."""
    sys.path.insert(0, str(ROOT))
    import_module("network.compat").ensure_torchvision()
    for name in PRELOADED:
        import_module(name)
    for name in [name for name in sys.modules if name.split(".")[0] == "network"]:
        del sys.modules[name]
    del sys.path[0]
    gc.collect()
    gc.freeze()  # what the collector does not touch stays shared


def serve(connection: socket.socket) -> dict:
    """Return in each process that is to be a command, with what was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are waited for by nobody
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if not message:  # the tests have ended
            sys.exit()
        *streams, status = descriptors
        if not os.fork():
            connection.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            command = os.fork()
            if command:
                keep(command, status, streams)
            os.close(status)
            return json.loads(message) | {"streams": streams}
        for descriptor in descriptors:
            os.close(descriptor)


def keep(command: int, status: int, streams: list[int]) -> NoReturn:
    """Tell the number of a process, and how it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for stream in streams:
        os.close(stream)
    os.write(status, f"{command}\n".encode())
    _, ended = os.waitpid(command, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
    os._exit(0)


def become(request: dict) -> NoReturn:
    """Run the script of a request in this process."""
    if request["session"]:
        os.setsid()
    os.chdir(request["cwd"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in enumerate(request["streams"], 1):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    # Signals act as in a terminal, even if the tests ignore them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = request["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    import_module("numpy").random.seed()
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # as Python does
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # without half a second of taking all modules apart


if __name__ == "__main__":
    preload()
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
