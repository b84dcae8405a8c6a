"""Cubes on disk: reflectance as uint16 with its bands in the header, read whole or by window."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from hyperskin.atomic import atomic_path
from hyperskin.bands import Bands
from hyperskin.data.chunks import Window as Window
from hyperskin.data.chunks import WindowReader
from hyperskin.errors import DataError, MissingFileError, ShapeError

SCHEMA = 1
OFFSET = 4096
SCALE = 28672.0
LOWEST = -OFFSET / SCALE
HIGHEST = (65535 - OFFSET) / SCALE
CHUNK_PX = 64
REMAKE = "delete it and run `dvc repro`"


@dataclass(frozen=True)
class CubeHeader:
    """What a cube file says of itself.

    Attributes:
        shape: (H, W) of the frame.
        bands: Bands of each stored cube by its name ("vis", "nir").
        attributes: What the writer noted: source hashes, parameters, counts.
        sha256: Hash of each dataset's stored values by name, in writing order of lines.
        ranges: Smallest and largest stored reflectance of each cube.
    """

    shape: tuple[int, int]
    bands: dict[str, Bands]
    attributes: dict[str, Any]
    sha256: dict[str, str]
    ranges: dict[str, tuple[float, float]]


def encode_reflectance(reflectance: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.uint16], int]:
    """Return stored numbers and how many values had to be clamped to fit.

    reflectance = (n - 4096) / 28672 spans -0.143 .. 2.143 in steps of 3.5e-5. NaN becomes 0 reflectance and counts as
    clamped: the valid map says which pixels to trust.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is clamped below
        scaled = reflectance.astype(np.float32) * np.float32(SCALE)
    scaled += np.float32(OFFSET)
    np.rint(scaled, out=scaled)
    outside = ~((scaled >= 0) & (scaled <= 65535))
    clamped_count = int(np.count_nonzero(outside))
    if clamped_count:
        scaled[np.isnan(scaled)] = OFFSET
        np.clip(scaled, 0, 65535, out=scaled)
    return scaled.astype(np.uint16), clamped_count


def decode_reflectance(numbers: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return reflectance, float32, from stored numbers of any shape."""
    reflectance = numbers.astype(np.float32)
    reflectance -= np.float32(OFFSET)
    reflectance *= np.float32(1.0 / SCALE)
    return reflectance


@dataclass
class _Tally:
    digest: Any = field(default_factory=hashlib.sha256)
    lowest: int = 65535
    highest: int = 0


class CubeWriter:
    """Writes one cube file line block by line block; `write_cubes` opens it."""

    def __init__(self, file: h5py.File, bands: Mapping[str, Bands], height: int, width: int) -> None:
        self._height = height
        self._width = width
        self._next_line = 0
        self.clamped_count = 0
        self._tallies = {name: _Tally() for name in (*bands, "valid")}
        self._sets = {}
        for name, cube_bands in bands.items():
            count = len(cube_bands)
            self._sets[name] = file.create_dataset(
                name,
                shape=(height, width, count),
                dtype=np.uint16,
                chunks=(min(CHUNK_PX, height), min(CHUNK_PX, width), count),
                fletcher32=True,
            )
            self._sets[name].attrs["wavelength_nm"] = cube_bands.centres_nm()
        self._sets["valid"] = file.create_dataset(
            "valid",
            shape=(height, width),
            dtype=np.uint8,
            chunks=(min(CHUNK_PX, height), min(CHUNK_PX, width)),
            compression="gzip",
            fletcher32=True,
        )

    def append(self, cubes: Mapping[str, npt.NDArray[np.floating[Any]]], valid: npt.NDArray[np.bool_]) -> None:
        """Write the next lines: every cube (L, W, C), and `valid` (L, W).

        Raises:
            ShapeError: A cube is missing or unknown, or a block has another shape than the frame's next lines.
        """
        first, last = self._next_line, self._next_line + valid.shape[0]
        self._require_lines(cubes, valid, last)
        for name, cube in cubes.items():
            numbers, clamped_count = encode_reflectance(cube)
            self.clamped_count += clamped_count
            self._put(name, first, last, numbers)
        self._put("valid", first, last, valid.astype(np.uint8))
        self._next_line = last

    def _require_lines(
        self, cubes: Mapping[str, npt.NDArray[np.floating[Any]]], valid: npt.NDArray[np.bool_], last: int
    ) -> None:
        names = [name for name in self._sets if name != "valid"]
        if sorted(cubes) != sorted(names):
            raise ShapeError(f"Appended cubes must be {', '.join(names)}; got {', '.join(cubes) or 'none'}.")
        if valid.ndim != 2 or valid.shape[0] == 0 or last > self._height or valid.shape[1] != self._width:
            raise ShapeError(
                f"`valid` must hold 1 to {self._height - self._next_line} lines of width {self._width}, as many as the "
                f"frame still needs; got shape {valid.shape}."
            )
        for name, cube in cubes.items():
            expected = (*valid.shape, self._sets[name].shape[2])
            if cube.shape != expected:
                raise ShapeError(f"Lines of the cube {name!r} must have shape {expected}; got {cube.shape}.")

    def _put(self, name: str, first: int, last: int, numbers: npt.NDArray[Any]) -> None:
        numbers = np.ascontiguousarray(numbers)
        self._sets[name][first:last] = numbers
        tally = self._tallies[name]
        tally.digest.update(numbers.tobytes())
        tally.lowest = min(tally.lowest, int(numbers.min()))
        tally.highest = max(tally.highest, int(numbers.max()))

    def close(self, attributes: Mapping[str, Any]) -> None:
        """Check that every line came, and note hashes, ranges and `attributes` in the header."""
        if self._next_line != self._height:
            raise ShapeError(f"A cube of {self._height} lines must get them all; got {self._next_line}.")
        for name, tally in self._tallies.items():
            self._sets[name].attrs["sha256"] = tally.digest.hexdigest()
            if name != "valid":
                self._sets[name].attrs["range"] = [(tally.lowest - OFFSET) / SCALE, (tally.highest - OFFSET) / SCALE]
        file = self._sets["valid"].file
        file.attrs["schema"] = SCHEMA
        file.attrs["attributes"] = json.dumps(
            {**attributes, "clamped_count": self.clamped_count}, sort_keys=True, allow_nan=False
        )


@contextmanager
def write_cubes(
    path: Path, *, height: int, width: int, bands: Mapping[str, Bands], attributes: dict[str, Any]
) -> Iterator[CubeWriter]:
    """Open a cube file for writing; it appears under `path` only when every line was written.

    Args:
        path: Where the file will be.
        height: Lines of the frame.
        width: Pixels of a line.
        bands: The cubes to store by name, with their bands.
        attributes: Plain values for the header; read when the block ends, so counts may be filled in on the way.
    """
    with atomic_path(path) as temporary:
        require_disk_room(path, height * width * (2 * sum(map(len, bands.values())) + 1))
        with h5py.File(temporary, "w", libver=("v110", "v110")) as file:
            writer = CubeWriter(file, bands, height, width)
            yield writer
            writer.close(attributes)


def require_disk_room(path: Path, needed_bytes: int) -> None:
    """Refuse to begin on a full disk: HDF5 crashes the process when it cannot write what it holds.

    Raises:
        DataError: The disk of `path`, whose folder is there, has fewer bytes left.
    """
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < needed_bytes:
        raise DataError(f"{path} needs {needed_bytes} bytes; its disk has {free_bytes} left: make room.")


class CubeReader:
    """An open cube file: header, windows and valid map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_hdf5(path)
        try:
            self.header = _read_header(self._file, path)
            self._windows = {name: WindowReader(self._file[name]) for name in (*self.header.bands, "valid")}
        except DataError:
            self.close()
            raise
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            self.close()
            raise DataError(f"{path} must have a readable header; it is damaged: {REMAKE}.") from error

    def __enter__(self) -> CubeReader:
        return self

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, name: str, window: Window | None = None) -> npt.NDArray[np.float32]:
        """Return the cube `name`, (H, W, C) float32 reflectance, or a window (rows, columns) of it."""
        return decode_reflectance(self.read_numbers(name, window))

    def read_numbers(self, name: str, window: Window | None = None) -> npt.NDArray[np.uint16]:
        """Return the cube `name` as stored, (H, W, C) uint16."""
        if name not in self.header.bands:
            raise DataError(f"{self.path} must hold the cube {name!r}; it holds {', '.join(self.header.bands)}.")
        return self._slice(name, window)

    def read_valid(self, window: Window | None = None) -> npt.NDArray[np.bool_]:
        """Return which pixels were measured, (H, W) bool."""
        return self._slice("valid", window).astype(np.bool_)

    def _slice(self, name: str, window: Window | None) -> npt.NDArray[Any]:
        try:
            return self._windows[name].read(window)
        except OSError as error:
            raise DataError(f"{self.path} must be whole; its {name!r} fails the checksum: {REMAKE}.") from error


def read_cube(path: Path, name: str, window: Window | None = None) -> npt.NDArray[np.float32]:
    """Return the cube `name` of a file, (H, W, C) float32 reflectance."""
    with CubeReader(path) as reader:
        return reader.read(name, window)


def read_header(path: Path) -> CubeHeader:
    """Return what the cube file says of itself."""
    with CubeReader(path) as reader:
        return reader.header


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file of ours for reading.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is not an HDF5 file, or a truncated one.
    """
    if not path.is_file():
        raise MissingFileError(f"A data file must be at {path}; there is none: run `dvc repro`.")
    try:
        return h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        raise DataError(f"{path} must be an HDF5 file; it cannot be opened: {REMAKE}.") from error


def _read_header(file: h5py.File, path: Path) -> CubeHeader:
    if file.attrs.get("schema") != SCHEMA or "valid" not in file:
        raise DataError(f"{path} must be a cube file of schema {SCHEMA}; got schema {file.attrs.get('schema')!r}.")
    names = [name for name in file if name != "valid"]
    height, width = file["valid"].shape
    bands = {name: Bands(tuple(float(nm) for nm in file[name].attrs["wavelength_nm"])) for name in names}
    for name in names:
        expected = (height, width, len(bands[name]))
        if file[name].shape != expected:
            raise DataError(f"The cube {name!r} of {path} must be {expected}; got {file[name].shape}: {REMAKE}.")
    return CubeHeader(
        shape=(height, width),
        bands=bands,
        attributes=json.loads(file.attrs["attributes"]),
        sha256={name: str(file[name].attrs["sha256"]) for name in (*names, "valid")},
        ranges={name: (float(file[name].attrs["range"][0]), float(file[name].attrs["range"][1])) for name in names},
    )
