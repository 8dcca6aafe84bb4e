"""The local server of the page on a map."""

import os
import socket
import sys
import threading
import webbrowser
from concurrent.futures import ThreadPoolExecutor

import uvicorn
from fastapi import FastAPI

from network.errors import InputError

HOST = "127.0.0.1"
"""The address that only this machine can reach."""


def listen(port: int) -> socket.socket:
    """Open a port of this machine, so that a page can be asked for.

    Args:
        port: number of the port; 0 for any that is free.

    Raises:
        InputError: the port is taken or not allowed.
    """
    if not 0 <= port < 65536:
        raise InputError(f"port={port}", "must be 0 to 65535")
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Otherwise the port of a viewer that has just ended is taken for a minute.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((HOST, port))
        opened.listen()
    except OSError as error:
        opened.close()
        raise InputError(
            f"port={port}", f"cannot be used ({error.strerror})", "choose another, or port=0"
        ) from error
    return opened


def address_of(opened: socket.socket) -> str:
    """Return the address of the page for a browser."""
    return f"http://{HOST}:{opened.getsockname()[1]}/"


def serve(app: FastAPI, opened: socket.socket, *, browser: bool) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        app: answers the requests.
        opened: the opened port.
        browser: whether to open the page in the user's browser, if there is a display.
    """
    if browser and has_display():
        # Some browsers return only when they are closed.
        open_ = threading.Thread(target=webbrowser.open, args=[address_of(opened)], daemon=True)
        open_.start()
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2
        )
    )
    # In a thread of its own, it leaves the signals to this one, in which run_command heeds them.
    with ThreadPoolExecutor(1, "server") as pool:
        running = pool.submit(server.run, [opened])
        try:
            running.result()
        finally:
            server.should_exit = True


def has_display() -> bool:
    """Tell whether a browser's window could appear."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
