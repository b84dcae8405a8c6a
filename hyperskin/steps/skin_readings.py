"""A spectrophotometer's table of skin -> reflectance on a pair's bands, or a sentence why not."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.errors import DataError, MissingFileError

Floats = npt.NDArray[np.float64]

_MOST_BYTES = 1_000_000
_DELIMITERS = ",;\t"
_PER_CENT = ("%", "percent", "per cent")
_SHORTEST_NM = 200.0  # no reflectance is as large, and no wavelength as small, in either unit
_BRIGHTEST = 1.2  # glossy skin under a lamp that is nearer than its white tile
_FORM = "wavelengths in nm as its first line or first column, and a reading of skin in each further line or column"


def read_readings(path: Path, bands: Bands) -> Floats:
    """Return the readings of a CSV file on `bands`, between its own wavelengths by linear interpolation.

    Wavelengths in nm are the first line or the first column, readings the other lines or columns; names may stand
    before or above them. Values are reflectance from 0 to 1, or per cent if a name says so ("%" or "percent").

    Args:
        path: The file; between values stand commas, semicolons or tabs.
        bands: Those that are wanted; the file must cover them.

    Returns:
        (K, C), float64, reflectance.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is no such table.
    """
    names, wavelength_nm, values = _parse(path)
    if (values < 0).any() or not values.any(axis=1).all():
        raise DataError(f"{path} must hold readings of skin, 0 or more and not all 0; got one that is not.")
    if any(word in names.lower() for word in _PER_CENT):
        values = values / 100
    if values.max() > _BRIGHTEST:
        raise DataError(
            f"{path} must hold reflectance from 0 to 1; it goes up to {values.max():g}: if these are per cent, write % "
            "before the wavelengths; an overexposed reading must be taken again."
        )
    nm = bands.centres_nm()
    if wavelength_nm[0] > nm[0] or wavelength_nm[-1] < nm[-1]:
        raise DataError(
            f"{path} must cover {nm[0]:g} to {nm[-1]:g} nm; it covers {wavelength_nm[0]:g} to {wavelength_nm[-1]:g} nm."
        )
    return np.stack([np.interp(nm, wavelength_nm, reading) for reading in values])


def _parse(path: Path) -> tuple[str, Floats, Floats]:
    """Return what words the table has, its wavelengths, ascending, and its readings, (K, wavelengths)."""
    lines = _read_lines(path)
    if not _are_wavelengths(lines[0]):
        lines = [list(column) for column in zip(*lines, strict=True)]
    if not _are_wavelengths(lines[0]) or len(lines) < 2:
        raise DataError(f"{path} must hold {_FORM}; it does not.")
    first = 0 if _is_number(lines[0][0]) else 1
    wavelength_nm = np.array([float(cell) for cell in lines[0][first:]])
    values = np.array([[_to_value(cell, path) for cell in line[first:]] for line in lines[1:]])
    order = np.argsort(wavelength_nm)
    if not (np.diff(wavelength_nm[order]) > 0).all():
        raise DataError(f"{path} must name every wavelength once; it names one twice.")
    return " ".join(line[0] for line in lines if first), wavelength_nm[order], values[:, order]


def _read_lines(path: Path) -> list[list[str]]:
    """Return the table's cells, every line with as many."""
    if not path.is_file():
        raise MissingFileError(f"Readings of skin must be a capture's name or a CSV file; there is no {path}.")
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(
            f"{path} must be a table of a few readings, at most {_MOST_BYTES // 1_000_000} MB; it is larger."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} must be text in UTF-8; it is not: save it as CSV.") from None
    head = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    cells = [[cell.strip() for cell in line] for line in csv.reader(text.splitlines(), delimiter=delimiter)]
    lines = [line for line in cells if any(line)]
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        raise DataError(f"{path} must hold {_FORM}, every line of as many values; it does not.")
    return lines


def _are_wavelengths(cells: Sequence[str]) -> bool:
    """Tell whether cells are wavelengths, perhaps behind a name."""
    own = cells if _is_number(cells[0]) else cells[1:]
    return len(own) > 1 and all(_is_number(cell) and float(cell) >= _SHORTEST_NM for cell in own)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _to_value(cell: str, path: Path) -> float:
    if not _is_number(cell):
        raise DataError(
            f"{path} must hold a number for every reading and wavelength, with a decimal point; got {cell!r}."
        )
    return float(cell)
