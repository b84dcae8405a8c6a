"""One set of bands to another as one operator along the last axis; knows no camera."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.cube import Spectra
from hyperskin.errors import DataError, ShapeError

Kind = Literal["linear", "cubic", "gaussian"]

# A spline's weights fall to 27 % from band to band and a Gaussian's faster still; below this they change no sum of
# reflectances by 1e-12, but as float32 subnormals they would make a matrix product five times slower.
_NEGLIGIBLE = 1e-13
_FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


def resampling_operator(
    source: Bands, target: Bands, *, kind: Kind, fwhm_nm: float | None = None
) -> npt.NDArray[np.float64]:
    """Return the matrix that turns spectra on `source` into spectra on `target`.

    Args:
        source: Bands that were measured, C_in of them.
        target: Bands that are wanted, C_out of them. None may lie outside `source` by more than half a band; one that
            lies outside by less gets what is measured at the last band centre.
        kind: "linear" interpolates between two neighbours, "cubic" is the spline with not-a-knot ends, "gaussian" the
            mean weighted by the response of a band of width `fwhm_nm`.
        fwhm_nm: Full width at half maximum of a wanted band in nm; only "gaussian" reads it.

    Returns:
        Weights, (C_out, C_in), float64; every row sums to 1.

    Raises:
        DataError: `target` is not covered, `source` has too few bands, or `fwhm_nm` is missing or not positive.

    Source:
        C. de Boor, "A Practical Guide to Splines", Springer 1978, chapter IV, for the not-a-knot spline.

    Examples:
        >>> resampling_operator(Bands((400.0, 410.0)), Bands((402.5,)), kind="linear").tolist()
        [[0.75, 0.25]]
    """
    least = 4 if kind == "cubic" else 2
    if len(source) < least:
        raise DataError(f"`source` must have at least {least} bands for {kind!r} resampling; got {len(source)}.")
    centres_nm, wanted_nm = source.centres_nm(), target.centres_nm()
    require_coverage(source, target)
    if kind == "gaussian":
        weights = _gaussian_weights(centres_nm, wanted_nm, fwhm_nm)
    else:
        inside_nm = np.clip(wanted_nm, centres_nm[0], centres_nm[-1])
        weights = (_linear_weights if kind == "linear" else _cubic_weights)(centres_nm, inside_nm)
    weights[np.abs(weights) < _NEGLIGIBLE] = 0.0
    return weights


def resample_bands(
    cube: Spectra, source: Bands, target: Bands, *, kind: Kind, fwhm_nm: float | None = None
) -> npt.NDArray[np.floating[Any]]:
    """Return spectra on other bands.

    Args:
        cube: Spectra along the last axis, (..., C_in), floating.
        source: Bands of `cube`.
        target: Bands wanted, C_out of them.
        kind: As in `resampling_operator`.
        fwhm_nm: As in `resampling_operator`.

    Returns:
        (..., C_out) in the dtype of `cube`.

    Raises:
        ShapeError: The last axis does not fit `source`, or the dtype is not floating.
        DataError: As `resampling_operator`.
    """
    if cube.ndim == 0 or cube.shape[-1] != len(source) or not np.issubdtype(cube.dtype, np.floating):
        raise ShapeError(
            f"`cube` must be floating, (..., {len(source)}) like its bands; got {cube.dtype} of shape {cube.shape}."
        )
    operator = resampling_operator(source, target, kind=kind, fwhm_nm=fwhm_nm)
    resampled: npt.NDArray[np.floating[Any]] = np.matmul(cube, operator.T.astype(cube.dtype))
    return resampled


def require_coverage(source: Bands, target: Bands) -> None:
    """Raise DataError where `target` reaches beyond `source` by more than half a band.

    Raises:
        DataError: It does; the message gives both ranges in nm.
    """
    centres_nm, wanted_nm = source.centres_nm(), target.centres_nm()
    half_nm = np.abs(np.diff(centres_nm)) / 2 if len(source) > 1 else np.zeros(1)
    if wanted_nm[0] < centres_nm[0] - half_nm[0] or wanted_nm[-1] > centres_nm[-1] + half_nm[-1]:
        raise DataError(
            f"Measured bands must cover {wanted_nm[0]:g} to {wanted_nm[-1]:g} nm to within half a band, since nothing "
            f"is extrapolated; they cover {centres_nm[0]:g} to {centres_nm[-1]:g} nm."
        )


def _linear_weights(centres_nm: npt.NDArray[np.float64], wanted_nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lower = np.clip(np.searchsorted(centres_nm, wanted_nm, side="right") - 1, 0, centres_nm.size - 2)
    fraction = (wanted_nm - centres_nm[lower]) / (centres_nm[lower + 1] - centres_nm[lower])
    weights = np.zeros((wanted_nm.size, centres_nm.size))
    rows = np.arange(wanted_nm.size)
    weights[rows, lower] = 1.0 - fraction
    weights[rows, lower + 1] = fraction
    return weights


def _cubic_weights(centres_nm: npt.NDArray[np.float64], wanted_nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Imported here: it takes 40 MB and a third of a second, which linear resampling need not pay.
    from scipy.interpolate import CubicSpline

    weights: npt.NDArray[np.float64] = CubicSpline(centres_nm, np.eye(centres_nm.size), bc_type="not-a-knot")(wanted_nm)
    return weights


def _gaussian_weights(
    centres_nm: npt.NDArray[np.float64], wanted_nm: npt.NDArray[np.float64], fwhm_nm: float | None
) -> npt.NDArray[np.float64]:
    if fwhm_nm is None or not 0 < fwhm_nm < np.inf:
        raise DataError(f"`fwhm_nm` must be a positive width in nm for 'gaussian' resampling; got {fwhm_nm}.")
    exponent = -0.5 * ((centres_nm - wanted_nm[:, np.newaxis]) * _FWHM_PER_SIGMA / fwhm_nm) ** 2
    exponent -= exponent.max(axis=1, keepdims=True)  # a band narrower than the grid still has its nearest neighbour
    weights = np.exp(exponent)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
