"""Whether a cube lies as its picture does, told by correlation: in a square frame no shape gives a transpose away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.errors import DataError

Plane = npt.NDArray[np.floating[Any]]

# Upright, the green of a cube and the brightness of its picture correlate by 0.995 or more on 42 phantoms and five
# public scenes, whatever the subject wears, once the cube is curved as pictures are; the plain mean of a cube falls to
# 0.83. A face turned another way round reaches 0.95, another capture's picture 0.64 (median). The archive's users found
# 0.995 (median of 18); its minimum nobody told, so that less must do.
_LEAST = 0.8
_LUMA = (0.299, 0.587, 0.114)
_TURNS: dict[str, Callable[[Plane], Plane]] = {
    "upright": lambda plane: plane,
    "transposed": lambda plane: plane.T,
    "mirrored": lambda plane: plane[:, ::-1],
    "upside down": lambda plane: plane[::-1],
    "turned by 180 degrees": lambda plane: plane[::-1, ::-1],
    "turned by 90 degrees": lambda plane: np.rot90(plane),
    "turned by 270 degrees": lambda plane: np.rot90(plane, 3),
    "transposed and turned by 180 degrees": lambda plane: plane[::-1, ::-1].T,
}


def green(cube: npt.NDArray[Any], bands: Bands) -> Plane:
    """Return the mean over 500 to 610 nm, (H, W) float64, most of what makes a picture's brightness."""
    centres_nm = bands.centres_nm()
    plane: Plane = cube[..., (centres_nm >= 500) & (centres_nm <= 610)].mean(axis=2, dtype=np.float64)
    return plane


def luma(rgb: npt.NDArray[Any]) -> Plane:
    """Return the brightness of a picture, (H, W) float64 from (H, W, 3), by the weights of Rec. 601."""
    brightness: Plane = rgb.astype(np.float64) @ np.asarray(_LUMA)
    return brightness


def require_upright(plane: Plane, picture: Plane, *, what: str, like: str) -> float:
    """Return how well a plane of a cube correlates with a picture, both (H, W), once no other way round does better.

    A picture for a screen is curved, reflectance is not, and which one a file holds it need not say: the plane counts
    as it is or by its root, whichever fits better.

    Args:
        plane: One band, or the mean of several.
        picture: What is known to be upright.
        what: Names the cube in messages, with its file.
        like: Names the picture.

    Raises:
        DataError: It lies another way round, belongs to another capture, or either is of one value everywhere.
    """
    found = correlations(plane, picture)
    best = max(found, key=lambda turn: found[turn], default="upright")
    if found.get(best, 0.0) < _LEAST:
        value = f"by {found['upright']:.3f}" if "upright" in found else f"of {plane.shape} against {picture.shape} px"
        raise DataError(
            f"{what} must show what {like} shows, correlated by {_LEAST} or more; it is {value}: the files are of two "
            "captures, or one is damaged."
        )
    if best != "upright":
        upright = f"correlates by {found['upright']:.3f} as it is" if "upright" in found else "has another shape"
        raise DataError(
            f"{what} must lie as {like}; it {upright}, and correlates by {found[best]:.3f} when {best}: it was written "
            "with other axes than the archive's."
        )
    return found[best]


def correlations(plane: Plane, picture: Plane) -> dict[str, float]:
    """Return the correlation of a picture with a plane, or its root, in every way round that fits its shape."""
    curves = (plane, np.sqrt(np.clip(plane, 0, None)))
    return {
        name: max(_correlation(turn(curve), picture) for curve in curves)
        for name, turn in _TURNS.items()
        if turn(plane).shape == picture.shape
    }


def _correlation(one: Plane, other: Plane) -> float:
    centred, reference = (values - values.mean(dtype=np.float64) for values in (one, other))
    scale = float(np.sqrt((centred**2).sum(dtype=np.float64) * (reference**2).sum(dtype=np.float64)))
    return float((centred * reference).sum(dtype=np.float64)) / scale if scale > 0 else 0.0
