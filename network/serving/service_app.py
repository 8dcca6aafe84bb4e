"""The HTTP interface of the prediction service, with its description by OpenAPI."""

import base64
import binascii
import hmac
import ipaddress
import time
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from network.serving.answers import (
    ARRAYS,
    GEOTIFF,
    MASK,
    POLYGONS,
    Wish,
    check_settings,
    classes_of,
)
from network.serving.app import map_router, tell_damage
from network.serving.earth_tiles import EarthTiles
from network.serving.metrics import TYPE, Metrics
from network.serving.refusal import Refusal
from network.serving.service import GONE, Service
from network.serving.uploads import TYPES as BODY_TYPES
from network.serving.viewer import MapViewer
from network.serving.web import HOSTS, AddHeaders, read_static, static_file

REALM = "BiCoR-Seg"

Layer = Literal["labels", "confidence", "probabilities", "entropy"]

_OPEN = ("/health", "/health/live", "/health/ready")
"""Paths that need no token, for those that watch the service."""


class Problem(BaseModel):
    """The answer to a request that cannot be answered as it wishes."""

    detail: str = Field(
        description="One sentence: what is wrong, and what to do.",
        examples=["The body is no PNG, JPEG or TIFF file; send one of these as it is."],
    )


class ClassEntry(BaseModel):
    """A class of the network."""

    label: int = Field(description="Value of its pixels in a mask.", examples=[1])
    name: str = Field(examples=["Building"])
    color: str = Field(description="Its color in a colored mask.", examples=["#0000ff"])


class Classes(BaseModel):
    """The classes of the masks, and the images that the network takes."""

    classes: list[ClassEntry]
    no_data: int = Field(description="Value of pixels without data in a PNG of labels.")
    bands: int = Field(description="Number of bands of an image.", examples=[3])
    dtype: str = Field(description="Type of the pixel values.", examples=["uint8"])
    checkpoint_sha256: str = Field(description="SHA-256 of the checkpoint, in hexadecimal.")


class LimitsEntry(BaseModel):
    """The limits of the service."""

    max_megabytes: float
    max_megapixels: float
    body_seconds: float
    seconds: float
    queue: int


class Health(BaseModel):
    """The state of the service."""

    status: str = Field(description="ready, or draining while it is being stopped.")
    version: str = Field(examples=["0.2.0"])
    checkpoint_sha256: str
    tta: str = Field(examples=["none"])
    precision: str = Field(examples=["32-true"])
    limits: LimitsEntry


_PROBLEMS = {
    400: "The request is no valid HTTP, or calls the service by another name.",
    401: "The token is missing or wrong.",
    406: "None of the accepted types can be given.",
    408: "The image did not arrive in time.",
    411: "The request has no body.",
    413: "The body or the image is too large.",
    415: "The body is no PNG, JPEG or TIFF.",
    422: "The image is damaged or does not fit the network, or a setting is out of range, unknown, "
    "or for another type.",
    429: "Too many images wait; Retry-After says when to ask again.",
    500: "The service failed; its log says why.",
    503: "The service is being stopped, or its disk is full.",
    504: "The answer was not ready in time.",
}

_TILE_KEPT = {"Cache-Control": "private, max-age=300"}

_BINARY = {"type": "string", "format": "binary"}


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Problem, "description": _PROBLEMS[code]} for code in codes}


def make_service_app(
    service: Service,
    *,
    token: str | None = None,
    viewer: MapViewer | None = None,
    tiles: EarthTiles | None = None,
) -> FastAPI:
    """Make the application of the prediction service.

    Args:
        service: the service.
        token: what each request must know; None if there is no such token. Then the service must
            be called by a name of this machine.
        viewer: a finished map, whose page is at ``/map/``; None for none.
        tiles: tiles of a map or an image; None for none.
    """
    app = FastAPI(
        title="BiCoR-Seg",
        version=service.facts["version"],
        description="Predicts the class of each pixel of aerial and satellite images.",
        docs_url=None,  # FastAPI's own pages load scripts from another machine
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    if token is None:
        app.add_middleware(_NeedName)
    else:
        app.add_middleware(_NeedToken, token=token)
        _describe_token(app)
    app.add_middleware(_Count, metrics=service.metrics)
    app.add_middleware(AddHeaders)
    _add_errors(app)
    app.include_router(_prediction(service))
    app.include_router(_state(service))
    app.include_router(_pages())
    tell_damage(app)
    if tiles is not None:
        app.include_router(_tiles(service, tiles))
    if viewer is not None:
        app.include_router(map_router(viewer, read_static()), prefix="/map")
    return app


def _prediction(service: Service) -> APIRouter:
    router = APIRouter(tags=["prediction"])
    limits = service.limits
    body = {
        "required": True,
        "description": f"A PNG, JPEG or TIFF file of at most {limits.max_megabytes:g} MB and "
        f"{limits.max_megapixels:g} million pixels.",
        "content": {kind: {"schema": _BINARY} for kind in BODY_TYPES},
    }
    found = {
        "description": "What was predicted, in the type that Accept wants most.",
        "headers": {
            "Link": {"schema": {"type": "string"}, "description": "The names of the classes."},
            "Pixel-Area": {
                "schema": {"type": "number"},
                "description": "Area on the ground of the middle pixel, in square meters.",
            },
        },
        "content": {
            MASK: {"schema": _BINARY},
            GEOTIFF: {"schema": _BINARY},
            POLYGONS: {
                "schema": {
                    "type": "object",
                    "required": ["type", "features"],
                    "properties": {
                        "type": {"const": "FeatureCollection"},
                        "features": {"type": "array", "items": {"type": "object"}},
                    },
                }
            },
            ARRAYS: {"schema": _BINARY},
        },
    }

    @router.post(
        "/predict",
        summary="Predict an image",
        description=(
            "The body is the image file. `Accept` chooses the answer: `image/png`, a mask of "
            "labels; `image/tiff`, a Cloud Optimized GeoTIFF that lies where the image lies; "
            "`application/geo+json`, polygons; `application/x-npz`, labels and probabilities for "
            "NumPy. Each setting is for one of these types."
        ),
        response_class=Response,
        responses={
            200: found,
            **_problems(400, 401, 406, 408, 411, 413, 415, 422, 429, 500, 503, 504),
        },
        openapi_extra={"requestBody": body},
    )
    async def predict(
        request: Request,
        colors: Annotated[
            bool, Query(description="Whether a PNG has the colors of the classes.")
        ] = False,
        layer: Annotated[Layer, Query(description="What a GeoTIFF holds.")] = "labels",
        min_area: Annotated[
            float,
            Query(
                ge=0,
                le=1e12,
                allow_inf_nan=False,
                description="Area in square meters; smaller polygons join a neighbor.",
            ),
        ] = 0.0,
        simplify: Annotated[
            float,
            Query(
                ge=0,
                le=1e6,
                allow_inf_nan=False,
                description="Tolerance in meters of simpler outlines of polygons.",
            ),
        ] = 0.0,
    ) -> Response:
        def wish(kind: str) -> Wish:
            check_settings(request.query_params.keys(), kind)
            return Wish(kind, colors, layer, min_area, simplify)

        return await service.predict(request, wish)

    return router


def _state(service: Service) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/classes", summary="Classes of the network", responses=_problems(400, 401, 500))
    def classes() -> Classes:
        info = service.info
        return Classes(
            classes=[ClassEntry(**entry) for entry in classes_of(info)],
            no_data=info.ignore_index,
            bands=info.bands,
            dtype=info.dtype,
            checkpoint_sha256=service.facts["checkpoint_sha256"],
        )

    def health(response: Response) -> Health:
        response.status_code = 503 if service.is_draining else 200
        return Health(
            status="draining" if service.is_draining else "ready",
            version=service.facts["version"],
            checkpoint_sha256=service.facts["checkpoint_sha256"],
            tta=service.facts["tta"],
            precision=service.facts["precision"],
            limits=LimitsEntry(**vars(service.limits)),
        )

    draining = {503: {"model": Health, "description": "It is being stopped."}, **_problems(400)}
    for path, summary in (("/health", "State"), ("/health/ready", "Whether it accepts images")):
        router.get(path, summary=summary, responses=draining, name=path)(health)

    @router.get("/health/live", summary="Whether it runs", responses=_problems(400))
    def live() -> dict[str, str]:
        return {"status": "live"}

    @router.get(
        "/metrics",
        summary="Numbers for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {TYPE: {"schema": {"type": "string"}}}},
            **_problems(400, 401, 500),
        },
    )
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=TYPE)

    return router


def _tiles(service: Service, tiles: EarthTiles) -> APIRouter:
    router = APIRouter(tags=["tiles"])

    @router.get(
        "/tiles",
        summary="Description of the tiles (TileJSON)",
        responses=_problems(400, 401, 500),
    )
    def about(request: Request) -> dict[str, Any]:
        return tiles.about(f"{request.url}".partition("?")[0] + "/{z}/{x}/{y}")

    @router.get(
        "/tiles/{z}/{x}/{y}",
        summary="A tile of labels in Web Mercator",
        response_class=Response,
        responses={
            200: {"content": {"image/png": {"schema": _BINARY}}},
            404: {"model": Problem, "description": "There is nothing in this tile."},
            **_problems(400, 401, 422, 429, 500, 503, 504),
        },
    )
    async def tile(request: Request, z: int, x: int, y: int) -> Response:
        found = await service.run(request, lambda ticket: tiles.draw(z, x, y, ticket))
        if found is None:
            raise Refusal(404, "There is nothing in this tile.")
        return Response(found, media_type="image/png", headers=_TILE_KEPT)

    return router


def _pages() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    static = read_static()

    @router.get("/")
    def page() -> Response:
        return static_file(static, "drop.html")

    @router.get("/docs")
    def docs() -> Response:
        return static_file(static, "docs.html")

    @router.get("/static/{name}")
    def file(name: str) -> Response:
        return static_file(static, name)

    return router


# Errors -----------------------------------------------------------------------------------------


def _add_errors(app: FastAPI) -> None:
    """Let each error be JSON with one sentence."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Any) -> JSONResponse:
        return _problem(error.status, error.sentence, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: Any) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Any) -> JSONResponse:
        first = error.errors()[0]
        name = first["loc"][-1]
        given = str(first.get("input"))[:100]
        return _problem(422, f"{name}={given}: {first['msg'].lower()}.")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: Any) -> JSONResponse:
        words = {
            404: "There is nothing at this address; /docs lists what there is.",
            405: f"This address does not answer {request.method}; /docs lists what there is.",
        }
        return _problem(
            error.status_code, words.get(error.status_code, str(error.detail)), error.headers
        )

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return _problem(500, _PROBLEMS[500])


def _problem(status: int, sentence: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status, headers)


# Layers around the application ------------------------------------------------------------------


class _NeedToken:
    """A layer that refuses requests without the token, see :func:`is_allowed`."""

    def __init__(self, app: ASGIApp, token: str):
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not is_allowed(given, self._token):
                answer = _problem(
                    401,
                    "The token is missing or wrong; send it as 'Authorization: Bearer TOKEN'.",
                    {"WWW-Authenticate": f'Basic realm="{REALM}"', "Connection": "close"},
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _NeedName:
    """A layer that refuses requests that do not call the service by a name of this machine.

    With any other name, a page from elsewhere could let a browser read the answers (DNS rebinding).
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_name_of_here(Headers(scope=scope).get("host", "")):
            sentence = "Call the service by 127.0.0.1 or localhost."
            await _problem(400, sentence, {"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_name_of_here(host: str) -> bool:
    """Tell whether a header ``Host`` names this machine: localhost, or a loopback address.

    Examples:
        >>> [is_name_of_here(host) for host in ("localhost:80", "[::1]:8000", "example.org")]
        [True, True, False]
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in HOSTS or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_allowed(header: bytes, token: str) -> bool:
    """Tell whether a header ``Authorization`` has the token.

    It is compared in a time that does not depend on where the first wrong letter is.

    Args:
        header: ``Bearer TOKEN``, or ``Basic`` with any name and the token as password, which
            browsers ask for.
        token: the token.
    """
    scheme, _, value = header.strip().partition(b" ")
    value = value.strip()
    if scheme.lower() == b"basic":
        try:
            value = base64.b64decode(value, validate=True).partition(b":")[2]
        except binascii.Error:
            return False
    elif scheme.lower() != b"bearer":
        return False
    return hmac.compare_digest(value, token.encode())


def _describe_token(app: FastAPI) -> None:
    """Add the token to the description by OpenAPI."""
    original = app.openapi

    def described() -> dict[str, Any]:
        schema = original()
        schema.setdefault("components", {})["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"}
        }
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                if path not in _OPEN:
                    operation["security"] = [{"token": []}]
        return schema

    app.openapi = described  # type: ignore[method-assign]


class _Count:
    """A layer that counts answers by path and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(path, status, time.perf_counter() - start)
