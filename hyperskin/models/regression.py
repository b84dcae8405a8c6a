"""Per-pixel least squares in closed form: the floor that every network must beat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations_with_replacement
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hyperskin.cube import AnyFloat, Cube, require_cube
from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.spectral.rendering import Transfer, decode_srgb

Pixels = npt.NDArray[AnyFloat]
"""Pixels in any order, (P, C)."""

Floats = npt.NDArray[np.float64]

_RGB = slice(0, 3)
_BLOCK_PX = 8192  # 35 float64 features of a block stay in the cache
_DEGREE = 3
_TRANSFERS: dict[str, Transfer] = {"srgb": "srgb", "linear": "linear"}


@dataclass(frozen=True, eq=False)
class Regression:
    """A map from one pixel's input to its spectrum that least squares has found.

    Attributes:
        kind: Which features of a pixel are weighed, one of `KINDS`.
        transfer: How red, green and blue arrive: "srgb" or "linear".
        in_channels: Channels of the input: red, green, blue, and whatever is reflectance already.
        weights: (features, C_out) float64.
    """

    kind: str
    transfer: Transfer
    in_channels: int
    weights: Floats

    @property
    def parameter_count(self) -> int:
        """How many numbers were fitted."""
        return self.weights.size

    def reconstruct(self, input: Cube) -> npt.NDArray[np.float32]:  # noqa: A002 - what a pair calls it
        """Return the spectrum at every pixel.

        Args:
            input: One frame, (H, W, C_in): red, green and blue in [0, 1], further channels as reflectance.

        Returns:
            Reflectance, (H, W, C_out), float32, not clipped. Beside it no more memory is used than a block of rows
            needs.

        Raises:
            ShapeError: `input` is not (H, W, C_in).
        """
        require_cube("input", input)
        _require_channels("input", input, self.in_channels)
        height, width, _ = input.shape
        cube = np.empty((height, width, self.weights.shape[1]), dtype=np.float32)
        for rows in _blocks(height, max(1, _BLOCK_PX // width)):
            pixels = input[rows].reshape(-1, self.in_channels)
            spectra = _features(self.kind, pixels, self.transfer) @ self.weights
            cube[rows] = spectra.reshape(-1, width, self.weights.shape[1])
        return cube

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what makes this regression as plain arrays, which `numpy.savez` stores without pickle."""
        return {
            "kind": np.array(self.kind),
            "transfer": np.array(self.transfer),
            "in_channels": np.array(self.in_channels),
            "weights": self.weights,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return the regression that `arrays` came from.

        Raises:
            UnknownNameError: The kind or the transfer curve is not a known one.
            ShapeError: The weights do not fit to the kind.
        """
        in_channels = int(arrays["in_channels"])
        kind = _require_kind(str(arrays["kind"]))
        transfer = _require_transfer(str(arrays["transfer"]))
        weights = np.asarray(arrays["weights"], dtype=np.float64)
        expected = feature_count(kind, in_channels)
        if weights.ndim != 2 or weights.shape[0] != expected:
            raise ShapeError(f"`weights` of {kind!r} must be ({expected}, C_out); got shape {weights.shape}.")
        return cls(kind, transfer, in_channels, weights)


@dataclass(eq=False)
class RegressionSums:
    """What least squares needs to know of the pixels seen so far; its size does not grow with them.

    Attributes:
        kind: "mean" (one spectrum for all pixels), "linear", "polynomial" or "root_polynomial".
        in_channels: Channels of the input.
        out_channels: Bands of the target.
        transfer: How red, green and blue arrive: "srgb" or "linear".
        count: Pixels seen so far.

    Raises:
        UnknownNameError: The kind or the transfer curve is not a known one.
    """

    kind: str
    in_channels: int
    out_channels: int
    transfer: Transfer = "srgb"
    count: int = field(default=0, init=False)
    _gram: Floats = field(init=False, repr=False)
    _cross: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start from nothing."""
        _require_kind(self.kind)
        _require_transfer(self.transfer)
        features = feature_count(self.kind, self.in_channels)
        self._gram = np.zeros((features, features))
        self._cross = np.zeros((features, self.out_channels))

    def add(self, inputs: Pixels, targets: Pixels) -> None:
        """Take in more pixels.

        Args:
            inputs: (P, C_in): red, green and blue in [0, 1], further channels as reflectance.
            targets: Measured reflectance of the same pixels, (P, C_out).

        Raises:
            ShapeError: The arrays are not (P, C_in) and (P, C_out).
            DataError: A value is NaN or infinite; nothing was added.
        """
        for name, pixels, channels in (("inputs", inputs, self.in_channels), ("targets", targets, self.out_channels)):
            if pixels.ndim != 2:
                raise ShapeError(f"`{name}` must be pixels (P, C); got shape {pixels.shape}.")
            _require_channels(name, pixels, channels)
            _require_finite(name, pixels)
        if len(inputs) != len(targets):
            raise ShapeError(f"`targets` must have {len(inputs)} pixels like `inputs`; got {len(targets)}.")
        for block in _blocks(len(inputs), _BLOCK_PX):
            features = _features(self.kind, inputs[block], self.transfer)
            self._gram += features.T @ features
            self._cross += features.T @ targets[block].astype(np.float64)
        self.count += len(inputs)

    def solve(self, *, ridge: float) -> Regression:
        """Return the regression with the least squared error over all pixels so far.

        Args:
            ridge: Penalty on squared weights, relative to the mean square of the features, unitless. It keeps
                features that hardly differ from weighing against each other; 1e-6 is enough.

        Raises:
            DataError: There was no pixel, or the ridge is negative.

        Source:
            Hoerl, Kennard: Ridge regression, Technometrics 12 (1970), doi:10.1080/00401706.1970.10488634.
        """
        if self.count == 0:
            raise DataError("A regression must see at least one pixel; got none: check the split and the valid maps.")
        if not ridge >= 0:
            raise DataError(f"`ridge` must be 0 or more; got {ridge!r}.")
        weights = ridge_solution(self._gram, self._cross, ridge=ridge)
        return Regression(self.kind, self.transfer, self.in_channels, weights)


def fit_regression(
    kind: str, inputs: Pixels, targets: Pixels, *, ridge: float, transfer: Transfer = "srgb"
) -> Regression:
    """Return the regression of `targets` on `inputs` with the least squared error.

    Args:
        kind: "mean", "linear", "polynomial" or "root_polynomial".
        inputs: (P, C_in): red, green and blue in [0, 1], further channels as reflectance.
        targets: Measured reflectance of the same pixels, (P, C_out).
        ridge: Penalty on squared weights, relative to the mean square of the features.
        transfer: How red, green and blue arrive: "srgb" or "linear".

    Raises:
        UnknownNameError: The kind or the transfer curve is not a known one.
        ShapeError: The arrays are not (P, C_in) and (P, C_out).
        DataError: There is no pixel, a value is NaN or infinite, or the ridge is negative.

    Examples:
        >>> light = np.random.default_rng(1).random((50, 3))
        >>> map_ = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 2.0]])
        >>> regression = fit_regression("linear", light, light @ map_, ridge=0.0, transfer="linear")
        >>> bool(np.allclose(regression.reconstruct(light[None]), light @ map_, atol=1e-6))
        True
    """
    sums = RegressionSums(kind, inputs.shape[-1], targets.shape[-1], transfer)
    sums.add(inputs, targets)
    return sums.solve(ridge=ridge)


def ridge_solution(gram: Floats, cross: Floats, *, ridge: float) -> Floats:
    """Return the weights (features, C) of least squares, from products of features with features and with targets."""
    penalty = ridge * np.trace(gram) / len(gram)
    # Least squares again, for without a ridge the features of few pixels may not determine the weights.
    weights: Floats = np.linalg.lstsq(gram + penalty * np.eye(len(gram)), cross, rcond=None)[0]
    return weights


def root_exponents(channels: int) -> tuple[tuple[int, ...], ...]:
    """Return the powers of the channels in every product of 1 to 3 of them whose root is no other's.

    A product whose exponents have a common divisor is the power of another and repeats its root.

    Examples:
        >>> root_exponents(2)
        ((1, 0), (0, 1), (1, 1), (2, 1), (1, 2))
    """
    return tuple(
        exponents
        for degree in range(1, _DEGREE + 1)
        for exponents in _exponents(channels, degree)
        if math.gcd(*exponents) == 1
    )


def feature_count(kind: str, in_channels: int) -> int:
    """Return how many features of a pixel `kind` weighs."""
    dark_pixel = np.zeros((1, in_channels))
    return int(_KINDS[kind](dark_pixel).shape[1])


def _features(kind: str, pixels: Pixels, transfer: Transfer) -> Floats:
    """Return the features of every pixel, (P, features), of linear light."""
    light = pixels.astype(np.float64)
    if transfer == "srgb":
        light[:, _RGB] = decode_srgb(light[:, _RGB])
    return _KINDS[kind](light)


def _mean_features(light: Floats) -> Floats:
    return np.ones((len(light), 1))


def _linear_features(light: Floats) -> Floats:
    return np.hstack([_mean_features(light), light])


def _polynomial_features(light: Floats) -> Floats:
    """Return every product of at most three channels, the empty one included."""
    exponents = [e for degree in range(_DEGREE + 1) for e in _exponents(light.shape[1], degree)]
    return _products(light, exponents)


def _root_polynomial_features(light: Floats) -> Floats:
    """Return the d-th root of every product of d = 1..3 channels, each function once.

    All grow with the light as the light itself does, so a darker picture of a scene gives a darker cube of the same
    spectra.

    Source:
        Finlayson, Mackiewicz, Hurlbert: Color correction using root-polynomial regression, IEEE Transactions on Image
        Processing 24 (2015), doi:10.1109/TIP.2015.2405336.
    """
    positive = np.maximum(light, 0.0)
    parts = [positive]
    for degree, root in ((2, np.sqrt), (3, np.cbrt)):
        chosen = [exponents for exponents in root_exponents(light.shape[1]) if sum(exponents) == degree]
        parts.append(_products(root(positive), chosen))
    return np.hstack(parts)


@cache
def _exponents(channels: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """Return the exponents of every monomial of exactly `degree`."""
    chosen = combinations_with_replacement(range(channels), degree)
    return tuple(tuple(factors.count(channel) for channel in range(channels)) for factors in chosen)


def _products(values: Floats, exponents: list[tuple[int, ...]]) -> Floats:
    """Return one monomial of the channels per column, multiplied out because powers are slow."""
    columns = np.ones((len(exponents), len(values)))
    for column, powers in zip(columns, exponents, strict=True):
        for channel, power in enumerate(powers):
            for _ in range(power):
                column *= values[:, channel]
    return columns.T


_KINDS: dict[str, Callable[[Floats], Floats]] = {
    "mean": _mean_features,
    "linear": _linear_features,
    "polynomial": _polynomial_features,
    "root_polynomial": _root_polynomial_features,
}
KINDS = tuple(_KINDS)


def _blocks(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _require_kind(kind: str) -> str:
    if kind not in _KINDS:
        raise UnknownNameError(f"`kind` of a regression must be one of {', '.join(KINDS)}; got {kind!r}.")
    return kind


def _require_transfer(transfer: str) -> Transfer:
    if transfer not in _TRANSFERS:
        raise UnknownNameError(f"`transfer` must be one of {', '.join(_TRANSFERS)}; got {transfer!r}.")
    return _TRANSFERS[transfer]


def _require_channels(name: str, array: npt.NDArray[Any], channels: int) -> None:
    if array.shape[-1] != channels:
        raise ShapeError(f"`{name}` must have {channels} channels; got shape {array.shape}.")


def _require_finite(name: str, array: npt.NDArray[Any]) -> None:
    spoiled = int(np.count_nonzero(~np.isfinite(array).all(axis=-1)))
    if spoiled:
        raise DataError(f"`{name}` must be finite; {spoiled} of {len(array)} pixels are not: leave out invalid pixels.")
