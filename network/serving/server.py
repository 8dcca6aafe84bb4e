"""The servers of pages and of the prediction service."""

import asyncio
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from network.errors import InputError

HOST = "127.0.0.1"
"""The address that only this machine can reach."""

HEAD_SECONDS = 10.0
"""Time in which the headers of a request must have arrived."""

SEND_SECONDS = 30
"""Time in which the last answers must be sent after the service was stopped."""

CONNECTIONS = 500
"""Largest number of open connections; most systems allow a process 1024 files."""


def listen(port: int, host: str = HOST) -> socket.socket:
    """Open a port of this machine, so that a page can be asked for.

    Args:
        port: number of the port; 0 for any that is free.
        host: address of this machine that can be asked.

    Raises:
        InputError: the port is taken or not allowed.
    """
    if not 0 <= port < 65536:
        raise InputError(f"port={port}", "must be 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only if the protocol is named, asyncio sends small packets at once (TCP_NODELAY). Otherwise
    # each answer takes 40 ms longer.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Otherwise the port of a viewer that has just ended is taken for a minute.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen()
    except socket.gaierror as error:
        opened.close()
        raise InputError(f"host={host}", "is no address of this machine") from error
    except OSError as error:
        opened.close()
        raise InputError(
            f"port={port}", f"cannot be used ({error.strerror})", "choose another, or port=0"
        ) from error
    return opened


def address_of(opened: socket.socket) -> str:
    """Return the address of the page for a browser."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


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
    with _running(app, opened) as (running, _):
        running.result()


def serve_and_drain(app: FastAPI, opened: socket.socket, drain: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM, and then those that were accepted before.

    A second signal gives these up.

    Args:
        app: answers the requests.
        opened: the opened port.
        drain: called after the signal; returns when all accepted requests are answered. Meanwhile
            the server goes on answering.
    """
    with _running(app, opened, drains=True) as (running, server):
        try:
            running.result()
        except KeyboardInterrupt:
            try:
                drain()
            except KeyboardInterrupt:  # a second signal
                # uvicorn would log each answer that is given up as an error of the application.
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
                server.force_exit = True
                raise


def options_of(*, drains: bool = False) -> dict[str, Any]:
    """Choose the options of uvicorn.

    Args:
        drains: whether other machines may ask, and the last answers are waited for.
    """
    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "lifespan": "off"}
    options |= {"server_header": False, "timeout_graceful_shutdown": 2}
    if drains:
        options |= {"http": _TimedProtocol, "limit_concurrency": CONNECTIONS}
        options |= {"timeout_graceful_shutdown": SEND_SECONDS}
    return options


@contextmanager
def _running(
    app: FastAPI, opened: socket.socket, *, drains: bool = False
) -> Iterator[tuple[Future[None], uvicorn.Server]]:
    """Run a server while the block runs; yield the future of its end, and the server."""
    server = uvicorn.Server(uvicorn.Config(app, **options_of(drains=drains)))
    # In a thread of its own, it leaves the signals to this one, in which run_command heeds them.
    with ThreadPoolExecutor(1, "server") as pool:
        running: Future[None] = pool.submit(server.run, [opened])
        try:
            yield running, server
        finally:
            server.should_exit = True


class _TimedProtocol(H11Protocol):
    """HTTP with a time limit for the headers, so slow senders do not keep connections for ever."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        self._start()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()  # all headers are there

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def has_display() -> bool:
    """Tell whether a browser's window could appear."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
