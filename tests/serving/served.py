"""A prediction service in this process, on a real port, with a tiny network."""

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import torch
import uvicorn
from fastapi import FastAPI

from network.datasets.info import VAIHINGEN
from network.prediction import ImagePredictor
from network.predictor import Predictor
from network.serving.limits import Limits
from network.serving.server import listen, options_of
from network.serving.service import Service
from network.serving.service_app import make_service_app
from tests.maps.local import IDENTITY, Local

FACTS = {"version": "1.2.3", **IDENTITY}
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".tif": "image/tiff"}


class Gate(Local):
    """The local network, which waits at a gate that tests can close."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()

    def forward(self, image):
        self.open.wait(20)
        return super().forward(image)


def local_predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(Gate(), VAIHINGEN, ((128,) * 3, (60,) * 3), patch=None, device="cpu")


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Served:
    """A running service and its address."""

    service: Service
    port: int
    predictor: ImagePredictor

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Ask once; ``_`` in the name of a header stands for ``-``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            found = connection.getresponse()
            names = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, found.read(), names)
        finally:
            connection.close()

    def post(self, image: Path | bytes, accept: str = "*/*", query: str = "") -> Answer:
        kind = "image/png" if isinstance(image, bytes) else TYPES[image.suffix]
        body = image if isinstance(image, bytes) else image.read_bytes()
        return self.ask("POST", f"/predict{query}", body, Accept=accept, Content_Type=kind)


@contextmanager
def served(
    limits: Limits | None = None, predictor: ImagePredictor | None = None, **options
) -> Iterator[Served]:
    """Run a service; at the end it is drained, and must leave no file."""
    predictor = predictor or local_predictor()
    service = Service(predictor, FACTS, limits or Limits())
    made = {name: make(service) for name, make in options.items() if callable(make)}
    app = make_service_app(service, **{**options, **made})
    with listen(0) as opened:
        stopped = threading.Event()
        server = threading.Thread(target=_serve, args=(app, opened, stopped))
        server.start()
        try:
            yield Served(service, opened.getsockname()[1], predictor)
        finally:
            if isinstance(predictor, Predictor):
                predictor.model.open.set()
            service.drain()
            # All of its files are those of requests that are under way.
            left = [path.name for path in service.folder.iterdir() if path.name != "labels"]
            stopped.set()
            server.join(20)
            service.close()
    assert not left
    assert not service.folder.exists()


def _serve(app: FastAPI, opened: socket, stopped: threading.Event) -> None:
    server = uvicorn.Server(uvicorn.Config(app, **options_of(drains=True)))

    async def main() -> None:
        running = asyncio.create_task(server.serve([opened]))
        await asyncio.to_thread(stopped.wait)
        server.should_exit = True
        await running

    asyncio.run(main())
