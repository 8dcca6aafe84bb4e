"""Small synthetic aerial scenes with their labels, for demonstrations and tests.

A scene is a town seen straight from above in ISPRS Vaihingen's false color (near infrared, red,
green), with labels of the ISPRS classes. Streets and plots lie in a bent grid (u, v) in meters.
Every object is painted with its height, so the highest surface is seen and labeled, as in a true
orthophoto. Finally, one sun lights the slopes and casts the shadows.
"""

from itertools import pairwise

import cv2
import numpy as np

from network.errors import InputError

PIXELS_PER_METER = 5.5  # a car of 4.5 x 1.9 m has 25 x 10 pixels
MIN_SIZE = 128

Span = tuple[float, float]
Window = tuple[slice, slice]

_IMSURF, _BUILDING, _LOWVEG, _TREE, _CAR, _CLUTTER = range(6)
_MIN_SHARES = (0.05, 0.05, 0.05, 0.03, 0.004)  # ImSurf to Car, in every scene
_MARGIN = 48  # pixels around the scene, since objects just outside cast their shadows into it

_ROAD = 8.0  # meters from curb to curb: two lanes and a row of parked cars on either side
_BLOCK_EDGE = 5.6  # meters from the middle of a street to the plots, beyond the sidewalk

# Near infrared, red, green, 0 to 255. Roofs, asphalt and paving share most of their range.
_LAWNS = ((182, 122, 120), (166, 128, 118), (142, 80, 86), (172, 104, 110))
_CROWNS = ((166, 84, 92), (144, 74, 84), (184, 108, 112), (122, 78, 86), (176, 112, 104))
_PAVINGS = ((146, 144, 146), (128, 132, 138), (160, 152, 148), (116, 122, 130))
_FLAT_ROOFS = ((138, 140, 144), (118, 122, 128), (164, 162, 162), (104, 106, 112), (150, 140, 136))
_TILE_ROOFS = ((166, 132, 112), (150, 118, 104), (128, 118, 112), (112, 112, 118), (172, 140, 126))
_PAINTS = ((228, 230, 232), (184, 186, 190), (58, 60, 66), (192, 98, 80), (84, 98, 138))
_CONTAINERS = ((206, 120, 60), (70, 110, 170), (196, 186, 80))
_WATER, _CLAY, _SOIL = (52, 104, 128), (176, 122, 96), (150, 128, 108)
_MARKING, _GLASS, _PANEL = (214, 216, 218), (36, 42, 50), (70, 76, 92)


class _Canvas:
    """A painting of h x w pixels, margin included. At first, all of it is lawn.

    The grid lies at a random angle and is gently bent: v' = v + a sin(u / l + p).

    Attributes:
        u: (h, w) grid coordinate u of each pixel in meters.
        v: (h, w) grid coordinate v of each pixel in meters.
        albedo: (h, w, 3) color without light and shadow, 0 to 255.
        height: (h, w) height above the ground in pixels.
        slope: (h, w, 2) change of height to the right and downward.
        labels: (h, w) ISPRS classes.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int):
        self.rng, self.shape = rng, (height + 2 * _MARGIN, width + 2 * _MARGIN)
        self.angle = self.between(0, np.pi)
        self.bend = self.between(0, 6), self.between(25, 45), self.between(0, 6)
        y, x = np.mgrid[: self.shape[0], : self.shape[1]].astype(np.float32) / PIXELS_PER_METER
        x, y = x - x.max() / 2, y - y.max() / 2
        self.u = x * np.float32(np.cos(self.angle)) + y * np.float32(np.sin(self.angle))
        self.v = y * np.float32(np.cos(self.angle)) - x * np.float32(np.sin(self.angle))
        amplitude, wavelength, phase = np.array(self.bend, np.float32)
        self.v -= amplitude * np.sin(self.u / wavelength + phase)
        mix = np.clip(0.5 + 0.4 * self.noise(60), 0, 1)
        self.albedo = mix * self.pick(_LAWNS) + (1 - mix) * self.pick(_LAWNS)
        self.albedo *= 1 + 0.07 * self.noise(7)
        self.height = np.zeros(self.shape, np.float32)
        self.slope = np.zeros((*self.shape, 2), np.float32)
        self.labels = np.full(self.shape, _LOWVEG, np.uint8)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, colors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
        """Choose one of the colors and change it a little: (3,) float32."""
        tint = self.between(0.9, 1.1) * self.rng.uniform(0.97, 1.03, 3)
        return (np.array(colors[self.rng.integers(len(colors))]) * tint).astype(np.float32)

    def grain(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape, dtype=np.float32)

    def noise(self, cell: int) -> np.ndarray:
        """Draw smooth noise (h, w, 1) of about unit variance with blobs of ``cell`` pixels."""
        coarse = self.grain(*(side // cell + 2 for side in self.shape))
        return cv2.resize(coarse, self.shape[::-1], interpolation=cv2.INTER_CUBIC)[..., None]

    def to_pixels(self, u: float, v: float) -> tuple[float, float]:
        """Compute the position (x, y) in pixels of a point of the grid."""
        amplitude, wavelength, phase = self.bend
        v += amplitude * np.sin(u / wavelength + phase)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = (u * cos - v * sin) * PIXELS_PER_METER, (u * sin + v * cos) * PIXELS_PER_METER
        return (self.shape[1] - 1) / 2 + x, (self.shape[0] - 1) / 2 + y

    def street_angle(self, u: float) -> float:
        """Compute the angle from the image's rows to the streets along u, in radians."""
        amplitude, wavelength, phase = self.bend
        return self.angle + np.arctan(amplitude / wavelength * np.cos(u / wavelength + phase))

    def label_at(self, u: float, v: float) -> int | None:
        """Find the label at a point of the grid; None outside the canvas."""
        x, y = (int(np.floor(coordinate)) for coordinate in self.to_pixels(u, v))
        inside = 0 <= y < self.shape[0] and 0 <= x < self.shape[1]
        return int(self.labels[y, x]) if inside else None

    def window(self, x: float, y: float, radius: float) -> tuple[Window, np.ndarray, np.ndarray]:
        """Find the window around (x, y), and its pixels' offsets dx (1, w) and dy (h, 1)."""
        left, right = (min(max(int(x + r), 0), self.shape[1]) for r in (-radius, radius + 1))
        top, bottom = (min(max(int(y + r), 0), self.shape[0]) for r in (-radius, radius + 1))
        dx = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
        dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
        return np.s_[top:bottom, left:right], dx, dy

    def block(self, us: Span, vs: Span) -> tuple[Window, np.ndarray]:
        """Find the window that holds a rectangle of the grid, and the rectangle's mask in it."""
        (u0, u1), (v0, v1) = sorted(us), sorted(vs)
        radius = (np.hypot(u1 - u0, v1 - v0) / 2 + 2 * self.bend[0]) * PIXELS_PER_METER
        where = self.window(*self.to_pixels((u0 + u1) / 2, (v0 + v1) / 2), radius)[0]
        u, v = self.u[where], self.v[where]
        return where, (u >= u0) & (u < u1) & (v >= v0) & (v < v1)

    def paint(
        self,
        where: Window,
        mask: np.ndarray,
        color: np.ndarray,
        label: int,
        height: np.ndarray | float = 0.0,
        slope: np.ndarray | tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Paint a surface into a window, except where something higher stands."""
        seen = mask & (height >= self.height[where])
        self.labels[where][seen] = label
        self.height[where][seen] = np.broadcast_to(height, seen.shape)[seen]
        self.albedo[where][seen] = np.broadcast_to(color, (*seen.shape, 3))[seen]
        self.slope[where][seen] = np.broadcast_to(slope, (*seen.shape, 2))[seen]

    def pave(self, us: Span, vs: Span, color: np.ndarray) -> None:
        """Paint asphalt or slabs on a rectangle of the grid."""
        self.paint(*self.block(us, vs), color, _IMSURF)

    def mow(self, us: Span, vs: Span) -> None:
        """Paint a lawn in its own tone, through which the old ground shows weakly."""
        where, mask = self.block(us, vs)
        color = 0.45 * self.albedo[where] + 0.55 * self.between(0.8, 1.08) * self.pick(_LAWNS)
        self.paint(where, mask, color, _LOWVEG)


class _Box:
    """A rectangle of ``length`` x ``width`` meters at (u, v).

    It is turned by ``turn`` relative to the street there.
    """

    def __init__(
        self, canvas: _Canvas, u: float, v: float, length: float, width: float, turn: float = 0.0
    ):
        self.canvas, self.u, self.v, self.length, self.width = canvas, u, v, length, width
        self.turn, angle = turn, canvas.street_angle(u) + turn
        self.axis = np.array([np.cos(angle), np.sin(angle)], np.float32)
        self.half = length * PIXELS_PER_METER / 2, width * PIXELS_PER_METER / 2
        self.where, dx, dy = canvas.window(*canvas.to_pixels(u, v), np.hypot(*self.half) + 1)
        self.along = dx * self.axis[0] + dy * self.axis[1]  # (h, w) pixels from the center
        self.across = dy * self.axis[0] - dx * self.axis[1]
        self.mask = self.part((-1, 1), (-1, 1))

    def part(self, along: Span, across: Span) -> np.ndarray:
        """Find the part between two fractions (-1 to 1) of the half length and half width."""
        a, b = self.along / self.half[0], self.across / self.half[1]
        return (a >= along[0]) & (a <= along[1]) & (b >= across[0]) & (b <= across[1])

    def paint(self, color: np.ndarray, label: int, meters: float = 0.0) -> None:
        """Paint the box as a level surface."""
        self.canvas.paint(self.where, self.mask, color, label, meters * PIXELS_PER_METER)

    def tint(self, part: np.ndarray, label: int, color: tuple[int, int, int]) -> None:
        """Color a part of the box, where nothing of another class covers it."""
        seen = part & (self.canvas.labels[self.where] == label)
        self.canvas.albedo[self.where][seen] = color


def _flat_roof(box: _Box, meters: float) -> None:
    """Paint a roof of gravel or tar with a bright parapet and some boxes."""
    canvas, color = box.canvas, box.canvas.pick(_FLAT_ROOFS)
    box.paint(color * 1.15, _BUILDING, meters)
    inner = (abs(box.along) < box.half[0] - 2.5) & (abs(box.across) < box.half[1] - 2.5)
    gravel = color * (1 + 0.04 * canvas.grain(*inner.shape, 1))
    canvas.paint(box.where, inner, gravel, _BUILDING, meters * PIXELS_PER_METER)
    spread = 0.35 * min(box.length, box.width)
    for _ in range(int(min(box.length * box.width / 60, 8))):
        u, v = box.u + canvas.between(-spread, spread), box.v + canvas.between(-spread, spread)
        unit = _Box(canvas, u, v, canvas.between(1, 2.5), canvas.between(1, 2), box.turn)
        unit.paint(canvas.pick(_FLAT_ROOFS), _BUILDING, meters + 0.8)


def _pitched_roof(box: _Box, meters: float, color: np.ndarray, hipped: bool) -> None:
    """Paint a roof of tiles with two or four sides that fall from a ridge along the box."""
    canvas, pitch = box.canvas, box.canvas.between(0.45, 0.8)
    to_side, to_end = box.half[1] - abs(box.across), box.half[0] - abs(box.along)
    on_end = (to_end < to_side) & hipped
    fall = np.where(on_end, to_end, to_side)
    ends = np.sign(box.along)[..., None] * box.axis
    sides = np.sign(box.across)[..., None] * np.array([-box.axis[1], box.axis[0]])
    slope = -pitch * np.where(on_end[..., None], ends, sides)
    tiles = 1 + 0.05 * np.sin(fall * 1.9) + 0.04 * canvas.grain(*fall.shape)
    tiles[abs(box.across) < 0.8] = 1.2  # the ridge
    color, height = color * tiles[..., None], meters * PIXELS_PER_METER + pitch * fall
    canvas.paint(box.where, box.mask, color, _BUILDING, height, slope)


def _house(canvas: _Canvas, u: float, v: float, length: float, width: float, turn: float) -> None:
    """Paint a house with a flat roof or a pitched one with chimney, wing and solar panels."""
    box, meters = _Box(canvas, u, v, length, width, turn), canvas.between(3.5, 6.5)
    if canvas.chance(0.15):
        _flat_roof(box, meters)
        return
    color, hipped = canvas.pick(_TILE_ROOFS), canvas.chance(0.3)
    _pitched_roof(box, meters, color, hipped)
    if canvas.chance(0.3):
        box.tint(box.part((-0.7, canvas.between(0, 0.7)), (0.25, 0.8)), _BUILDING, _PANEL)
    if canvas.chance(0.35):
        side = canvas.between(-0.25, 0.25) * length
        du, dv = (side, 0.2 * width) if turn == 0 else (0.2 * width, side)
        wing = _Box(canvas, u + du, v + dv, width * 1.1, width * 0.65, turn + np.pi / 2)
        _pitched_roof(wing, meters, color, hipped)
    du, dv = canvas.between(-2, 2), canvas.between(-1.5, 1.5)
    chimney = _Box(canvas, u + du, v + dv, 0.9, 0.7, turn)
    chimney.paint(canvas.pick(_FLAT_ROOFS), _BUILDING, meters + 0.42 * width + 0.6)


def _car(canvas: _Canvas, u: float, v: float, turn: float) -> None:
    """Paint a rounded car or van with dark windows, if there is free pavement under it."""
    if canvas.label_at(u, v) != _IMSURF:
        return
    van = canvas.chance(0.12)
    length, width, meters = (5.4, 2.05, 2.2) if van else (canvas.between(4.1, 4.8), 1.9, 1.4)
    turn += canvas.between(-0.04, 0.04) + np.pi * canvas.chance(0.5)
    box = _Box(canvas, u, v, length, width, turn)
    box.mask &= (box.along / box.half[0]) ** 4 + (box.across / box.half[1]) ** 4 <= 1.25
    box.paint(canvas.pick(_PAINTS), _CAR, meters)
    windows = box.part((0.1, 0.42), (-0.8, 0.8))
    if not van:
        windows |= box.part((-0.75, -0.5), (-0.75, 0.75))
        windows |= box.part((-0.5, 0.1), (-0.9, 0.9)) & ~box.part((-1, 1), (-0.72, 0.72))
    box.tint(windows, _CAR, _GLASS)


def _tree(canvas: _Canvas, u: float, v: float, meters: float) -> None:
    """Paint a crown of rounded lobes (outer ones are lower), if its trunk is on free ground."""
    if canvas.label_at(u, v) not in (_IMSURF, _LOWVEG, _TREE):
        return
    x, y = canvas.to_pixels(u, v)
    color, radius = canvas.pick(_CROWNS), meters * PIXELS_PER_METER
    top, spread = canvas.between(1.5, 2.2) * radius, canvas.between(0.3, 0.9)
    for lobe in range(int(10 + 0.8 * radius)):
        # The square root spreads the lobes evenly over the crown's area; one is in the middle.
        angle, distance = canvas.between(0, 2 * np.pi), canvas.between(0, 1) ** 0.5 * (lobe > 0)
        size = (0.16 * radius + 4) * canvas.between(0.8, 1.4)
        reach = distance * max(radius - size, 0)
        where, dx, dy = canvas.window(x + reach * np.cos(angle), y + reach * np.sin(angle), size)
        inside = size**2 - dx**2 - dy**2
        dome = np.sqrt(np.maximum(inside, 0.25 * size**2))
        leaves = canvas.grain(*dome.shape, 3)
        slope = np.stack([-dx / dome, -dy / dome], axis=-1) * 0.7 + 0.45 * leaves[..., :2]
        height = top - spread * distance**2 * radius + dome - size
        shade = canvas.between(0.88, 1.12) * (1 + 0.1 * leaves[..., 2:])
        canvas.paint(where, inside > 0, color * shade, _TREE, height, slope)


def _pool(canvas: _Canvas, u: float, v: float) -> None:
    _Box(canvas, u, v, 8, 5).paint(canvas.pick(_PAVINGS), _CLUTTER)
    _Box(canvas, u, v, 6.5, 3.5).paint(canvas.pick((_WATER,)), _CLUTTER)


def _containers(canvas: _Canvas, u: float, v: float) -> None:
    for offset in (-1.4, 1.4):
        box = _Box(canvas, u, v + offset, 6, 2.4, canvas.between(-0.1, 0.1))
        box.paint(canvas.pick(_CONTAINERS), _CLUTTER, 2.5)


def _rubble(canvas: _Canvas, u: float, v: float) -> None:
    where, dx, dy = canvas.window(*canvas.to_pixels(u, v), 4.2 * PIXELS_PER_METER)
    edge = 3.3 * PIXELS_PER_METER * (1 + 0.25 * np.sin(3 * np.arctan2(dy, dx) + u))
    color = canvas.pick((_SOIL,)) * (1 + 0.13 * canvas.grain(*edge.shape, 1))
    slope = 0.6 * canvas.grain(*edge.shape, 2)
    canvas.paint(where, dx**2 + dy**2 < edge**2, color, _CLUTTER, 1.0, slope)


def _court(canvas: _Canvas, u: float, v: float) -> None:
    court = _Box(canvas, u, v, 24, 11)
    court.paint(canvas.pick((_CLAY,)), _CLUTTER)
    for line in (-0.8, -0.4, 0.0, 0.4, 0.8):
        court.tint(court.part((line - 0.012, line + 0.012), (-0.75, 0.75)), _CLUTTER, _MARKING)
    for line in (-0.75, -0.55, 0.55, 0.75):
        court.tint(court.part((-0.8, 0.8), (line - 0.025, line + 0.025)), _CLUTTER, _MARKING)


def _garden(canvas: _Canvas, us: Span, vs: Span) -> None:
    """Paint trees, a bed, shrubs and sometimes a shed, a pool or rubble."""

    def spot() -> tuple[float, float]:
        return canvas.between(*sorted(us)), canvas.between(*sorted(vs))

    if canvas.chance(0.4):
        bed = _Box(canvas, *spot(), canvas.between(2, 5), canvas.between(1.5, 3))
        bed.paint(canvas.pick((_SOIL,)), _LOWVEG)
    for _ in range(canvas.rng.integers(0, 5)):
        shrub = _Box(canvas, *spot(), canvas.between(1, 4), 1.2, canvas.between(0, 3))
        shrub.paint(canvas.pick(_CROWNS) * 0.85, _LOWVEG, 0.5)
    if canvas.chance(0.3):
        _flat_roof(_Box(canvas, *spot(), 3.5, 2.6), 2.4)
    if canvas.chance(0.12):
        (_pool, _rubble)[canvas.rng.integers(2)](canvas, sum(us) / 2, sum(vs) / 2)
    for _ in range(canvas.rng.integers(2, 7)):
        _tree(canvas, *spot(), canvas.between(1.5, 4.5))


def _plot(canvas: _Canvas, us: Span, edge: float, back: float) -> None:
    """Paint a house, a driveway with a car or garage, and a garden, from sidewalk to back."""
    canvas.mow(us, (edge, back))
    side, size = np.sign(back - edge), us[1] - us[0]
    length, width = canvas.between(9, min(13, size - 4)), canvas.between(8, 10.5)
    setback, paving = canvas.between(1.5, 5), canvas.pick(_PAVINGS)
    u, v = us[0] + size / 2 + 1.8, edge + side * (setback + width / 2)
    canvas.pave((us[0], us[0] + 3.2), (edge, edge + side * (setback + 7)), paving)
    canvas.pave((u - 0.7, u + 0.7), (edge, edge + side * setback), paving)
    turned = canvas.chance(0.3) and length < size - 5
    _house(canvas, u, v, length, width, np.pi / 2 if turned else 0.0)
    if canvas.chance(0.35):
        _flat_roof(_Box(canvas, us[0] + 1.6, edge + side * (setback + 8), 3.2, 6), 2.6)
    if canvas.chance(0.5):
        _car(canvas, us[0] + 1.6, edge + side * 2.9, np.pi / 2)
    _garden(canvas, (us[0] + 2.2, us[1] - 2.2), (v + side * width / 2, back))


def _houses(canvas: _Canvas, us: Span, vs: Span) -> None:
    """Paint two rows of plots back to back."""
    middle = sum(vs) / 2
    for edge in vs:
        left, size = us[0], canvas.between(14, 19)
        while left + size <= us[1]:
            _plot(canvas, (left, left + size), edge, middle)
            left, size = left + size, canvas.between(14, 19)
        if us[1] - left > 5:
            _garden(canvas, (left + 2, us[1] - 2), ((edge + middle) / 2, middle))


def _shops(canvas: _Canvas, us: Span, vs: Span) -> None:
    """Paint a hall with a flat roof and its parking lot between strips of lawn with trees."""
    strips = [(us[0] - 1, us[0] + 2.5), (us[1] - 2.5, us[1] + 1)]
    us = (us[0] + 2.5, us[1] - 2.5)
    canvas.pave(us, vs, canvas.pick(_PAVINGS))
    length, depth = us[1] - us[0], min(0.5 * (vs[1] - vs[0]), 24)
    meters, busy = canvas.between(4, 9), canvas.between(0.1, 0.35)
    v = vs[0] + 2 + depth / 2
    _flat_roof(_Box(canvas, sum(us) / 2, v, 0.85 * length, depth), meters)
    if canvas.chance(0.6):  # an L-shaped hall
        _flat_roof(_Box(canvas, us[0] + 0.22 * length, v + depth / 2, 12, 14), meters + 1.5)
    if canvas.chance(0.5):
        (_containers, _rubble)[canvas.rng.integers(2)](canvas, us[1] - 5, vs[0] + depth + 6)
    for row in np.arange(vs[0] + depth + 8, vs[1] - 3, 8.5):
        for slot in np.arange(us[0] + 3, us[1] - 2, 2.7):
            _Box(canvas, slot - 1.35, row, 0.2, 4.6).paint(np.array(_MARKING, np.float32), _IMSURF)
            if canvas.chance(busy):
                _car(canvas, slot, row, np.pi / 2)
    for strip in strips:
        for v in np.arange(vs[0] + 3, vs[1], 5.5):
            _tree(canvas, canvas.between(*strip), v, canvas.between(2, 3.5))


def _flats(canvas: _Canvas, us: Span, vs: Span) -> None:
    """Paint long blocks of flats in a lawn with trees and a footpath."""
    canvas.mow(us, vs)
    canvas.pave(us, (sum(vs) / 2 - 1, sum(vs) / 2 + 1), canvas.pick(_PAVINGS))
    for v in (vs[0] + 8.5, vs[1] - 8.5):
        box = _Box(canvas, sum(us) / 2, v, 0.75 * (us[1] - us[0]), canvas.between(10, 12))
        if canvas.chance(0.5):
            _flat_roof(box, canvas.between(7, 10))
        else:
            color = canvas.pick(_TILE_ROOFS)
            _pitched_roof(box, canvas.between(7, 10), color, canvas.chance(0.5))
    for _ in range(canvas.rng.integers(18, 32)):
        _tree(canvas, canvas.between(*us), canvas.between(*vs), canvas.between(1.8, 4.5))


def _park(canvas: _Canvas, us: Span, vs: Span) -> None:
    """Paint a striped meadow with a footpath, a court, containers or rubble, and a wood."""
    canvas.mow(us, vs)
    where, mask = canvas.block(us, vs)
    stripes = np.sin(canvas.v[where][mask] * (2 * np.pi / canvas.between(0.6, 2.5)))
    canvas.albedo[where][mask] *= 1 + canvas.between(0, 0.14) * stripes[:, None]
    v = sum(vs) / 2
    canvas.pave(us, (v - 1.2, v + 1.2), canvas.pick((*_PAVINGS, _SOIL)))
    clutter = (_court, _containers, _rubble)[canvas.rng.integers(3)]
    clutter(canvas, us[0] + 14, (v + vs[1]) / 2)
    for _ in range(canvas.rng.integers(25, 55)):
        tree_u, tree_v = us[1] - abs(canvas.rng.normal(0, 14)), canvas.rng.normal(v - 8, 8)
        _tree(canvas, tree_u, float(np.clip(tree_v, *vs)), canvas.between(1.6, 5))


def _street(canvas: _Canvas, fixed: float, ends: Span, along_u: bool) -> None:
    """Paint markings, cars and trees between two junctions, on asphalt that is there already."""

    def at(position: float, offset: float) -> tuple[float, float]:
        return (position, fixed + offset) if along_u else (fixed + offset, position)

    turn, white = 0.0 if along_u else np.pi / 2, np.array(_MARKING, np.float32)
    start, end = ends[0] + _BLOCK_EDGE + 2, ends[1] - _BLOCK_EDGE - 2
    for position in np.arange(start, end, 5.0) if canvas.chance(0.7) else ():
        _Box(canvas, *at(position, 0), 2.4, 0.25, turn).paint(white, _IMSURF)
    for stripe in np.arange(-3.4, 3.5, 1.0) if canvas.chance(0.5) else ():
        _Box(canvas, *at(start - 1, stripe), 2.4, 0.5, turn).paint(white, _IMSURF)
    for side in (-1, 1):
        busy, leafy = canvas.between(0, 0.35), 0.75 * canvas.chance(0.6)
        for position in np.arange(start + 3, end - 2, 6.2):
            if canvas.chance(busy):
                _car(canvas, *at(position + canvas.between(-0.5, 0.5), 3.05 * side), turn)
        if canvas.chance(0.3):
            _car(canvas, *at(canvas.between(start, end), 0.95 * side), turn)
        for position in np.arange(start, end, 8.0):
            if canvas.chance(leafy):
                offset = (_BLOCK_EDGE + canvas.between(0.2, 1)) * side
                _tree(canvas, *at(position, offset), canvas.between(1.8, 3.6))


def _town(canvas: _Canvas) -> None:
    """Paint streets on the lines of the grid (without some cross streets), and all blocks."""
    reach = float(np.hypot(*canvas.shape)) / 2 / PIXELS_PER_METER
    us, vs = ([canvas.between(-22, 22)] for _ in range(2))
    for lines, low, high in ((us, 56, 90), (vs, 46, 60)):
        while lines[0] > -reach:
            lines.insert(0, lines[0] - canvas.between(low, high))
        while lines[-1] < reach:
            lines.append(lines[-1] + canvas.between(low, high))
    streets = [(v, ends, True) for v in vs for ends in pairwise(us)]
    streets += [(u, ends, False) for u in us for ends in pairwise(vs) if canvas.chance(0.7)]
    # All sidewalks come before all asphalt, so a sidewalk ends at a junction.
    for half, colors in ((_BLOCK_EDGE, _PAVINGS), (_ROAD / 2, _PAVINGS[1::2])):
        color = canvas.pick(colors)
        for fixed, (start, end), along_u in streets:
            spans = (start - half, end + half), (fixed - half, fixed + half)
            canvas.pave(*(spans if along_u else spans[::-1]), color * canvas.between(0.95, 1.05))
    kinds, first = (_houses, _houses, _shops, _flats, _park), canvas.rng.integers(5)
    for i, (u0, u1) in enumerate(pairwise(us)):
        for j, (v0, v1) in enumerate(pairwise(vs)):
            spans = (u0 + _BLOCK_EDGE, u1 - _BLOCK_EDGE), (v0 + _BLOCK_EDGE, v1 - _BLOCK_EDGE)
            if canvas.block(*spans)[1].size:
                kinds[(first + 2 * i + 3 * j) % 5](canvas, *spans)
    for street in streets:
        _street(canvas, *street)


def _shadow(height: np.ndarray, away: np.ndarray, fall: float) -> np.ndarray:
    """Find the pixels (h, w) from which the sun is hidden.

    Args:
        height: (h, w) height above the ground in pixels.
        away: (2,) unit vector (x, y) away from the sun.
        fall: pixels by which a sunbeam falls over one pixel.
    """
    # Height below which sunlight is blocked by something within 1, 3, 7, ... 127 pixels toward the
    # sun.
    beam = height
    for step in (1, 2, 4, 8, 16, 32, 64):
        dx, dy = away * step
        move = np.array([[1, 0, round(dx)], [0, 1, round(dy)]], np.float32)
        moved = cv2.warpAffine(beam, move, height.shape[::-1], flags=cv2.INTER_NEAREST)
        beam = np.maximum(beam, moved - np.float32(fall * step))
    return beam > height + 0.8


def _photograph(canvas: _Canvas) -> np.ndarray:
    """Add sun, shadow, haze, lens blur and sensor noise: (h, w, 3) uint8."""
    angle, fall = canvas.between(0, 2 * np.pi), canvas.between(0.8, 1.5)
    away = np.array([np.cos(angle), np.sin(angle)], np.float32)
    # Lambert's law, relative to level ground.
    facing = np.maximum(1 + canvas.slope @ away / fall, 0)
    facing /= np.sqrt(1 + (canvas.slope**2).sum(-1))
    hidden = _shadow(canvas.height, away, fall).astype(np.float32)
    sun = (facing * (1 - cv2.GaussianBlur(hidden, (0, 0), 0.8)))[..., None]
    # Infrared is scattered least, so shadows turn from red to blue.
    sky = np.array([0.34, 0.38, 0.44], np.float32) * canvas.between(0.85, 1.15)
    image = canvas.albedo * (1 + 0.03 * canvas.noise(3) + 0.04 * canvas.noise(40))
    image *= sky + (1 - sky) * sun
    image *= np.float32(canvas.between(0.88, 1.12) * canvas.rng.uniform(0.94, 1.06, 3))
    image = cv2.GaussianBlur(image, (0, 0), canvas.between(0.6, 0.85)) + canvas.between(0, 10)
    image += canvas.between(1.5, 4) * canvas.grain(*image.shape)
    return np.clip(image, 0, 255).round().astype(np.uint8)


def erode_labels(labels: np.ndarray, radius: int = 3, ignore_index: int = 6) -> np.ndarray:
    """Set the ignore label where another class lies within a radius.

    The ISPRS "noBoundary" masks are made so: each class is eroded by a disc.

    Args:
        labels: (h, w) uint8
        radius: radius of the disc in pixels.
        ignore_index: the ignore label.
    """
    offsets = np.arange(-radius, radius + 1)
    disc = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    near_boundary = cv2.dilate(labels, disc) != cv2.erode(labels, disc)
    return np.where(near_boundary, np.uint8(ignore_index), labels)


def make_scene(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene; equal arguments give equal scenes.

    Args:
        seed: a number of at least 0.
        height: height in pixels.
        width: width in pixels.

    Returns:
        Image (height, width, 3) uint8 in near infrared, red, green, and labels (height, width)
        uint8: ImSurf 0, Building 1, LowVeg 2, Tree 3, Car 4 (all in every scene), Clutter 5.

    Raises:
        InputError: a side is shorter than ``MIN_SIZE``.
    """
    if min(height, width) < MIN_SIZE:
        raise InputError(
            f"scene of {height} x {width} pixels", f"expected at least {MIN_SIZE} a side"
        )
    rng, inner = np.random.default_rng(seed), np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    while True:
        canvas = _Canvas(rng, height, width)
        _town(canvas)
        labels = canvas.labels[inner].copy()
        shares = np.bincount(labels.ravel(), minlength=6) / labels.size
        # A small scene may show one corner of a town only.
        if (shares[: len(_MIN_SHARES)] >= _MIN_SHARES).all():
            return _photograph(canvas)[inner].copy(), labels
