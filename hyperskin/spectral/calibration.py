"""Counts with a white and a dark reference to reflectance; finds and repairs bad detector elements. No files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperskin.envi import Counts, release_pages
from hyperskin.errors import DataError, ShapeError

Plane = npt.NDArray[np.float64]
"""One value per detector element, (W, C): pixel of the line, band."""

_CHUNK_LINES = 8
_DEAD_BESIDE = 0.3  # of the neighbours' response; measured FX10 elements stay above 0.82
_DEAD_IN_BAND = 0.1  # of the median response of the band; a lens leaves its corners far more
_HOT_FRACTION = 0.02  # of full scale above the neighbours' dark level; measured FX10 elements stay below 0.007
_HOT_SIGMAS = 8.0
_SATURATED_LINES = 0.05
_REACH = 4


@dataclass(frozen=True)
class Detector:
    """What the references say about every element of the detector.

    Attributes:
        dark: Mean dark counts, (W, C), float64; 0 at bad elements.
        gain: Reflectance per count above dark, (W, C), float64; 0 at bad elements.
        bad: (W, C) bool, elements that measure nothing: dead, hot, saturated in the white reference or not finite.
        reasons: How many elements are bad for each reason; one element may have several.
    """

    dark: Plane
    gain: Plane
    bad: npt.NDArray[np.bool_]
    reasons: dict[str, int]


@dataclass(frozen=True)
class Repair:
    """Where the reflectance of bad elements is taken from; element i gets (1 - t) first + t second.

    Attributes:
        column: Pixel of the line of every element that can be repaired, (N,).
        band: Its band, (N,).
        first: (column, band) of one good neighbour, (2, N).
        second: (column, band) of the other, (2, N); the same one where there is no other.
        share: t, (N,), float64, the weight of the second.
    """

    column: npt.NDArray[np.intp]
    band: npt.NDArray[np.intp]
    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]
    share: npt.NDArray[np.float64]


def inspect_detector(
    white_lines: Counts,
    dark_lines: Counts,
    *,
    full_scale: int,
    white_reflectance: float = 1.0,
    max_bad_fraction: float = 0.01,
) -> Detector:
    """Return dark level, gain and bad elements of a detector from its references.

    Args:
        white_lines: Counts over the white reference, (L, W, C).
        dark_lines: Counts behind the closed shutter, (M, W, C).
        full_scale: Largest count the sensor can give.
        white_reflectance: Reflectance of the white reference, unitless; 1.0 makes reflectance relative to it.
        max_bad_fraction: Largest fraction of bad elements that is accepted.

    Returns:
        The detector. A bad element has gain 0, so that nothing it says reaches a cube.

    Raises:
        ShapeError: The references are not (L, W, C) of one width and band count.
        DataError: Too many elements are bad, or `white_reflectance` is not within (0, 1].
    """
    for name, lines in (("white_lines", white_lines), ("dark_lines", dark_lines)):
        if lines.ndim != 3 or 0 in lines.shape:
            raise ShapeError(f"`{name}` must be counts (L, W, C); got shape {lines.shape}.")
    if white_lines.shape[1:] != dark_lines.shape[1:]:
        raise ShapeError(
            f"`white_lines` must have (W, C) = {dark_lines.shape[1:]} like `dark_lines`; got {white_lines.shape[1:]}."
        )
    if not 0 < white_reflectance <= 1:
        raise DataError(f"`white_reflectance` must lie in (0, 1]; got {white_reflectance:g}.")
    white, is_saturated = _average_lines(white_lines, full_scale)
    dark, _ = _average_lines(dark_lines, full_scale)
    reasons = _find_bad_elements(white, dark, is_saturated, full_scale)
    bad: npt.NDArray[np.bool_] = np.logical_or.reduce(list(reasons.values()))
    _require_few(bad, reasons, max_bad_fraction)
    white, dark = np.where(bad, 1.0, white), np.where(bad, 0.0, dark)
    gain = np.where(bad, 0.0, white_reflectance / (white - dark))
    return Detector(dark, gain, bad, {reason: int(np.count_nonzero(found)) for reason, found in reasons.items()})


def calibrate_counts(counts: Counts, detector: Detector, repair: Repair | None = None) -> npt.NDArray[np.float32]:
    """Return the reflectance (counts - dark) / (white - dark) times that of the white reference.

    Args:
        counts: Sensor counts, (l, W, C).
        detector: Dark level and gain, from `inspect_detector`.
        repair: Where bad elements are taken from, by `plan_repair`; None leaves them 0.

    Returns:
        (l, W, C) float32, unitless, not clipped.

    Raises:
        ShapeError: `counts` is not (l, W, C) like the detector.
    """
    require_counts(counts, detector)
    reflectance = np.subtract(counts, detector.dark, dtype=np.float64)
    reflectance *= detector.gain
    if repair is not None:
        near, far = (reflectance[:, column, band] for column, band in (repair.first, repair.second))
        reflectance[:, repair.column, repair.band] = (1.0 - repair.share) * near + repair.share * far
    return reflectance.astype(np.float32)


def plan_repair(bad: npt.NDArray[np.bool_]) -> Repair:
    """Return from which good elements each bad one can be interpolated.

    The nearest good elements of the same band on either side within four columns serve, else those of the same
    column within four bands; where there are none the element is left out.

    Args:
        bad: (W, C) bool.
    """
    column, band = np.nonzero(bad)
    first, second, share = _find_sides(bad, column, band, axis=0)
    other_first, other_second, other_share = _find_sides(bad, column, band, axis=1)
    is_missing = share < 0
    first[:, is_missing], second[:, is_missing] = other_first[:, is_missing], other_second[:, is_missing]
    share = np.where(is_missing, other_share, share)
    found = share >= 0
    return Repair(column[found], band[found], first[:, found], second[:, found], share[found])


def require_counts(counts: Counts, detector: Detector) -> None:
    """Raise ShapeError unless `counts` are (l, W, C) with the detector's width and bands."""
    if counts.ndim != 3 or counts.shape[1:] != detector.bad.shape:
        raise ShapeError(f"`counts` must be (l, W, C) with (W, C) = {detector.bad.shape}; got {counts.shape}.")


def _average_lines(lines: Counts, full_scale: int) -> tuple[Plane, npt.NDArray[np.bool_]]:
    """Return the mean line, and which elements reach full scale in more lines than noise explains."""
    rows = lines.transpose(0, 2, 1)  # a recorder writes band by band; the sums follow the memory
    total = np.zeros(rows.shape[1:])
    saturated_count = np.zeros(rows.shape[1:], dtype=np.int64)
    for first in range(0, len(rows), _CHUNK_LINES):
        chunk = rows[first : first + _CHUNK_LINES]
        highest = chunk.max()
        # Eight lines of 12-bit counts fit into 16 bits, where they are added four times as fast, and as exactly.
        is_narrow = chunk.dtype.kind == "u" and int(highest) * len(chunk) <= np.iinfo(np.uint16).max
        total += chunk.sum(axis=0, dtype=np.uint16 if is_narrow else np.float64)
        if highest >= full_scale:
            saturated_count += np.count_nonzero(chunk >= full_scale, axis=0)
        release_pages(lines)
    return (total / len(rows)).T, (saturated_count > _SATURATED_LINES * len(rows)).T


def _find_bad_elements(
    white: Plane, dark: Plane, is_saturated: npt.NDArray[np.bool_], full_scale: int
) -> dict[str, npt.NDArray[np.bool_]]:
    is_finite = np.isfinite(white) & np.isfinite(dark)
    if not is_finite.all():
        usual = float(np.median(dark[is_finite])) if is_finite.any() else 0.0
        white, dark = np.where(is_finite, white, usual), np.where(is_finite, dark, usual)
    response = white - dark
    excess = dark - _neighbour_median(dark)
    spread = 1.4826 * float(np.median(np.abs(excess)))
    is_hot = excess > max(_HOT_FRACTION * full_scale, _HOT_SIGMAS * spread)
    is_dead = response <= np.maximum(
        _DEAD_BESIDE * _neighbour_median(response), _DEAD_IN_BAND * np.median(response, axis=0)
    )
    return {
        "dead": (is_dead | (response <= 0)) & is_finite,
        "hot": is_hot & is_finite,
        "saturated_white": is_saturated,
        "not_finite": ~is_finite,
    }


def _neighbour_median(plane: Plane) -> Plane:
    """Return the median of the four nearest columns; the column itself does not count."""
    rows = plane.T  # contiguous along the line
    last = rows.shape[1] - 1
    columns = np.clip([3, 4, last - 4, last - 3], 0, last)  # at an edge all four are on one side
    padded = np.concatenate([rows[:, columns[:2]], rows, rows[:, columns[2:]]], axis=1)
    a, b, c, d = (padded[:, start : start + last + 1] for start in (0, 1, 3, 4))
    lower_middle = np.maximum(np.minimum(a, b), np.minimum(c, d))
    upper_middle = np.minimum(np.maximum(a, b), np.maximum(c, d))
    return np.asarray((lower_middle + upper_middle).T / 2)


def _find_sides(
    bad: npt.NDArray[np.bool_], column: npt.NDArray[np.intp], band: npt.NDArray[np.intp], axis: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return the nearest good elements before and after along `axis`, and the second's weight (-1: there is none)."""
    before, after = (_nearest_good(bad, column, band, axis, step) for step in (-1, 1))
    has_before, has_after = before > 0, after > 0
    share = np.where(has_before & has_after, before / np.maximum(before + after, 1), 0.0)
    share[~has_before & ~has_after] = -1.0
    place = np.stack([column, band])
    first, second = place.copy(), place.copy()
    first[axis] += np.where(has_before, -before, after)
    second[axis] += np.where(has_after, after, -before)
    return first, second, share


def _nearest_good(
    bad: npt.NDArray[np.bool_], column: npt.NDArray[np.intp], band: npt.NDArray[np.intp], axis: int, step: int
) -> npt.NDArray[np.intp]:
    """Return how far the nearest good element lies in the direction `step` along `axis`; 0 where none is in reach."""
    distance = np.zeros(column.size, dtype=np.intp)
    for reach in range(_REACH, 0, -1):
        place = [column, band]
        place[axis] = place[axis] + step * reach
        is_inside = (place[axis] >= 0) & (place[axis] < bad.shape[axis])
        place[axis] = np.where(is_inside, place[axis], 0)
        distance[is_inside & ~bad[place[0], place[1]]] = reach
    return distance


def _require_few(
    bad: npt.NDArray[np.bool_], reasons: dict[str, npt.NDArray[np.bool_]], max_bad_fraction: float
) -> None:
    fraction = float(bad.mean())
    if fraction > max_bad_fraction:
        found = ", ".join(f"{np.count_nonzero(where)} {reason}" for reason, where in reasons.items() if where.any())
        raise DataError(
            f"At most {max_bad_fraction:.2%} of the detector's elements may be bad; {fraction:.2%} are ({found}): "
            "look at the white and dark reference."
        )
