"""Fully connected conditional random field over the pixels of an image, solved by mean field.

Source: Kraehenbuehl and Koltun, NeurIPS 2011. The filter is the permutohedral lattice of Adams,
Baek and Davis, Eurographics 2010. This code needs only torch, since the usual C++ package is hard
to install. Add another solver to :data:`CRFS` to use it.

Notation: n is the number of pixels, d of features of each, and m of lattice points.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ITERATIONS = 10
CERTAINTY = 0.7
"""Probability of a pixel's own label before its neighbors count."""

NEAR_SPREAD, NEAR_WEIGHT = 3.0, 3.0
"""Standard deviation in pixels, and weight, of the smoothness term: near pixels attract."""

FAR_SPREAD, COLOR_SPREAD, FAR_WEIGHT = 60.0, 5.0, 5.0
"""Standard deviations in pixels and in color (0 to 255), and weight, of the appearance term."""


class Permutohedral:
    """Filter that approximates the sum over j of exp(-|f_i - f_j|^2 / 2) values_j.

    Args:
        features: (n, d), in units of the standard deviation.
    """

    def __init__(self, features: Tensor):
        n, d = features.shape
        keys, self.weights = _simplices(features.double())  # (n, d + 1, d), (n, d + 1)
        # One number for each point of the lattice, with room for neighbors on both sides.
        low = keys.amin(dim=(0, 1)) - d - 1
        extent = (keys.amax(dim=(0, 1)) + d + 2 - low).tolist()
        if math.prod(extent) >= 2**63:
            raise ValueError(f"features span too many deviations: {extent} lattice points a side")
        place = torch.tensor(
            [math.prod(extent[axis + 1 :]) for axis in range(d)], device=features.device
        )
        codes = ((keys - low) * place).sum(dim=-1)  # (n, d + 1)
        lattice, self.index = codes.flatten().unique(return_inverse=True)  # (m,), (n * (d + 1),)
        self.neighbors = _neighbors(lattice, place, d)
        self.weights = self.weights.float()
        self.n, self.d, self.m = n, d, len(lattice)

    def __call__(self, values: Tensor) -> Tensor:
        """Filter values (n, c) float32 to (n, c)."""
        c = values.shape[1]
        spread = (self.weights[..., None] * values[:, None]).reshape(-1, c)
        points = values.new_zeros(self.m + 1, c)  # the last one stands for a missing neighbor
        points[:-1].index_add_(0, self.index, spread)
        for before, after in self.neighbors:
            blurred = points[:-1] + 0.5 * (points[before] + points[after])
            points = torch.cat([blurred, points[-1:]])
        gathered = points[self.index].reshape(self.n, self.d + 1, c)
        return (self.weights[..., None] * gathered).sum(dim=1) / (1 + 2.0**-self.d)


def _simplices(features: Tensor) -> tuple[Tensor, Tensor]:
    """Find the corners of the simplex around each point, and its barycentric coordinates.

    Returns:
        The first d of the d + 1 coordinates of each corner, (n, d + 1, d) int64, and the
        barycentric coordinates, (n, d + 1).
    """
    n, d = features.shape
    axes = torch.arange(1, d + 1, device=features.device, dtype=features.dtype)
    # A blur step of the lattice then has a standard deviation of 1.
    scaled = features * math.sqrt(2 / 3) * (d + 1) / (axes * (axes + 1)).sqrt()
    # On the plane whose d + 1 coordinates sum to 0.
    tails = scaled.flip(1).cumsum(1).flip(1)  # (n, d): the sum from each axis on
    zero = tails.new_zeros(n, 1)
    elevated = torch.cat([tails, zero], 1) - torch.cat([zero, axes * scaled], 1)  # (n, d + 1)
    # The nearest point of the plane whose coordinates are all multiples of d + 1.
    nearest = (elevated / (d + 1)).round() * (d + 1)
    excess = (nearest.sum(1) / (d + 1)).round().long()  # (n,)
    order = (elevated - nearest).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    positions = torch.arange(d + 1, device=features.device).expand(n, -1)
    rank.scatter_(1, order, positions)
    rank = rank + excess[:, None]
    too_low, too_high = rank < 0, rank > d
    nearest = nearest + (d + 1) * (too_low.to(nearest) - too_high.to(nearest))
    rank = rank + (d + 1) * (too_low.long() - too_high.long())
    delta = (elevated - nearest) / (d + 1)
    weights = delta.new_zeros(n, d + 2)
    weights.scatter_add_(1, d - rank, delta)
    weights.scatter_add_(1, d + 1 - rank, -delta)
    weights[:, 0] += 1 + weights[:, d + 1]
    corners = torch.arange(d + 1, device=features.device)[:, None]  # number k of a corner
    steps = torch.where(positions[:1] <= d - corners, corners, corners - d - 1)  # (corner, rank)
    keys = nearest.long()[:, None] + steps[:, rank].transpose(0, 1)  # (n, d + 1, d + 1)
    return keys[..., :d], weights[:, : d + 1]


def _neighbors(lattice: Tensor, place: Tensor, d: int) -> list[tuple[Tensor, Tensor]]:
    """Find the positions of both neighbors along each of d + 1 directions; m means no neighbor.

    Args:
        lattice: (m,) sorted codes.
        place: (d,) the change of a code for a step of 1 along an axis.
        d: number of features.
    """
    found = []
    for axis in range(d + 1):
        step = place.sum()
        if axis < d:
            step = step - (d + 1) * place[axis]
        both = []
        for code in (lattice - step, lattice + step):
            at = torch.searchsorted(lattice, code).clamp(max=len(lattice) - 1)
            both.append(torch.where(lattice[at] == code, at, len(lattice)))
        found.append((both[0], both[1]))
    return found


@dataclass(frozen=True)
class _Kernel:
    """A weighted filter, normalized on both sides so that it stays symmetric."""

    filter: Callable[[Tensor], Tensor]
    scale: Tensor
    weight: float

    @classmethod
    def of(cls, filter: Callable[[Tensor], Tensor], ones: Tensor, weight: float) -> "_Kernel":
        return cls(filter, (filter(ones) + 1e-20).rsqrt(), weight)

    def __call__(self, values: Tensor) -> Tensor:
        return self.weight * self.scale * self.filter(self.scale * values)


def mean_field(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Move the borders of binary masks to the edges of their image.

    Args:
        image: (h, w, 3) uint8
        labels: (masks, h, w) bool; each mask is solved separately.

    Returns:
        The masks, (masks, h, w) bool.
    """
    count, height, width = labels.shape
    colors = torch.from_numpy(image).reshape(-1, 3).float()
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([columns, rows], dim=-1).reshape(-1, 2).float()  # (n, 2)
    far = Permutohedral(torch.cat([places / FAR_SPREAD, colors / COLOR_SPREAD], dim=1))

    def near(values: Tensor) -> Tensor:
        maps = values.T.reshape(-1, 1, height, width)
        return _gaussian(maps, NEAR_SPREAD).reshape(-1, height * width).T

    ones = colors.new_ones(len(colors), 1)
    kernels = [_Kernel.of(near, ones, NEAR_WEIGHT), _Kernel.of(far, ones, FAR_WEIGHT)]
    is_label = torch.from_numpy(labels).reshape(count, -1).T  # (n, masks)
    # For two labels, log-odds are enough: the unary term plus what the other pixels add.
    odds = math.log(CERTAINTY / (1 - CERTAINTY))
    unary = torch.where(is_label, odds, -odds).float()
    belief = unary
    for _ in range(ITERATIONS):
        # The probability of the label minus the probability of the other one.
        lean = (belief / 2).tanh()
        belief = unary + sum(kernel(lean) for kernel in kernels)
    return (belief > 0).T.reshape(count, height, width).numpy()


def _gaussian(maps: Tensor, spread: float) -> Tensor:
    """Filter maps (b, 1, h, w) with Gaussian weights (not normalized); the outside is zero."""
    radius = math.ceil(4 * spread)
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * spread**2))
    along = torch.nn.functional.conv2d(maps, kernel.view(1, 1, 1, -1), padding=(0, radius))
    return torch.nn.functional.conv2d(along, kernel.view(1, 1, -1, 1), padding=(radius, 0))


CRFS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"meanfield": mean_field}
"""Solvers by the name in a config; each takes an image and masks and returns masks."""
