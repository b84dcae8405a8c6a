"""Where basal starts: a root-polynomial regression through few spectra, in closed form from one pass over captures."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from hyperskin.data.frames import Frame
from hyperskin.errors import DataError
from hyperskin.models.regression import ridge_solution
from hyperskin.models.relative_light import exponent_matrix, linear_light, root_features, split_brightness

Floats = npt.NDArray[np.float64]

_PICTURE_PX = 4096  # of one picture; its neighbours tell little more
_HALF_BRIGHTNESS = 0.05
_RIDGE = 1e-6


class Start(NamedTuple):
    """A regression of rank k: spectrum = brightness x (features @ stem @ basis).

    Attributes:
        stem: (features, k).
        basis: (k, C_out), orthonormal rows, the one that explains most first.
        spread: (k,), how far the coefficients of the basis are from the regression's: their standard deviation.
    """

    stem: Floats
    basis: Floats
    spread: Floats


class StartSums:
    """Sums over pixels of captures; their size does not grow with the captures.

    A reference is divided by the brightness of its pixel and weighs q = brightness / (brightness + 0.05): what is dark
    is noise for the most part. Of every picture a lattice of some 4096 pixels is taken.

    Args:
        in_channels: Channels of the input.
        out_channels: Bands of the reference.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        self._exponents = exponent_matrix(in_channels)
        self._feature_count = len(self._exponents) + 1
        size = self._feature_count + out_channels
        self._count = 0
        self._sum = np.zeros(size)
        self._squares = np.zeros((size, size))

    def add(self, frame: Frame) -> None:
        """Take in a capture as one camera saw it; invalid pixels do not count."""
        height, width = frame.valid.shape
        step = math.ceil(math.sqrt(height * width / _PICTURE_PX))
        lattice = (slice(step // 2, None, step), slice(step // 2, None, step))
        valid = frame.valid[lattice]
        pixels = torch.from_numpy(frame.input[lattice][valid]).double()[..., None, None]  # a frame of one pixel each
        targets = frame.reference[lattice][valid].astype(np.float64)

        brightness, relative = split_brightness(linear_light(pixels))
        features = root_features(relative, self._exponents).numpy()[..., 0, 0]
        scale = brightness.numpy()[..., 0, 0]
        weighted = scale / (scale + _HALF_BRIGHTNESS) * np.hstack([features, targets / scale])
        self._count += len(weighted)
        self._sum += weighted.sum(axis=0)
        self._squares += weighted.T @ weighted

    def solve(self, rank: int) -> Start:
        """Return the regression of least weighted squares through `rank` spectra.

        Raises:
            DataError: There was no valid pixel.
        """
        if self._count == 0:
            raise DataError("A network must see at least one pixel to start from; got none: check the valid maps.")
        features, bands = slice(self._feature_count), slice(self._feature_count, None)
        basis = _main_directions(self._squares[bands, bands], rank)
        weights = ridge_solution(self._squares[features, features], self._squares[features, bands], ridge=_RIDGE)
        stem = weights @ basis
        residual = np.vstack([-stem, basis])  # of the coefficients, as a map of the weighted features and bands
        mean = self._sum @ residual / self._count
        mean_square = np.sum(residual * (self._squares @ residual), axis=0) / self._count
        return Start(stem, basis.T, np.sqrt(np.maximum(mean_square - mean**2, 0.0)))


def _main_directions(squares: Floats, rank: int) -> Floats:
    """Return the `rank` directions that most of the squares lie in, (C, rank), each with its largest part positive."""
    directions = np.linalg.eigh(squares)[1][:, ::-1][:, :rank]
    largest = np.abs(directions).argmax(axis=0)
    signs: Floats = np.sign(directions[largest, np.arange(rank)])
    return directions * signs
