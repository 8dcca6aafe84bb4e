"""Headers of all answers of the service and of the viewer, and the files of their pages."""

from collections.abc import Mapping
from importlib.resources import files

from fastapi import HTTPException, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
"""Names by which the page may be called. With any other name, a page from elsewhere could let a
browser read the answers (DNS rebinding)."""

HEADERS = {
    "Cache-Control": "no-cache",
    # The page cannot ask another machine for anything, whatever it shows.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

KEPT = {"Cache-Control": "private, max-age=86400"}
"""The header of tiles, which a browser may keep."""

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


class AddHeaders:
    """A layer around an application that adds ``HEADERS`` to each answer that lacks them."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add)


def read_static() -> dict[str, bytes]:
    """Read the files of the pages, by name; names in requests are looked up here, not on disk."""
    folder = files("network.serving") / "static"
    found = {}
    for part in (folder, folder / "leaflet"):
        for path in part.iterdir():
            if path.is_file() and path.name.endswith(tuple(_TYPES)):
                found[path.name] = path.read_bytes()
    return found


def static_file(static: Mapping[str, bytes], name: str) -> Response:
    """Answer with one of the files of the pages; the status is 404 if there is none of the name."""
    if name not in static:
        raise HTTPException(404, "no such file")
    kind = _TYPES[name[name.rindex(".") :]]
    return Response(static[name], media_type=kind)
