"""Smooth random fields over the head's own coordinates, so that a spot stays where it is when the head turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.floating[Any]]
"""Numbers, one a place; float32 unless a docstring says otherwise."""
Points = npt.NDArray[np.floating[Any]]
"""Places in head units, (N, 3): x to the person's left, y up, z forward."""

_CELLS = 32
_MEAN_SQUARE = (151 / 315) ** 1.5  # root of the mean square weight of a cubic B-spline in three dimensions


class SolidField:
    """A random function of place with mean 0 and variance 1, smooth over about `scale` head units.

    White noise on a cubic lattice, interpolated by cubic B-splines; it repeats after 32 cells.
    """

    def __init__(self, stream: np.random.Generator, scale: float | tuple[float, float, float]) -> None:
        self._per_unit = (1.0 / np.broadcast_to(np.asarray(scale, dtype=np.float64), 3)).astype(np.float32)
        self._lattice = stream.standard_normal((_CELLS,) * 3, dtype=np.float32)

    def __call__(self, points: Points) -> Floats:
        """Return the field at `points`, (N,) float32."""
        places = points.T * self._per_unit[:, None]
        values: Floats = ndimage.map_coordinates(self._lattice, places, order=3, mode="grid-wrap", prefilter=False)
        return values / np.float32(_MEAN_SQUARE)


class Spots:
    """Round spots on the head, each with a place, a radius and a strength."""

    def __init__(self, centres: Points, radii: Floats, strengths: Floats) -> None:
        self._centres, self._radii, self._strengths = centres, radii, strengths

    def __call__(self, points: Points) -> Floats:
        """Return the summed strength at `points`, (N,) float32; a spot falls to nothing at twice its radius."""
        total = np.zeros(len(points), dtype=np.float32)
        for centre, radius, strength in zip(self._centres, self._radii, self._strengths, strict=True):
            near = np.flatnonzero(np.abs(points - centre).max(axis=1) < 2 * radius)
            distance = np.square(points[near] - centre).sum(axis=1) / radius**2
            total[near] += strength * np.exp(-(distance**2))
        return total


def smoothstep(low: float | Floats, high: float | Floats, values: Floats) -> Floats:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between; `low` above `high` falls instead."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)


def bump(x: Floats, y: Floats, place: tuple[float, float], width: tuple[float, float]) -> Floats:
    """Return a Gaussian hill of height 1 around `place`."""
    return np.exp(-0.5 * (((x - place[0]) / width[0]) ** 2 + ((y - place[1]) / width[1]) ** 2))
