"""What a cube, a mask and spectra are, and the checks at public doors; no computation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.errors import ShapeError

AnyFloat = np.floating[Any]

Cube = npt.NDArray[AnyFloat]
"""Reflectance, (H, W, C), unitless, 1.0 = white reference."""

Spectra = npt.NDArray[AnyFloat]
"""Spectra along the last axis, (..., C)."""

Mask = npt.NDArray[Any]
"""(H, W): bool, True = subject, or float weights in [0, 1]."""


def require_cube(name: str, cube: Cube) -> None:
    """Raise ShapeError unless `cube` is (H, W, C) with no empty axis and a floating dtype."""
    if cube.ndim != 3 or 0 in cube.shape:
        raise ShapeError(f"`{name}` must be a cube (H, W, C); got shape {cube.shape}.")
    if not np.issubdtype(cube.dtype, np.floating):
        raise ShapeError(f"`{name}` must hold reflectance as a floating type; got dtype {cube.dtype}.")


def require_same_shape(name: str, array: npt.NDArray[Any], other_name: str, other: npt.NDArray[Any]) -> None:
    """Raise ShapeError unless both arrays have the same shape."""
    if array.shape != other.shape:
        raise ShapeError(f"`{name}` must have shape {other.shape} like `{other_name}`; got {array.shape}.")


def require_mask(name: str, mask: Mask, frame: tuple[int, int]) -> None:
    """Raise ShapeError unless `mask` is (H, W) = `frame` of bool or of floats within [0, 1]."""
    if mask.shape != frame:
        raise ShapeError(f"`{name}` must have shape {frame} like the cube; got {mask.shape}.")
    if mask.dtype == np.bool_:
        return
    if not np.issubdtype(mask.dtype, np.floating):
        raise ShapeError(f"`{name}` must be bool or float weights in [0, 1]; got dtype {mask.dtype}.")
    if not np.all((mask >= 0) & (mask <= 1)):
        raise ShapeError(
            f"`{name}` must lie in [0, 1]; got values from {float(np.min(mask)):g} to {float(np.max(mask)):g}."
        )
