"""Classic indices of skin: the absorbance of a few bands, weighted and summed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.cube import Spectra
from hyperskin.errors import DataError, ShapeError

Floats = npt.NDArray[np.float64]

_SAME_NM = 1e-6
_WIDEST_GAP_NM = 20.0


def melanin_index_655(reflectance: Spectra, bands: Bands) -> Floats:
    """Return the melanin index of narrow-band reflectometers, 100 A at 650 to 660 nm, A = log10(1/R).

    It belongs to a probe that touches the skin. In an image it is mostly shading: within the faces of phantoms it has
    nothing to do with melanin. Take `melanin_slope_index` there.

    Args:
        reflectance: Spectra of skin, (..., C), 1.0 = a perfect reflector.
        bands: Their bands.

    Returns:
        Unitless, (...), float64; NaN where a band that counts is NaN or not above 0.

    Raises:
        ShapeError: There is not one value for each of `bands`.
        DataError: The bands do not cover 650 to 660 nm.

    Source:
        Takiwaki et al. (1994), Skin Pharmacology 7, 217; Fullerton et al. (1996), Contact Dermatitis 35, 1.
    """
    return _apply("melanin_index_655", reflectance, bands)


def melanin_slope_index(reflectance: Spectra, bands: Bands) -> Floats:
    """Return how steeply A = log10(1/R) falls from 620 to 700 nm, times 100, per 100 nm: more melanin, steeper.

    Shading adds the same to the absorbance of every band and leaves the slope alone.

    Args:
        reflectance: Spectra of skin, (..., C).
        bands: Their bands.

    Returns:
        Per 100 nm, (...), float64; NaN where a band that counts is NaN or not above 0.

    Raises:
        ShapeError: There is not one value for each of `bands`.
        DataError: The bands do not cover 620 to 700 nm.

    Source:
        Stamatas, Zmudzka, Kollias and Beer (2004), Pigment Cell Research 17, 618: the slope of a least-squares line.

    Examples:
        >>> from hyperskin.bands import VIS
        >>> falling = 10 ** (-0.5 + 0.004 * (VIS.centres_nm() - 620))
        >>> float(melanin_slope_index(falling, VIS).round(6))
        40.0
    """
    return _apply("melanin_index", reflectance, bands)


def erythema_index(reflectance: Spectra, bands: Bands) -> Floats:
    """Return how red skin is: 100 times the absorbance at 560 to 570 nm, where blood's is, less that at 650 to 660 nm.

    Args:
        reflectance: Spectra of skin, (..., C).
        bands: Their bands.

    Returns:
        Unitless, (...), float64; NaN where a band that counts is NaN or not above 0. Shading cancels; melanin adds.

    Raises:
        ShapeError: There is not one value for each of `bands`.
        DataError: The bands do not cover 560 to 570 and 650 to 660 nm.

    Source:
        Takiwaki et al. (1994), Skin Pharmacology 7, 217; Fullerton et al. (1996), Contact Dermatitis 35, 1: 568 and
        655 nm, here the means of the bands around.
    """
    return _apply("erythema_index", reflectance, bands)


def erythema_index_dawson(reflectance: Spectra, bands: Bands) -> Floats:
    """Return how far blood's bands stand above a line from 510 to 610 nm.

    100 (A560 + 1.5 (A545 + A575) - 2 (A510 + A610)), A = log10(1/R); a value between two bands is read off the line
    that joins them.

    Args:
        reflectance: Spectra of skin, (..., C).
        bands: Their bands.

    Returns:
        Unitless, (...), float64; NaN where a band that counts is NaN or not above 0. Whatever absorbs along a straight
        line cancels, shading included.

    Raises:
        ShapeError: There is not one value for each of `bands`.
        DataError: The bands do not cover 510 to 610 nm.

    Source:
        Dawson et al. (1980), Physics in Medicine and Biology 25, 695.
    """
    return _apply("erythema_index_dawson", reflectance, bands)


def water_index(reflectance: Spectra, bands: Bands) -> Floats:
    """Return how much higher A = log10(1/R) is in water's band, 960 to 980 nm, than before it, 870 to 890 nm.

    Args:
        reflectance: Spectra of skin, (..., C).
        bands: Their bands.

    Returns:
        Unitless, (...), float64; NaN where a band that counts is NaN or not above 0. Shading cancels; fat and melanin
        do not.

    Raises:
        ShapeError: There is not one value for each of `bands`.
        DataError: The bands do not cover 870 to 890 and 960 to 980 nm.

    Source:
        The ranges are about those of the tissue water index of Holmer et al. (2018), Physiological Measurement 39,
        as a plain difference of absorbance.
    """
    return _apply("water_index", reflectance, bands)


def index_weights(name: str, bands: Bands) -> Floats:
    """Return what an index weighs the absorbance of each band with, (C,): the index is their scalar product.

    Args:
        name: One of `INDICES`.
        bands: Bands of the spectra.

    Raises:
        DataError: The bands do not cover what the index needs.
    """
    nm = bands.centres_nm()
    if INDICES[name] is _SLOPE:
        return _slope_weights(name, nm)
    total = np.zeros(len(nm))
    for factor, first_nm, last_nm in INDICES[name]:
        total += 100 * factor * _mean_weights(name, nm, first_nm, last_nm)
    return total / (100 if name == "water_index" else 1)


def covers_index(name: str, bands: Bands) -> bool:
    """Return whether `bands` cover what the index called `name` needs."""
    try:
        index_weights(name, bands)
    except DataError:
        return False
    return True


def absorbance(reflectance: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    """Return log10(1/R) in the dtype of R; NaN where R is NaN or not above 0."""
    result = np.where(reflectance > 0, reflectance, np.nan)
    np.log10(result, out=result)
    return np.negative(result, out=result)


# Terms (factor, first_nm, last_nm): a factor times the mean absorbance of a range; the slope is made otherwise.
_SLOPE = ((-1.0, 620.0, 700.0),)
INDICES = {
    "melanin_index_655": ((1.0, 650.0, 660.0),),
    "melanin_index": _SLOPE,
    "erythema_index": ((1.0, 560.0, 570.0), (-1.0, 650.0, 660.0)),
    "erythema_index_dawson": (
        (1.0, 560.0, 560.0),
        (1.5, 545.0, 545.0),
        (1.5, 575.0, 575.0),
        (-2.0, 510.0, 510.0),
        (-2.0, 610.0, 610.0),
    ),
    "water_index": ((1.0, 960.0, 980.0), (-1.0, 870.0, 890.0)),
}
"""What each index is made of."""


def _apply(name: str, reflectance: Spectra, bands: Bands) -> Floats:
    if np.shape(reflectance)[-1:] != (len(bands),):
        raise ShapeError(
            f"`reflectance` must hold {len(bands)} bands in its last axis; got shape {np.shape(reflectance)}."
        )
    weights = index_weights(name, bands)
    counting = np.flatnonzero(weights)
    index: Floats = absorbance(np.asarray(reflectance)[..., counting].astype(np.float64)) @ weights[counting]
    return index


def _slope_weights(name: str, nm: Floats) -> Floats:
    """Return the weights of 10,000 times the falling slope, per nm, of a least-squares line through a range's bands."""
    _, first_nm, last_nm = INDICES[name][0]
    inside = _inside(nm, first_nm, last_nm)
    reached = nm[inside]
    edges = np.concatenate([[first_nm], reached, [last_nm]])
    if len(reached) < 2 or np.diff(edges).max() > _WIDEST_GAP_NM:
        raise _uncovered(name, nm, first_nm, last_nm)
    away = np.where(inside, nm - reached.mean(), 0.0)
    return np.asarray(-1e4 * away / (away @ away))


def _mean_weights(name: str, nm: Floats, first_nm: float, last_nm: float) -> Floats:
    """Return the weights of the mean over a range; where no band is inside, of a line's value in its middle."""
    inside = _inside(nm, first_nm, last_nm)
    if inside.any():
        return np.asarray(inside / inside.sum())
    middle_nm = (first_nm + last_nm) / 2
    after = int(np.searchsorted(nm, middle_nm))
    if after in (0, len(nm)) or nm[after] - nm[after - 1] > _WIDEST_GAP_NM:
        raise _uncovered(name, nm, first_nm, last_nm)
    weights = np.zeros(len(nm))
    weights[after] = (middle_nm - nm[after - 1]) / (nm[after] - nm[after - 1])
    weights[after - 1] = 1 - weights[after]
    return weights


def _inside(nm: Floats, first_nm: float, last_nm: float) -> npt.NDArray[np.bool_]:
    return np.asarray((nm >= first_nm - _SAME_NM) & (nm <= last_nm + _SAME_NM))


def _uncovered(name: str, nm: Floats, first_nm: float, last_nm: float) -> DataError:
    wanted = f"{first_nm:g} to {last_nm:g} nm" if last_nm > first_nm else f"{first_nm:g} nm"
    return DataError(
        f"`bands` must cover {wanted} for {name!r}, {_WIDEST_GAP_NM:g} nm apart at most; "
        f"got {len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm."
    )
