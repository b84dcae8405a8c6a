"""An ENVI file as another program wrote it -> reflectance on bands that skin is read from, or a sentence why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands, regular_bands
from hyperskin.envi import EnviFile, open_envi
from hyperskin.errors import DataError
from hyperskin.spectral.resampling import resample_bands

Bools = npt.NDArray[np.bool_]
Reflectance = npt.NDArray[np.float32]

_STEP_NM = 10.0
_MOST_BANDS = 100  # more of them are averaged to every 10 nm, which is all that skin's smooth spectra need
_SCALE, _GAP, _GOOD = "reflectance scale factor", "data ignore value", "bbl"
_LEAST_NM = 100.0  # below, wavelengths are in micrometres
_BRIGHTEST = 2.0  # half of a picture cannot be twice as bright as a white reference
_BLOCK_LINES = 64


def read_envi_reflectance(header_path: Path, data_path: Path | None = None) -> tuple[Reflectance, Bands, Bools]:
    """Return the reflectance in an ENVI file: floats as they are, whole numbers over the header's scale factor.

    Bands that the header calls bad are left out; a pixel with the header's value for gaps is no measurement.

    Args:
        header_path: The header.
        data_path: The binary; None: the one beside the header.

    Returns:
        Reflectance (H, W, C), its bands, and which pixels are measured, (H, W) bool.

    Raises:
        MissingFileError: A file is not there.
        DataError: The header cannot be right, or does not say what the numbers are; or they are no reflectance.
    """
    file = open_envi(header_path, data_path)
    places, bands = _usable_bands(header_path, file)
    scale, gap = _scale(header_path, file), _number(header_path, file, _GAP)
    target = _coarser(bands)
    blocks, measured = [], []
    for counts in file.line_blocks(_BLOCK_LINES):
        block = counts[..., places].astype(np.float32)
        is_gap = ~np.isfinite(block) if gap is None else ~np.isfinite(block) | (block == np.float32(gap))
        measured.append(~is_gap.any(axis=2) & (block != 0).any(axis=2))
        block /= np.float32(scale)
        if target is not None:
            block = resample_bands(block, bands, target, kind="gaussian", fwhm_nm=_STEP_NM)
        blocks.append(block.astype(np.float32, copy=False))
    cube, valid = np.concatenate(blocks), np.concatenate(measured)
    _require_reflectance(header_path, cube, valid, target or bands)
    return cube, target or bands, valid


def _usable_bands(header_path: Path, file: EnviFile) -> tuple[npt.NDArray[np.intp], Bands]:
    """Return which bands of the file are good, by wavelength."""
    header = file.header
    if header.wavelength_nm is None:
        raise DataError(f"{header_path} must list the wavelengths of its {header.bands} bands; it lists none.")
    centres_nm = np.array(header.wavelength_nm)
    if centres_nm.max() < _LEAST_NM:
        raise DataError(
            f"{header_path} must list wavelengths in nm; got {centres_nm.min():g} to {centres_nm.max():g}: if these "
            "are micrometres, add the line `wavelength units = Micrometers`."
        )
    good = np.flatnonzero(_good_bands(header_path, file))
    places = good[np.argsort(centres_nm[good])]
    try:
        return places, Bands(tuple(float(centres_nm[place]) for place in places))
    except DataError as error:
        raise DataError(f"{header_path}: {error}") from None


def _good_bands(header_path: Path, file: EnviFile) -> Bools:
    """Return the bands that the header does not call bad."""
    text = file.header.fields.get(_GOOD, "")
    if not text:
        return np.ones(file.header.bands, dtype=np.bool_)
    flags = [part.strip() for part in text.split(",")]
    if len(flags) != file.header.bands or not set(flags) <= {"0", "1"} or "1" not in flags:
        raise DataError(
            f"{header_path}: `{_GOOD}` must hold a 0 or a 1 for each of {file.header.bands} bands; got {text[:40]!r}."
        )
    return np.array([flag == "1" for flag in flags])


def _scale(header_path: Path, file: EnviFile) -> float:
    """Return by what stored numbers are divided to be reflectance."""
    scale = _number(header_path, file, _SCALE)
    if scale is None and np.issubdtype(file.header.dtype, np.integer):
        raise DataError(
            f"{header_path} must say by what its whole numbers are divided to be reflectance, such as "
            f"`{_SCALE} = 10000`; it does not: are these raw counts? Then calibrate them first (`hyperskin init "
            "--source lumo`)."
        )
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise DataError(f"{header_path}: `{_SCALE}` must be a positive number; got {file.header.fields[_SCALE]!r}.")
    return scale or 1.0


def _number(header_path: Path, file: EnviFile, key: str) -> float | None:
    text = file.header.fields.get(key, "")
    try:
        return float(text) if text else None
    except ValueError:
        raise DataError(f"{header_path}: `{key}` must be a number; got {text!r}.") from None


def _require_reflectance(header_path: Path, cube: Reflectance, valid: Bools, bands: Bands) -> None:
    if not valid.any():
        empty = np.flatnonzero(~np.isfinite(cube).any(axis=(0, 1)))
        blame = f": the band at {bands.wavelength_nm[empty[0]]:g} nm holds no number at all" if empty.size else ""
        raise DataError(f"{header_path} must hold a spectrum without gaps in at least one pixel; it holds none{blame}.")
    middle = float(np.median(cube[valid]))
    if middle > _BRIGHTEST:
        raise DataError(
            f"{header_path} must hold reflectance, 1.0 for the white reference; half of its values are above "
            f"{middle:.3g}: if these are per cent, add the line `{_SCALE} = 100`; raw counts need calibration first."
        )


def _coarser(bands: Bands) -> Bands | None:
    """Return bands every 10 nm within these, or None where these are few enough."""
    if len(bands) <= _MOST_BANDS:
        return None
    first = np.ceil(bands.wavelength_nm[0] / _STEP_NM) * _STEP_NM
    last = np.floor(bands.wavelength_nm[-1] / _STEP_NM) * _STEP_NM
    return regular_bands(float(first), float(last), _STEP_NM)
