"""Bodies of requests: images that are written into a file of the service's own while they come."""

import asyncio
from contextlib import suppress
from pathlib import Path

from fastapi import Request
from starlette.requests import ClientDisconnect

from network.errors import InputError
from network.rasters.header import Header, read_header
from network.rasters.whole import find_driver
from network.serving.limits import Limits
from network.serving.refusal import Refusal

TYPES = ("image/png", "image/jpeg", "image/tiff", "application/octet-stream")
"""Types of a body. The first bytes of an image say which one it is."""

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "GTiff": ".tif"}

_DISCARD_SECONDS = 5.0


def check_headers(request: Request, limits: Limits) -> None:
    """Refuse a body that its headers already rule out.

    Raises:
        Refusal: there is no body, or it has another type, is compressed, or is too large.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in TYPES:
        raise Refusal(
            415,
            f"The body has the type {given or 'none'}; send a PNG, JPEG or TIFF with its type as "
            "Content-Type, such as image/png.",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "The body is compressed; send the image file as it is.")
    length = request.headers.get("content-length")
    if length is None:
        if "transfer-encoding" not in request.headers:
            raise Refusal(411, "The request has no body; send an image with its Content-Length.")
    elif int(length) > limits.max_bytes:  # the server has checked that it is a number
        raise _too_large(limits)


async def receive(request: Request, folder: Path, limits: Limits) -> Path:
    """Write the body of a request into a file.

    Args:
        request: the request; only its body is used, so no name that it holds reaches the disk.
        folder: folder of the file.
        limits: limits of size and time.

    Returns:
        The file.

    Raises:
        Refusal: the body is too large, empty, or too slow, or the disk is full.
        ClientDisconnect: the sender went away.
    """
    path, size = folder / "image", 0
    try:
        with path.open("wb") as file:
            async with asyncio.timeout(limits.body_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limits.max_bytes:
                        raise _too_large(limits)
                    file.write(chunk)
    except TimeoutError:
        raise Refusal(
            408,
            f"The image did not arrive within {limits.body_seconds:g} seconds.",
            {"Connection": "close"},
        ) from None
    except OSError as error:
        raise no_space(error) from error
    if not size:
        raise Refusal(411, "The body is empty; send an image.")
    return path


async def discard(request: Request, limits: Limits) -> None:
    """Read the body of a refused request and forget it.

    If a connection is closed before its body is read, the sender may never see the answer.
    """
    size = 0
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):  # or it was read already
        async with asyncio.timeout(min(_DISCARD_SECONDS, limits.body_seconds)):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_bytes:
                    return


def check_image(path: Path, limits: Limits) -> tuple[Path, Header]:
    """Check the format and the size of a received image before any pixel is decoded.

    Args:
        path: the file.
        limits: limits of the size.

    Returns:
        The file under a name with the ending of its format, and its header.

    Raises:
        Refusal: it is no image, or a too large one.
        InputError: the file is truncated.
    """
    try:
        driver = find_driver(path)
    except InputError:
        raise Refusal(
            415, "The body is no PNG, JPEG or TIFF file; send one of these as it is."
        ) from None
    try:
        path = path.rename(path.with_suffix(SUFFIXES[driver]))
    except OSError as error:
        raise no_space(error) from error
    header = read_header(path)
    if header.height * header.width > limits.max_pixels:
        raise Refusal(
            413,
            f"The image has {header.height} x {header.width} pixels; at most "
            f"{limits.max_megapixels:g} million pixels are allowed.",
        )
    return path, header


def no_space(error: BaseException | None) -> Refusal:
    """Make the refusal for an image that the disk of the service does not take.

    Args:
        error: why, as far as it is known.
    """
    reason = getattr(error, "strerror", None) or "its disk does not take them"
    sentence = f"The service cannot store images now ({reason}); ask later."
    return Refusal(503, sentence, {"Retry-After": "10"})


def _too_large(limits: Limits) -> Refusal:
    return Refusal(
        413,
        f"The body is too large; at most {limits.max_megabytes:g} MB are allowed.",
        {"Connection": "close"},
    )
