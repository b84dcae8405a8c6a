"""How a cube becomes pictures: one matrix product per block of pixels, then exposure, clipping and transfer curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Cube, require_cube
from hyperskin.errors import DataError, ShapeError, UnknownNameError

Picture = npt.NDArray[np.float32]
"""(H, W, 3), red first."""

Operator = npt.NDArray[np.float64]
"""(C, 3): a spectrum times it is red, green, blue."""

Values = npt.NDArray[np.floating[Any]]
Exposure = Literal["none", "max", "p99.9"]
Transfer = Literal["srgb", "linear"]

_BLOCK_PX = 4096  # 84 float32 planes of it stay in the second-level cache
_ROUNDING = 1e-5  # float32 puts a perfect white at 1 + 1e-7: that is not clipping
_EXPOSURES = ("none", "max", "p99.9")
_TRANSFERS = ("srgb", "linear")


@dataclass(frozen=True)
class Clipped:
    """How many channel values of one picture lay outside [0, 1] before they were clipped."""

    below_count: int
    above_count: int


@dataclass(frozen=True)
class Rendering:
    """One frame as seen by several cameras.

    Attributes:
        pictures: (H, W, 3) float32 in [0, 1] by name; an invalid pixel is black.
        valid: (H, W) bool, False where a band that the pictures need was NaN or infinite.
        clipped: Clipped channel values by the same names.
    """

    pictures: dict[str, Picture]
    valid: npt.NDArray[np.bool_]
    clipped: dict[str, Clipped]

    @property
    def clipped_counts(self) -> dict[str, int]:
        """Clipped channel values by name, below and above together; plain numbers for a record."""
        return {name: count.below_count + count.above_count for name, count in self.clipped.items()}


def render(cube: Cube, operators: Mapping[str, Operator], *, exposure: Exposure, transfer: Transfer) -> Rendering:
    """Return a picture of the cube for every operator.

    Args:
        cube: Reflectance, (H, W, C).
        operators: (C, 3) by name.
        exposure: What becomes 1: "none" = a perfect white reflector, "max" = the picture's largest value, "p99.9" =
            its 99.9th percentile; one factor for all three channels.
        transfer: "srgb" encodes for a screen, "linear" leaves the light linear.

    Returns:
        Pictures within [0, 1], which pixels are valid, and what was clipped.

    Raises:
        ShapeError: The cube is not (H, W, C) of floats, or an operator is not (C, 3).
        UnknownNameError: `exposure` or `transfer` is none of the above.
    """
    _require_choice("exposure", exposure, _EXPOSURES)
    _require_choice("transfer", transfer, _TRANSFERS)
    linear, valid = project(cube, list(operators.values()))
    pictures = dict(zip(operators, linear, strict=True))
    clipped = {name: _finish(picture, _gain(picture, valid, exposure), transfer) for name, picture in pictures.items()}
    return Rendering(pictures, valid, clipped)


def project(cube: Cube, operators: Sequence[Operator]) -> tuple[list[Picture], npt.NDArray[np.bool_]]:
    """Return the linear picture of every operator, and which pixels are valid.

    All operators are stacked into one, and one product per block of lines fills a buffer that is used again; bands
    that no operator weighs are not read.

    Args:
        cube: Reflectance, (H, W, C).
        operators: At least one, each (C, 3).

    Returns:
        Pictures, each (H, W, 3) float32, unclipped, and (H, W) bool, False where a band in use is NaN or infinite;
        such a pixel is 0 in every picture.

    Raises:
        ShapeError: The cube is not (H, W, C) of floats, or an operator is not (C, 3).

    Examples:
        >>> mean = np.full((31, 3), 1 / 31)
        >>> pictures, valid = project(np.ones((1, 1, 31), dtype=np.float32), [mean])
        >>> pictures[0].round(6).tolist(), bool(valid.all())
        ([[[1.0, 1.0, 1.0]]], True)
    """
    require_cube("cube", cube)
    height, width, band_count = cube.shape
    if any(operator.shape != (band_count, 3) for operator in operators):
        sizes = ", ".join(str(size) for size in sorted({operator.shape for operator in operators}))
        raise ShapeError(
            f"`operators` must have shape ({band_count}, 3) for a cube {cube.shape}; got {sizes}: "
            "were they made for the cube's own bands?"
        )
    dtype = np.float64 if cube.dtype == np.float64 else np.float32
    stacked = np.concatenate(operators, axis=1)
    used = _used_bands(stacked)
    # one more column, the plain sum: it is NaN or infinite exactly where a band is
    weights = np.pad(stacked[used], ((0, 0), (0, 1)), constant_values=1).T.astype(dtype)

    pictures = [np.empty((height, width, 3), dtype=np.float32) for _ in operators]
    valid = np.empty((height, width), dtype=np.bool_)
    buffer = np.empty((weights.shape[0], _block_lines(width) * width), dtype=dtype)
    for lines in _line_blocks(height, width):
        spectra = cube[lines, :, used].reshape(-1, weights.shape[1]).astype(dtype, copy=False)
        planes = buffer[:, : spectra.shape[0]]
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and inf are looked for right below
            np.matmul(weights, spectra.T, out=planes)
        is_finite = np.isfinite(planes[-1])
        if not is_finite.all():
            planes[:, ~is_finite] = 0
        valid[lines] = is_finite.reshape(-1, width)
        for i, plane in enumerate(planes[:-1]):  # a long row at a time: copying pixels of 3 floats takes thrice as long
            pictures[i // 3][lines, :, i % 3] = plane.reshape(-1, width)
    return pictures, valid


def encode_srgb(linear: Values) -> Values:
    """Return linear light encoded with the sRGB curve, same shape and dtype.

    Source:
        IEC 61966-2-1: 12.92 v up to 0.0031308, above it 1.055 v^(1/2.4) - 0.055.

    Examples:
        >>> encode_srgb(np.array([0.0, 0.5, 1.0])).round(4).tolist()
        [0.0, 0.7354, 1.0]
    """
    encoded = np.maximum(linear, 0.0031308, out=np.empty_like(linear))
    np.power(encoded, 1 / 2.4, out=encoded)
    encoded *= 1.055
    encoded -= 0.055
    np.multiply(linear, 12.92, out=encoded, where=linear <= 0.0031308)
    return encoded


def decode_srgb(encoded: Values) -> Values:
    """Return linear light from sRGB-encoded values, the inverse of `encode_srgb`, same shape and dtype.

    Source:
        IEC 61966-2-1.
    """
    linear = np.maximum(encoded, 0.04045, out=np.empty_like(encoded))
    linear += 0.055
    linear /= 1.055
    np.power(linear, 2.4, out=linear)
    np.divide(encoded, 12.92, out=linear, where=encoded <= 0.04045)
    return linear


def _used_bands(operator: Operator) -> slice:
    """Return the shortest run of bands outside which every weight is zero."""
    weighed = np.flatnonzero(operator.any(axis=1))
    if weighed.size == 0:
        raise DataError("`operators` must weigh at least one band; got zeros only.")
    return slice(int(weighed[0]), int(weighed[-1]) + 1)


def _block_lines(width: int) -> int:
    return max(1, _BLOCK_PX // width)


def _line_blocks(height: int, width: int) -> Iterator[slice]:
    step = _block_lines(width)
    for first in range(0, height, step):
        yield slice(first, first + step)


def _gain(picture: Picture, valid: npt.NDArray[np.bool_], exposure: Exposure) -> float:
    """Return the factor that brings the picture's brightest value to 1; an all-dark picture stays as it is."""
    if exposure == "none" or not valid.any():
        return 1.0
    values = picture if valid.all() else picture[valid]
    brightest = float(values.max() if exposure == "max" else np.percentile(values, 99.9))
    return 1 / brightest if brightest > 0 else 1.0


def _finish(picture: Picture, gain: float, transfer: Transfer) -> Clipped:
    """Expose, clip and encode in place, a cacheful of lines at a time; count what is clipped."""
    below_count = above_count = 0
    for lines in _line_blocks(*picture.shape[:2]):
        block = picture[lines]
        if gain != 1:
            block *= np.float32(gain)
        below_count += int(np.count_nonzero(block < -_ROUNDING))
        above_count += int(np.count_nonzero(block > 1 + _ROUNDING))
        np.clip(block, 0, 1, out=block)
        if transfer == "srgb":
            block[...] = encode_srgb(block)
    return Clipped(below_count, above_count)


def _require_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UnknownNameError(f"`{name}` must be one of {', '.join(known)}; got {value!r}.")
