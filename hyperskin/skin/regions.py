"""Regions of a face: forehead, cheeks, nose, chin; what a map says in each, and one visit laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hyperskin.bands import Bands
from hyperskin.cube import Cube
from hyperskin.errors import DataError, ShapeError
from hyperskin.skin.landmarks import (
    Bools,
    Direction,
    Floats,
    Landmarks,
    bare_skin,
    face_coordinates,
    face_frame,
    find_landmarks,
)

FACE = "face"
"""All bare skin between hairline and chin."""
REGIONS = (FACE, "forehead", "right_cheek", "left_cheek", "nose", "chin")
"""In the order of tables; right and left are the subject's own."""

_SMALLEST_SHARE = 0.2
_SMALLEST_PX = 12


@dataclass(frozen=True)
class _Ellipse:
    """A region in the face's coordinates: its middle and half axes across and down.

    `follows` is how far the middle moves across, towards where the head turns, for a turn of 1: the tip of the nose
    stands before the plane of eyes and mouth, the chin behind it.
    """

    across: float
    down: float
    half_across: float
    half_down: float
    follows: float = 0.0


_ELLIPSES = {
    FACE: _Ellipse(0.0, 0.40, 2.7, 1.42, follows=-1.0),
    "forehead": _Ellipse(0.0, -0.66, 1.15, 0.24),
    "right_cheek": _Ellipse(-1.35, 0.50, 0.52, 0.28),
    "left_cheek": _Ellipse(1.35, 0.50, 0.52, 0.28),
    "nose": _Ellipse(0.0, 0.40, 0.28, 0.28, follows=1.0),
    "chin": _Ellipse(0.0, 1.47, 0.45, 0.20, follows=-0.4),
}


@dataclass(frozen=True, eq=False)
class Regions:
    """Where the regions of one face lie.

    Attributes:
        skin: Bare skin, (H, W) bool: the subject without eyes, brows, lips, teeth and beard.
        masks: (H, W) bool by name, in the order of `REGIONS`; one that is turned away, or under hair, is not there.
        landmarks: Where eyes and mouth are.
    """

    skin: Bools
    masks: dict[str, Bools]
    landmarks: Landmarks


@dataclass(frozen=True)
class RegionRow:
    """What one map says in one region; NaN where none of its pixels has a value.

    Attributes:
        region: Its name.
        map_name: The map.
        pixel_count: Pixels with a value.
        mean: Their mean, in the map's unit like all that follow.
        sd: Standard deviation, of the pixels and not of the mean.
        p5: 5th percentile.
        median: 50th percentile.
        p95: 95th percentile.
    """

    region: str
    map_name: str
    pixel_count: int
    mean: float
    sd: float
    p5: float
    median: float
    p95: float


def find_regions(cube: Cube, bands: Bands, mask: Bools, *, direction: Direction | None = None) -> Regions:
    """Return the regions of the face in a cube.

    Args:
        cube: Reflectance, (H, W, C).
        bands: Its bands; with 450 to 700 nm eyes and mouth are found, else the mask's outline has to do.
        mask: (H, W) bool, True = subject.
        direction: Where the subject looks, as far as it is known.

    Raises:
        ShapeError: The shapes do not fit.
        EmptyMaskError: The mask selects no pixel.
    """
    landmarks = find_landmarks(cube, bands, mask, direction=direction)
    skin = bare_skin(cube, bands, mask, landmarks)
    return Regions(skin, place_regions(landmarks, skin), landmarks)


def place_regions(landmarks: Landmarks, skin: Bools) -> dict[str, Bools]:
    """Return the pixels of bare skin in each region that can be seen.

    A region is an ellipse in the face's own coordinates, which eyes and mouth define. It can be seen where enough of
    the ellipse is bare skin.

    Args:
        landmarks: Where eyes and mouth are.
        skin: Bare skin, (H, W) bool.

    Returns:
        (H, W) bool by name, in the order of `REGIONS`.
    """
    across, down = face_coordinates(landmarks, skin.shape)
    found = {}
    for name, ellipse in _ELLIPSES.items():
        middle = ellipse.across + ellipse.follows * landmarks.turn
        away = ((across - middle) / ellipse.half_across) ** 2 + ((down - ellipse.down) / ellipse.half_down) ** 2
        region = skin & (away < 1)
        area_px = np.pi * ellipse.half_across * ellipse.half_down * _unit_px(landmarks)
        if np.count_nonzero(region) >= max(_SMALLEST_PX, _SMALLEST_SHARE * area_px):
            found[name] = np.asarray(region, dtype=np.bool_)
    return found


def region_statistics(maps: Mapping[str, npt.NDArray[np.floating]], regions: Mapping[str, Bools]) -> list[RegionRow]:
    """Return what every map says in every region; pixels without a value do not count.

    Args:
        maps: (H, W) by name, NaN where there is no value.
        regions: (H, W) bool by name.

    Raises:
        ShapeError: A region has another shape than a map.

    Examples:
        >>> half = np.array([[True, True, False]])
        >>> row = region_statistics({"oxygenation": np.array([[0.5, 0.7, 0.9]])}, {"nose": half})[0]
        >>> row.pixel_count, round(row.mean, 3), round(row.sd, 3), round(row.median, 3)
        (2, 0.6, 0.1, 0.6)
    """
    rows = []
    for region, mask in regions.items():
        for name, values in maps.items():
            if values.shape != mask.shape:
                raise ShapeError(
                    f"The region {region!r} must have shape {values.shape} like the maps; got {mask.shape}."
                )
            rows.append(_describe(region, name, values[mask]))
    return rows


def align(values: npt.NDArray[np.floating], there: Landmarks, here: Landmarks, shape: tuple[int, int]) -> Floats:
    """Return a map of one picture as it lies in another, eyes on eyes and mouth on mouth, (H, W) = `shape`.

    Between pixels it is interpolated; a pixel of which any neighbour has no value has none.

    Args:
        values: The map, NaN where it has no value.
        there: Landmarks in the picture of the map.
        here: Landmarks in the picture that is wanted.
        shape: Of the wanted map.

    Raises:
        DataError: The landmarks lie on one line.
    """
    source, target = face_frame(there), face_frame(here)
    if abs(np.linalg.det(target[:, :2])) < 1e-6:
        raise DataError(f"Eyes and mouth must not lie on one line; got {here}.")
    linear = source[:, :2] @ np.linalg.inv(target[:, :2])
    offset = source[:, 2] - linear @ target[:, 2]
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)
    moved = ndimage.affine_transform(filled, linear, offset, shape, order=1, mode="constant")
    weight = ndimage.affine_transform(known.astype(np.float64), linear, offset, shape, order=1, mode="constant")
    return np.where(weight > 1 - 1e-6, moved, np.nan)


def _unit_px(landmarks: Landmarks) -> float:
    """Return how many pixels a unit square of the face's coordinates covers."""
    return float(abs(np.linalg.det(face_frame(landmarks)[:, :2])))


def _describe(region: str, name: str, values: npt.NDArray[np.floating]) -> RegionRow:
    own = values[np.isfinite(values)].astype(np.float64)
    if own.size == 0:
        return RegionRow(region, name, 0, *([float("nan")] * 5))
    p5, median, p95 = (float(number) for number in np.percentile(own, [5, 50, 95]))
    return RegionRow(region, name, own.size, float(own.mean()), float(own.std()), p5, median, p95)
