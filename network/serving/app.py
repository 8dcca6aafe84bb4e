"""The HTTP interface of the page on a map. It reads no file but those that were opened before."""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from network.errors import InputError, warn
from network.serving.viewer import MapViewer

HOSTS = ("127.0.0.1", "localhost")
"""Names by which the page may be called. With any other name, a page from elsewhere could let a
browser read the answers (DNS rebinding)."""

HEADERS = {
    "Cache-Control": "no-cache",
    # The page cannot ask another machine for anything, whatever it shows.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
_KEPT = {"Cache-Control": "private, max-age=86400"}

Number = Annotated[float, Query(allow_inf_nan=False)]


def make_app(viewer: MapViewer) -> FastAPI:
    """Make the application that answers the page's requests.

    Args:
        viewer: the map.
    """
    # FastAPI's own pages about the interface load scripts from another machine.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    static = read_static()
    told: set[str] = set()

    @app.middleware("http")
    async def add_headers(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(InputError)
    def tell(_: Request, error: Exception) -> JSONResponse:
        if str(error) not in told:  # each tile of a damaged file has the same
            told.add(str(error))
            warn(str(error))
        return JSONResponse({"detail": str(error)}, status_code=500)

    @app.get("/")
    def page() -> Response:
        return _file(static, "index.html")

    @app.get("/static/{name}")
    def file(name: str) -> Response:
        return _file(static, name)

    @app.get("/about")
    def about() -> JSONResponse:
        return JSONResponse(viewer.about())

    @app.get("/tiles/{layer}/{zoom}/{x}/{y}")
    def tile(layer: str, zoom: int, x: int, y: int, hidden: str = "", number: int = 0) -> Response:
        words = hidden.split(",") if hidden else []
        labels = {int(word) for word in words if word.isascii() and word.isdigit()}
        found = viewer.tile(layer, zoom, x, y, hidden=labels, number=number)
        if found is None:
            raise HTTPException(404, "no such tile")
        return Response(found, media_type="image/png", headers=_KEPT)

    @app.get("/at")
    def at(row: int, column: int) -> JSONResponse:
        found = viewer.at(row, column)
        if found is None:
            raise HTTPException(404, "outside the map")
        return JSONResponse(found)

    @app.get("/polygons")
    def polygons(
        left: Number, top: Number, right: Number, bottom: Number, pixel: Number
    ) -> Response:
        if viewer.polygons is None:
            raise HTTPException(404, "no polygons")
        found = viewer.polygons.inside((left, top, right, bottom), pixel)
        return Response(found or "null", media_type="application/geo+json")

    return app


def read_static() -> dict[str, bytes]:
    """Read the files of the page, by name; names in requests are looked up here, not on disk."""
    folder = files("network.serving") / "static"
    found = {}
    for part in (folder, folder / "leaflet"):
        for path in part.iterdir():
            if path.is_file() and path.name.endswith(tuple(_TYPES)):
                found[path.name] = path.read_bytes()
    return found


def _file(static: dict[str, bytes], name: str) -> Response:
    if name not in static:
        raise HTTPException(404, "no such file")
    kind = _TYPES[name[name.rindex(".") :]]
    return Response(static[name], media_type=kind)
