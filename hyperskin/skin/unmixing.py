"""Modified Beer-Lambert: absorbance as a sum of melanin, two bloods and shading, each along its own path of light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.cube import Spectra
from hyperskin.errors import DataError, ShapeError
from hyperskin.skin.chromophores import deoxyhaemoglobin_absorption, oxyhaemoglobin_absorption
from hyperskin.skin.nnls import solve_nonnegative
from hyperskin.skin.optics import Skin, skin_reflectance

Floats = npt.NDArray[np.float64]

FIRST_NM, LAST_NM = 450.0, 700.0
_LEAST_BANDS = 6
_WIDEST_GAP_NM = 20.0
_MUST_HAVE_NM = (520.0, 600.0)  # where the two bloods differ most from all else

_MELANIN, _BLOOD = 0.05, 0.02  # from none to so much: with these, blood on phantoms is neither over- nor underrated
_OXYGENATION, _WATER = 0.68, 0.65
_VESSEL_CM = 1e-3


@dataclass(frozen=True)
class Unmixed:
    """What spectra are a sum of; each (...) float64, NaN where a band that counts is NaN or not above 0.

    Attributes:
        melanin: Melanin, about a share of the epidermis. To compare within one face or among faces, not to read off: on
            calibrated phantoms of types I to IV it follows the truth with r = 0.97, a quarter too high. Of dark skin
            the surface's own 4.5 % is most of what blue light comes back, which the law does not know: r over all six
            types is 0.63.
        blood: Total haemoglobin, about a share of the dermis that is blood of 150 g/L; r = 0.93 for types I to IV,
            0.87 for all.
        oxygenation: Share of the haemoglobin that carries oxygen; NaN where there is none.
        residual_rmse: Root mean square of the absorbance, by the natural logarithm, that the sum leaves.
    """

    melanin: Floats
    blood: Floats
    oxygenation: Floats
    residual_rmse: Floats


def unmix(reflectance: Spectra, bands: Bands) -> Unmixed:
    """Return melanin and haemoglobin, neither of them negative, and a constant for shading that explain -ln R best.

    Blood absorbs along the way that light of each wavelength goes in skin. The bands from 450 to 700 nm count.

    Args:
        reflectance: Spectra of skin, (..., C); scaling one changes nothing.
        bands: Their bands.

    Raises:
        ShapeError: There is not one value for each of `bands`.
        DataError: The bands do not cover 520 to 600 nm.

    Source:
        Delpy et al. (1988), Physics in Medicine and Biology 33, 1433, for the law. The path is a difference quotient of
        `skin_reflectance`.
    """
    spectra, columns = _used_spectra(reflectance, bands)
    shape = spectra.shape[:-1]
    absorbance = spectra.reshape(-1, spectra.shape[-1])
    np.log(absorbance, out=absorbance)
    np.negative(absorbance, out=absorbance)
    solution = solve_nonnegative(columns, absorbance, free_count=1)
    melanin, oxy, deoxy = (solution.coefficients[:, i].reshape(shape) for i in range(3))
    blood = oxy + deoxy
    oxygenation = oxy / np.where(blood > 0, blood, np.nan)
    return Unmixed(melanin.copy(), blood, oxygenation, solution.residual_rmse.reshape(shape))


def unmixing_noise(found: Unmixed, reflectance: Spectra, bands: Bands, noise_sd: Floats) -> dict[str, Floats]:
    """Return how far the noise of the bands moves what was unmixed.

    To first order, and as if shares could be negative: where one is held at 0, the true deviation is smaller. What the
    law itself is off by is not in it.

    Args:
        found: What `unmix` made of `reflectance`.
        reflectance: Spectra of skin, (..., C).
        bands: Their bands.
        noise_sd: Standard deviation of reflectance in each band, (C,), independent of each other.

    Returns:
        Standard deviations of "melanin", "blood" and "oxygenation", (...) float64; NaN where they have no value.
    """
    spectra, columns = _used_spectra(reflectance, bands)
    used, _ = _columns(bands.wavelength_nm)
    melanin, oxy, deoxy, _ = np.linalg.pinv(columns)
    each = np.stack([melanin**2, oxy**2, deoxy**2, oxy * deoxy], axis=1)
    of_melanin, of_oxy, of_deoxy, of_both = np.moveaxis(np.square(noise_sd[used] / spectra) @ each, -1, 0)
    share = found.oxygenation
    of_share = (1 - share) ** 2 * of_oxy + share**2 * of_deoxy - 2 * share * (1 - share) * of_both
    return {
        "melanin": np.sqrt(of_melanin),
        "blood": np.sqrt(of_oxy + of_deoxy + 2 * of_both),
        "oxygenation": np.sqrt(of_share) / np.where(found.blood > 0, found.blood, np.nan),
    }


def can_unmix(bands: Bands) -> bool:
    """Return whether `unmix` takes these bands."""
    try:
        _columns(bands.wavelength_nm)
    except DataError:
        return False
    return True


def diffuse_path(wavelength_nm: Floats) -> Floats:
    """Return how far light of each wavelength goes in the dermis of typical skin.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005.

    Returns:
        cm, (C,), float64: what 2 % of blood add to -ln R of skin without any, divided by what they absorb. 0.2 cm at
        500 nm, 0.8 at 700.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.
    """
    blood = _packaged(
        _OXYGENATION * oxyhaemoglobin_absorption(wavelength_nm)
        + (1 - _OXYGENATION) * deoxyhaemoglobin_absorption(wavelength_nm)
    )
    added = np.log(_reflect(wavelength_nm, _MELANIN, 0.0) / _reflect(wavelength_nm, _MELANIN, _BLOOD))
    return np.asarray(added / (_BLOOD * blood))


def _used_spectra(reflectance: Spectra, bands: Bands) -> tuple[Floats, Floats]:
    """Return the bands that count, NaN where they are not above 0, and what is looked for in them."""
    if np.shape(reflectance)[-1:] != (len(bands),):
        raise ShapeError(
            f"`reflectance` must hold {len(bands)} bands in its last axis; got shape {np.shape(reflectance)}."
        )
    used, columns = _columns(bands.wavelength_nm)
    spectra = np.asarray(reflectance)[..., used].astype(np.float64)
    return np.where(spectra > 0, spectra, np.nan), columns


@lru_cache(maxsize=16)
def _columns(wavelength_nm: tuple[float, ...]) -> tuple[slice, Floats]:
    """Return which bands count, and what melanin, oxygenated and deoxygenated blood and shading absorb there."""
    nm = np.array(wavelength_nm)
    inside = np.flatnonzero((nm >= FIRST_NM - 1e-6) & (nm <= LAST_NM + 1e-6))
    reached = nm[inside]
    first_needed, last_needed = _MUST_HAVE_NM
    if (
        len(inside) < _LEAST_BANDS
        or reached[0] > first_needed
        or reached[-1] < last_needed
        or np.diff(reached).max() > _WIDEST_GAP_NM
    ):
        raise DataError(
            f"`bands` must cover {first_needed:g} to {last_needed:g} nm with {_LEAST_BANDS} bands or more within "
            f"{FIRST_NM:g} to {LAST_NM:g} nm, {_WIDEST_GAP_NM:g} nm apart at most; "
            f"got {len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm."
        )
    melanin = np.log(_reflect(reached, 0.0, _BLOOD) / _reflect(reached, _MELANIN, _BLOOD)) / _MELANIN
    way_cm = diffuse_path(reached)
    columns = np.stack(
        [
            melanin,
            way_cm * _packaged(oxyhaemoglobin_absorption(reached)),
            way_cm * _packaged(deoxyhaemoglobin_absorption(reached)),
            np.ones(len(reached)),
        ],
        axis=1,
    )
    return slice(int(inside[0]), int(inside[-1]) + 1), columns


def _reflect(nm: Floats, melanin: float, blood: float) -> Floats:
    skin = Skin(melanin, blood, _OXYGENATION, _WATER, vessel_radius_cm=_VESSEL_CM, surface_reflectance=0.0)
    return np.asarray(skin_reflectance(skin, nm)[0], dtype=np.float64)


def _packaged(absorption: Floats) -> Floats:
    """Return what blood absorbs that fills vessels: little light reaches the middle of a wide one."""
    depth = 2 * _VESSEL_CM * absorption
    return np.asarray(-np.expm1(-depth) / (2 * _VESSEL_CM))
