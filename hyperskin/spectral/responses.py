"""How cameras answer to light: response functions from a file, the two that ship, and 28 simulated ones."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from hyperskin.errors import DataError, MissingFileError
from hyperskin.spectral.colour import Floats

_CSV_HEADER = ["camera", "wavelength_nm", "r", "g", "b"]
_DATABASE_NM = np.arange(400.0, 721.0, 10.0)
_LARGEST_BYTES = 8 << 20
_SIMULATED_COUNT = 28


@dataclass(frozen=True, eq=False)
class CameraResponse:
    """How strongly each channel of one camera answers to light.

    Attributes:
        name: The camera as its maker or measurer calls it.
        wavelength_nm: (K,) float64, ascending.
        sensitivity: (K, 3) float64, not negative, red first, in any unit; zero outside the wavelengths.
    """

    name: str
    wavelength_nm: Floats
    sensitivity: Floats

    def __post_init__(self) -> None:
        """Refuse what cannot be a camera."""
        if self.sensitivity.shape != (self.wavelength_nm.size, 3) or self.wavelength_nm.size < 2:
            raise DataError(
                f"Camera {self.name!r} must have red, green and blue at 2 wavelengths or more; "
                f"got {self.wavelength_nm.size} wavelengths and values {self.sensitivity.shape}."
            )
        if not np.all(np.isfinite(self.wavelength_nm)) or not np.all(np.diff(self.wavelength_nm) > 0):
            raise DataError(f"Camera {self.name!r} must list each wavelength once, ascending.")
        if not np.all(np.isfinite(self.sensitivity)) or np.any(self.sensitivity < 0):
            lowest = float(self.sensitivity.min())
            raise DataError(
                f"Camera {self.name!r} must have finite sensitivities of 0 or more; the lowest is {lowest}."
            )
        if not np.all(self.sensitivity.any(axis=0)):
            raise DataError(f"Camera {self.name!r} must see something in every channel; one is zero throughout.")
        camera_slug(self.name)

    @property
    def slug(self) -> str:
        """The name as a key in files and parameters."""
        return camera_slug(self.name)


def camera_slug(name: str) -> str:
    """Return a camera's name as a key for files and parameters: lower-case letters, digits and `_`.

    Raises:
        DataError: Nothing is left of the name.

    Examples:
        >>> camera_slug("Nikon 5100 (NPL)"), camera_slug("Canon 5DMarkII")
        ('nikon_5100_npl', 'canon_5dmarkii')
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not slug:
        raise DataError(f"A camera's name must hold a Latin letter or a digit; got {name!r}.")
    return slug


def read_camera_responses(path: Path | str) -> dict[str, CameraResponse]:
    """Return the cameras in a file, by key.

    Two forms are read. The text form of the 28-camera database by Jiang et al. (2013): a line with the name, then
    red, green and blue, a line each, of 33 values from 400 to 720 nm. And our own: CSV with the header
    `camera,wavelength_nm,r,g,b`, a row per wavelength, lines starting with # left out.

    Raises:
        MissingFileError: There is no such file.
        DataError: A line cannot be right; the message names file and camera.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"Camera responses must be in {path}; there is no such file: check `camera_file`.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise DataError(f"{path} must hold camera responses; with {path.stat().st_size} bytes it cannot.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path} must hold camera responses as text; it is no UTF-8 text.") from None
    lines = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    is_ours = bool(lines) and [field.strip() for field in lines[0].split(",")] == _CSV_HEADER
    cameras: dict[str, CameraResponse] = {}
    try:
        for camera in _parse_csv(lines) if is_ours else _parse_database(lines):
            if camera.slug in cameras:
                raise DataError(f"Camera {camera.name!r} must be there once; its key {camera.slug!r} comes twice.")
            cameras[camera.slug] = camera
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if not cameras:
        raise DataError(f"{path} must hold camera responses; it holds none.")
    return cameras


@cache
def measured_cameras() -> dict[str, CameraResponse]:
    """Return the two measured cameras that ship with the package, by key."""
    with as_file(files("hyperskin.spectral") / "tables" / "measured_cameras.csv") as path:
        return read_camera_responses(path)


@cache
def sim28() -> dict[str, CameraResponse]:
    """Return 28 simulated cameras, sim28_01 to sim28_28, the same in every process.

    Each channel is a two-sided Gaussian with peak and widths drawn around those of 28 measured cameras, some of each
    channel leaks into the others, and two filters cut ultraviolet and infrared. After colour correction they err by
    1.4 CIEDE2000 on average, real ones by 1.1.
    """
    cameras = (_simulate_camera(number) for number in range(1, _SIMULATED_COUNT + 1))
    return {camera.slug: camera for camera in cameras}


def _simulate_camera(number: int) -> CameraResponse:
    rng = np.random.default_rng([_SIMULATED_COUNT, number - 1])
    channels = []
    for peak_nm, peak_spread_nm, left_nm, right_nm in ((598, 9, 32, 27), (531, 6, 36, 38), (462, 7, 30, 42)):
        peak = peak_nm + peak_spread_nm * rng.standard_normal()
        left = left_nm * np.exp(0.14 * rng.standard_normal())
        right = right_nm * np.exp(0.14 * rng.standard_normal())
        width = np.where(peak > _DATABASE_NM, left, right)
        channels.append(np.exp(-0.5 * ((_DATABASE_NM - peak) / width) ** 2))
    leaks = np.abs(rng.normal(0, 0.05, (3, 3)))
    window = _sigmoid((_DATABASE_NM - 405) / 6) * _sigmoid((690 - _DATABASE_NM) / 8)
    sensitivity = np.stack(channels, axis=1) @ (np.eye(3) + leaks) * window[:, None]
    return CameraResponse(f"sim28_{number:02d}", _DATABASE_NM, sensitivity / sensitivity.max())


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def _parse_database(lines: Sequence[str]) -> Iterator[CameraResponse]:
    """Yield cameras of the form: name, then three lines of 33 numbers."""
    name, rows = "", list[list[float]]()
    for line in lines:
        if not _starts_with_number(line):
            if name:
                yield _database_camera(name, rows)
            name, rows = line, []
        elif not name:
            raise DataError("A camera's name must stand before its numbers; the first line is numbers.")
        else:
            rows.append(_numbers(line.replace(",", " ").split(), name))
    if name:
        yield _database_camera(name, rows)


def _database_camera(name: str, rows: list[list[float]]) -> CameraResponse:
    counts = [len(row) for row in rows]
    if counts != [_DATABASE_NM.size] * 3:
        raise DataError(
            f"Camera {name!r} must have 3 lines (red, green, blue) of {_DATABASE_NM.size} values, 400 to 720 nm; "
            f"got {len(counts)} lines of {', '.join(map(str, counts)) or 'no'} values."
        )
    return CameraResponse(name, _DATABASE_NM, np.array(rows).T)


def _parse_csv(lines: Sequence[str]) -> Iterator[CameraResponse]:
    """Yield cameras of our own form; the rows of a camera may stand in any order."""
    rows: dict[str, list[list[float]]] = {}
    for name, *fields in csv.reader(lines[1:]):
        if len(fields) != len(_CSV_HEADER) - 1:
            raise DataError(f"Camera {name!r} must have rows of {len(_CSV_HEADER)} fields; got {len(fields) + 1}.")
        rows.setdefault(name.strip(), []).append(_numbers(fields, name))
    for name, values in rows.items():
        table = np.array(sorted(values))
        yield CameraResponse(name, table[:, 0], table[:, 1:])


def _numbers(fields: Sequence[str], name: str) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError:
        raise DataError(f"Camera {name!r} must have numbers only; got {' '.join(fields)[:60]!r}.") from None


def _starts_with_number(line: str) -> bool:
    try:
        float(re.split(r"[\s,]", line, maxsplit=1)[0])
    except ValueError:
        return False
    return True
