"""Spectral angle: how far the shape of an estimated spectrum is from the measured one, whatever its brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Cube, Mask
from hyperskin.metrics.pixels import Float64, require_comparable, require_finite, row_blocks, selected_spectra


@dataclass(frozen=True)
class SamResult:
    """Mean spectral angle over the pixels that count.

    Attributes:
        value: Mean angle in radians, weighted by the mask, within [0, pi]; NaN if no pixel counts.
        pixel_count: Pixels in the mean.
        left_out: Pixels under the mask whose reference is all zeros and therefore has no direction.
    """

    value: float
    pixel_count: int
    left_out: int


def sam(estimate: Cube, reference: Cube, mask: Mask | None = None) -> SamResult:
    """Return the mean spectral angle between two cubes.

    An estimate of all zeros is a right angle away from every spectrum, so a network gains nothing by giving up.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.

    Returns:
        The mean in radians with its counts; NaN and 0 where the mask selects nothing.

    Raises:
        ShapeError: The arrays do not fit each other.
        DataError: A selected spectrum holds NaN or infinity.

    Source:
        Hyper-Skin (2023), eq. 4, after Kruse et al. (1993), doi:10.1016/0034-4257(93)90013-N.

    Examples:
        >>> grey = np.full((2, 2, 31), 0.5, dtype=np.float32)
        >>> sam(0.25 * grey, grey)
        SamResult(value=0.0, pixel_count=4, left_out=0)
    """
    require_comparable(estimate, reference, mask)
    angle_sum = weight_sum = 0.0
    pixel_count = left_out = 0
    for estimated, measured, weights in selected_spectra(estimate, reference, mask):
        angles, is_black = _angles(estimated, measured)
        angles, weights = angles[~is_black], weights[~is_black]
        require_finite(angles)
        angle_sum += float(weights @ angles)
        weight_sum += float(weights.sum())
        pixel_count += angles.size
        left_out += int(np.count_nonzero(is_black))
    return SamResult(angle_sum / weight_sum if pixel_count else float("nan"), pixel_count, left_out)


def spectral_angle_map(estimate: Cube, reference: Cube) -> npt.NDArray[np.float64]:
    """Return the angle between estimated and reference spectra at every pixel.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).

    Returns:
        Angles in radians, (H, W), float64, within [0, pi]. A pixel whose reference is all zeros has no direction, and
        one that holds NaN or infinity has no spectrum: both are NaN.

    Raises:
        ShapeError: The cubes are not (H, W, C) with equal sizes.

    Source:
        Hyper-Skin (2023), eq. 4. Two chord lengths replace the arccos of the cosine, which loses half the digits
        near 0.

    Examples:
        >>> white = np.ones((1, 1, 31), dtype=np.float32)
        >>> float(spectral_angle_map(0.5 * white, white)[0, 0])
        0.0
    """
    require_comparable(estimate, reference, None)
    height, width, bands = reference.shape
    angle_map = np.empty((height, width))
    for rows in row_blocks(height, width):
        angles, is_black = _angles(
            estimate[rows].reshape(-1, bands).astype(np.float64), reference[rows].reshape(-1, bands).astype(np.float64)
        )
        angles[is_black] = np.nan
        angle_map[rows] = angles.reshape(-1, width)
    return angle_map


def _angles(estimated: Float64, measured: Float64) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Return angles (N,) between spectra (N, C), and where the measured one is all zeros. Overwrites both."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        estimate_is_black = _normalise(estimated)
        is_black = _normalise(measured)
        difference = estimated - measured
        difference_squared = np.vecdot(difference, difference)
        sum_squared = 4.0 - difference_squared  # the parallelogram of two unit vectors: half the work
        awkward = (difference_squared > 2.0) | estimate_is_black  # where that would cancel, or one is no unit vector
        if awkward.any():
            total = estimated[awkward] + measured[awkward]
            sum_squared[awkward] = np.vecdot(total, total)
        angles: Float64 = 2.0 * np.arctan2(np.sqrt(difference_squared), np.sqrt(sum_squared))
    return angles, is_black


def _normalise(spectra: Float64) -> npt.NDArray[np.bool_]:
    """Scale spectra (N, C) to unit length in place; return which are all zeros and stay so, (N,)."""
    squared = np.vecdot(spectra, spectra)
    extreme = ~((squared > 1e-200) & (squared < 1e200))
    if extreme.any():  # zero, not finite, or squares about to leave the range of float64
        largest = np.abs(spectra[extreme]).max(axis=1, keepdims=True)
        spectra[extreme] /= np.where(largest == 0, 1.0, largest)
        squared[extreme] = np.vecdot(spectra[extreme], spectra[extreme])
    is_black: npt.NDArray[np.bool_] = squared == 0
    spectra *= 1.0 / np.sqrt(np.where(is_black, 1.0, squared))[:, np.newaxis]
    return is_black
