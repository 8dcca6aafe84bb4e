"""Warnings for pixels of other sizes on the ground, since a network knows objects of one size."""

from collections.abc import Iterable
from pathlib import Path

from network.errors import warn
from network.rasters.place import Place, ground_resolution, plane_resolution

MAX_FACTOR = 1.25
"""Factor between the sides of two pixels above which users are warned."""


def differ(one: float | None, other: float | None) -> bool:
    """Tell whether two sides of pixels differ too much; no if one of them is unknown.

    Examples:
        >>> differ(0.5, 0.1), differ(0.1, 0.11), differ(0.5, None)
        (True, False, False)
    """
    if not one or not other:
        return False
    return max(one / other, other / one) > MAX_FACTOR


def compare_resolutions(images: Iterable[tuple[float | None, Path]]) -> None:
    """Warn if the images of a training have pixels of different sizes.

    Args:
        images: side of a pixel on the ground in meters, None if it is unknown, and file of each.
    """
    known = [(side, image) for side, image in images if side]
    if not known:
        return
    (fine, one), (coarse, other) = min(known), max(known)
    if differ(fine, coarse):
        warn(
            f"{one} has pixels of {fine:.3g} m and {other} of {coarse:.3g} m on the ground; a "
            "network sees the same objects in different sizes, so warp them to one (gdalwarp -tr)"
        )


def compare_with_training(
    image: str | Path, place: Place | None, size: tuple[int, int], trained: float | None
) -> str | None:
    """Compare the pixels of an image with those of a training.

    Older checkpoints know the side in the plane of the training images, which Web Mercator
    stretches. So an image with the same side in its plane does not differ either.

    Args:
        image: the image.
        place: its place on Earth; None if it is unknown.
        size: its height and width in pixels.
        trained: side of the pixels of the training images; None if it is unknown.

    Returns:
        A sentence that warns of an image with other pixels; None if they agree, or nobody knows.
    """
    if not trained:
        return None
    side, in_plane = ground_resolution(place, *size), plane_resolution(place)
    if not differ(side, trained) or (in_plane is not None and not differ(in_plane, trained)):
        return None
    return (
        f"{image} has pixels of {side:.3g} m on the ground, and the network was trained on pixels "
        f"of {trained:.3g} m; it sees all objects in another size, so its classes may be wrong "
        "(warp the image to the size of the training: gdalwarp -tr)"
    )
