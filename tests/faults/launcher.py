"""A process that has imported all commands, and forks for each that is to be tried.

So a campaign of hundreds of processes does not import torch hundreds of times. It reads requests
from its standard input, one JSON line each, and answers with the number of the process that runs
the command, then with its exit code.
"""

import json
import os
import runpy
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def serve() -> None:
    """Run one command after the other, each in a process group of its own."""
    import network.commands.check_data
    import network.commands.patch_split
    import network.commands.predict
    import network.commands.prepare_data
    import network.commands.test
    import network.commands.train  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            become(request)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(request: dict) -> None:
    """Be the command: never returns."""
    os.setsid()
    os.chdir(request["cwd"])
    output = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else 0)
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    code = 1
    script = ROOT / sys.argv[0]
    sys.path.insert(0, str(script.parent))  # as Python does
    try:
        runpy.run_path(str(script), run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # as Python itself would do with it
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
