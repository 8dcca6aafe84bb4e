"""The HTTP interface of the page on a map. It reads no file but those that were opened before."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from network.errors import InputError, warn
from network.serving.viewer import MapViewer
from network.serving.web import HOSTS, KEPT, AddHeaders, read_static, static_file

Number = Annotated[float, Query(allow_inf_nan=False)]


def make_app(viewer: MapViewer) -> FastAPI:
    """Make the application that answers the page's requests.

    Args:
        viewer: the map.
    """
    # FastAPI's own pages about the interface load scripts from another machine.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    app.add_middleware(AddHeaders)
    tell_damage(app)
    app.include_router(map_router(viewer, read_static()))
    return app


def tell_damage(app: FastAPI) -> None:
    """Let an application answer with status 500 where a file of its map is damaged."""
    told: set[str] = set()

    @app.exception_handler(InputError)
    def tell(_: Request, error: Exception) -> JSONResponse:
        if str(error) not in told:  # each tile of a damaged file has the same
            told.add(str(error))
            warn(str(error))
        return JSONResponse({"detail": str(error)}, status_code=500)


def map_router(viewer: MapViewer, static: Mapping[str, bytes]) -> APIRouter:
    """Make the paths of the page on a map.

    Args:
        viewer: the map.
        static: the files of the page, see :func:`network.serving.web.read_static`.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def page() -> Response:
        return static_file(static, "index.html")

    @router.get("/static/{name}")
    def file(name: str) -> Response:
        return static_file(static, name)

    @router.get("/about")
    def about() -> JSONResponse:
        return JSONResponse(viewer.about())

    @router.get("/tiles/{layer}/{zoom}/{x}/{y}")
    def tile(layer: str, zoom: int, x: int, y: int, hidden: str = "", number: int = 0) -> Response:
        words = hidden.split(",") if hidden else []
        labels = {int(word) for word in words if word.isascii() and word.isdecimal()}
        found = viewer.tile(layer, zoom, x, y, hidden=labels, number=number)
        if found is None:
            raise HTTPException(404, "no such tile")
        return Response(found, media_type="image/png", headers=KEPT)

    @router.get("/at")
    def at(row: int, column: int) -> JSONResponse:
        found = viewer.at(row, column)
        if found is None:
            raise HTTPException(404, "outside the map")
        return JSONResponse(found)

    @router.get("/polygons")
    def polygons(
        left: Number, top: Number, right: Number, bottom: Number, pixel: Number
    ) -> Response:
        if viewer.polygons is None:
            raise HTTPException(404, "no polygons")
        found = viewer.polygons.inside((left, top, right, bottom), pixel)
        return Response(found or "null", media_type="application/geo+json")

    return router
