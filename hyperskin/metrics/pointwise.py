"""Errors of values, pixel by pixel and band by band: RMSE, PSNR, MAE, MRAE."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hyperskin.cube import Cube, Mask
from hyperskin.errors import DataError
from hyperskin.metrics.pixels import Float64, require_comparable, require_finite, selected_spectra

MRAE_FLOOR = 1e-3


@dataclass(frozen=True)
class PointwiseErrors:
    """Mean errors over the selected pixels, weighted by the mask; NaN if it selects nothing.

    Attributes:
        rmse: Root of the mean squared error over pixels and bands, reflectance.
        mae: Mean absolute error, reflectance.
        mrae: Mean of |estimate - reference| / max(reference, 1e-3), unitless.
        floored: Fraction of values whose reference lay below 1e-3.
        rmse_per_band: Root of each band's mean squared error, (C,), float64.
    """

    rmse: float
    mae: float
    mrae: float
    floored: float
    rmse_per_band: Float64

    def psnr(self, data_range: float) -> float:
        """Return the peak signal-to-noise ratio in dB; infinite if there is no error."""
        return math.inf if self.rmse == 0 else 20.0 * math.log10(data_range / self.rmse)


@np.errstate(invalid="ignore", over="ignore")  # what is not finite ends in the sums, and they are checked
def pointwise_errors(estimate: Cube, reference: Cube, mask: Mask | None = None) -> PointwiseErrors:
    """Return all errors of this module in one walk over the cubes.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.

    Returns:
        The errors, accumulated in float64.

    Raises:
        ShapeError: The arrays do not fit each other.
        DataError: A selected value is NaN or infinite.

    Source:
        MRAE after Arad et al. (2022), NTIRE Spectral Recovery Challenge, where it has no floor; the two agree wherever
        the reference is at least 1e-3.

    Examples:
        >>> dark = np.full((1, 1, 2), 0.25)
        >>> pointwise_errors(2 * dark, dark).mrae
        1.0
    """
    require_comparable(estimate, reference, mask)
    bands = reference.shape[2]
    squared, absolute, relative, floored = np.zeros((4, bands))
    weight_sum = 0.0
    for estimated, measured, weights in selected_spectra(estimate, reference, mask):
        error = estimated
        error -= measured
        squared += weights @ (error * error)
        np.abs(error, out=error)
        absolute += weights @ error
        floored += weights @ (measured < MRAE_FLOOR)
        error /= np.maximum(measured, MRAE_FLOOR)
        relative += weights @ error
        weight_sum += float(weights.sum())
    if weight_sum == 0:
        return PointwiseErrors(math.nan, math.nan, math.nan, math.nan, np.full(bands, np.nan))
    require_finite(squared)
    return PointwiseErrors(
        rmse=math.sqrt(float(squared.mean()) / weight_sum),
        mae=float(absolute.mean()) / weight_sum,
        mrae=float(relative.mean()) / weight_sum,
        floored=float(floored.mean()) / weight_sum,
        rmse_per_band=np.sqrt(squared / weight_sum),
    )


def rmse(estimate: Cube, reference: Cube, mask: Mask | None = None) -> float:
    """Return the root mean squared error over pixels and bands, in reflectance.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.

    Returns:
        The error; NaN where the mask selects nothing.

    Raises:
        HyperSkinError: As `pointwise_errors`.

    Source:
        sqrt(mean((y - x)^2)).
    """
    return pointwise_errors(estimate, reference, mask).rmse


def psnr(estimate: Cube, reference: Cube, mask: Mask | None = None, *, data_range: float) -> float:
    """Return the peak signal-to-noise ratio in dB, the squared error pooled over bands.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.
        data_range: The peak; 1.0 for reflectance.

    Returns:
        The ratio; infinite for equal cubes, NaN where the mask selects nothing.

    Raises:
        HyperSkinError: As `pointwise_errors`; or `data_range` is not positive.

    Source:
        20 log10(peak / RMSE).
    """
    if not (math.isfinite(data_range) and data_range > 0):
        raise DataError(f"`data_range` must be positive, 1.0 for reflectance; got {data_range!r}.")
    return pointwise_errors(estimate, reference, mask).psnr(data_range)


def mae(estimate: Cube, reference: Cube, mask: Mask | None = None) -> float:
    """Return the mean absolute error over pixels and bands, in reflectance.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.

    Returns:
        The error; NaN where the mask selects nothing.

    Raises:
        HyperSkinError: As `pointwise_errors`.

    Source:
        mean(|y - x|).
    """
    return pointwise_errors(estimate, reference, mask).mae


def mrae(estimate: Cube, reference: Cube, mask: Mask | None = None) -> float:
    """Return the mean relative absolute error, the reference floored at 1e-3.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.

    Returns:
        The error, unitless; NaN where the mask selects nothing.

    Raises:
        HyperSkinError: As `pointwise_errors`.

    Source:
        mean(|y - x| / max(x, 1e-3)); see `pointwise_errors`.
    """
    return pointwise_errors(estimate, reference, mask).mrae
