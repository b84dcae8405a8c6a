"""What the pigments of skin absorb, each with its source."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from hyperskin.errors import DataError

Floats = npt.NDArray[np.float64]

FIRST_NM, LAST_NM = 390.0, 1005.0
_TABLES_END_NM = 1000.0  # beyond it, to the last band of a sensor, the tables' last value stands

# Absorption of fat in 1/cm as a floor and Gaussians: height, centre in nm, width in nm.
_LIPID_FLOOR = 0.0032
_LIPID_PEAKS = (
    (0.0045, 749.1, 18.7),
    (0.0068, 762.5, 10.6),
    (0.0033, 827.5, 18.5),
    (0.0028, 870.3, 48.6),
    (0.0420, 906.4, 22.5),
    (0.1105, 929.9, 15.9),
    (0.0122, 958.1, 18.6),
    (0.1651, 1078.4, 56.0),
)
# Vibronic bands of carotenoids in the body, likewise, per unit.
_CAROTENOID_PEAKS = ((0.5, 425.0, 18.0), (1.0, 452.0, 20.0), (0.8, 480.0, 22.0))


def melanin_absorption(wavelength_nm: Floats, exponent: float | Floats = 3.5) -> Floats:
    """Return the absorption inside a melanosome.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005.
        exponent: How steeply it falls, unitless; or (N, 1) for N sorts of melanin.

    Returns:
        1/cm, (C,) or (N, C), float64.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.

    Source:
        Jacques (2013), Phys. Med. Biol. 58, R37, doi:10.1088/0031-9155/58/11/R37.

    Examples:
        >>> float(melanin_absorption(np.array([500.0]))[0])
        519.0
    """
    absorption: Floats = 519.0 * (_require_wavelengths(wavelength_nm) / 500.0) ** -np.asarray(exponent)
    return absorption


def oxyhaemoglobin_absorption(wavelength_nm: Floats) -> Floats:
    """Return the absorption of whole blood, all of whose haemoglobin (150 g/L) carries oxygen.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005; above 1000 the value there stands.

    Returns:
        1/cm, (C,), float64.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.

    Source:
        Molar extinction compiled by S. Prahl (1998), omlc.org/spectra/hemoglobin, times 2.303 * 150 / 64500.
    """
    return _interpolate("haemoglobin.csv", "oxy", wavelength_nm)


def deoxyhaemoglobin_absorption(wavelength_nm: Floats) -> Floats:
    """Return the absorption of whole blood, none of whose haemoglobin (150 g/L) carries oxygen.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005; above 1000 the value there stands.

    Returns:
        1/cm, (C,), float64.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.

    Source:
        Molar extinction compiled by S. Prahl (1998), omlc.org/spectra/hemoglobin, times 2.303 * 150 / 64500.
    """
    return _interpolate("haemoglobin.csv", "deoxy", wavelength_nm)


def water_absorption(wavelength_nm: Floats) -> Floats:
    """Return the absorption of pure water.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005; above 1000 the value there stands.

    Returns:
        1/cm, (C,), float64.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.

    Source:
        Hale and Querry (1973), Appl. Opt. 12, 555, doi:10.1364/AO.12.000555.
    """
    return _interpolate("water.csv", "water", wavelength_nm)


def bloodless_absorption(wavelength_nm: Floats) -> Floats:
    """Return the absorption of skin without blood and melanin.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005.

    Returns:
        1/cm, (C,), float64.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.

    Source:
        Measured on neonatal skin by Saidi (1992), fitted by Jacques (1998), omlc.org/news/jan98/skinoptics.html.
    """
    absorption: Floats = 0.244 + 85.3 * np.exp(-(_require_wavelengths(wavelength_nm) - 154.0) / 66.2)
    return absorption


def carotenoid_absorption(wavelength_nm: Floats) -> Floats:
    """Return the absorption of one unit of carotenoids: three bands in the blue, 1.2 1/cm at the highest.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005.

    Returns:
        1/cm, (C,), float64. Light skin holds about 0.6 units.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.

    Source:
        Three Gaussians of ours at the vibronic bands of carotenoids in the body, 425, 452 and 480 nm.
    """
    return _sum_gaussians(_CAROTENOID_PEAKS, _require_wavelengths(wavelength_nm))


def lipid_absorption(wavelength_nm: Floats) -> Floats:
    """Return the absorption of pure fat: 0.13 1/cm near 930 nm, a tenth of that near 760.

    Args:
        wavelength_nm: Wavelengths in nm, (C,), within 390..1005.

    Returns:
        1/cm, (C,), float64.

    Raises:
        DataError: A wavelength lies outside 390..1005 nm.

    Source:
        Eight Gaussians on a floor, within 6 % of mammalian fat from 690 nm on as measured by van Veen et al. (OSA
        Biomedical Topical Meeting, 2004). Below, the floor alone: what fat absorbs there is dissolved carotenoids.
    """
    return _LIPID_FLOOR + _sum_gaussians(_LIPID_PEAKS, _require_wavelengths(wavelength_nm))


def _sum_gaussians(peaks: tuple[tuple[float, float, float], ...], wavelength_nm: Floats) -> Floats:
    total = np.zeros_like(wavelength_nm)
    for height, centre_nm, width_nm in peaks:
        total += height * np.exp(-(((wavelength_nm - centre_nm) / width_nm) ** 2))
    return total


def _require_wavelengths(wavelength_nm: Floats) -> Floats:
    nm = np.asarray(wavelength_nm, dtype=np.float64)
    if nm.size and not np.all((nm >= FIRST_NM) & (nm <= LAST_NM)):
        raise DataError(
            f"`wavelength_nm` must lie within {FIRST_NM:g} to {LAST_NM:g} nm, where absorption is tabulated; "
            f"got {float(nm.min()):g} to {float(nm.max()):g} nm."
        )
    return nm


def _interpolate(table: str, column: str, wavelength_nm: Floats) -> Floats:
    """Return a tabulated absorption at other wavelengths by monotone cubics (PCHIP) through its logarithms."""
    nm = _require_wavelengths(wavelength_nm)
    absorption: Floats = np.exp(_read_curves(table)[column](np.minimum(nm, _TABLES_END_NM)))
    return absorption


@cache
def _read_curves(table: str) -> dict[str, PchipInterpolator]:
    text = (files("hyperskin.skin") / "tables" / table).read_text(encoding="utf-8")
    header, *rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    nm, *columns = np.array(rows, dtype=np.float64).T
    return {name: PchipInterpolator(nm, np.log(column)) for name, column in zip(header[1:], columns, strict=True)}
