"""Reads one array of a MATLAB file, v7.3 or v5, by its axes in MATLAB; checks the header before it trusts a size."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io

from hyperskin.errors import DataError, MissingFileError
from hyperskin.sources.decode import MAX_PIXELS

Version = Literal["v5", "v7.3"]

_MOST_BANDS = 64
_LARGEST_ARRAY_BYTES = MAX_PIXELS * _MOST_BANDS * 8
_SLAB_BYTES = 32 << 20
_HEADER_BYTES = 128
_COMPRESSED = 15  # of a v5 element: its contents are deflated
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_V5_TYPES: dict[str, np.dtype[Any]] = {
    "double": np.dtype(np.float64),
    "single": np.dtype(np.float32),
    "uint8": np.dtype(np.uint8),
}
_HDF5_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError)
_V5_BROKEN = (OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, struct.error, zlib.error,
              scipy.io.matlab.MatReadError, MemoryError, OverflowError, EOFError, UnicodeDecodeError)  # fmt: skip


@dataclass(frozen=True)
class MatArray:
    """What a file's header says of its array.

    Attributes:
        path: The file.
        key: The array's name.
        version: How the file is laid out.
        shape: (H, W, C), the axes that MATLAB shows.
        dtype: Of the stored numbers.
    """

    path: Path
    key: str
    version: Version
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def slabs(self) -> Iterator[tuple[tuple[slice, slice, slice], npt.NDArray[Any]]]:
        """Yield parts that cover the array once, each with where it lies in (H, W, C); a v5 file has one.

        Raises:
            DataError: A part cannot be read.
        """
        return _slabs_v73(self) if self.version == "v7.3" else _slabs_v5(self)

    def band(self, number: int) -> npt.NDArray[Any]:
        """Return one band, (H, W); of a v7.3 file only its own chunks are read.

        Raises:
            DataError: It cannot be read.
        """
        if self.version == "v5":
            return next(_slabs_v5(self))[1][..., number]
        with _opened(self.path) as file:
            return _read_v73(self, _find_dataset(file, self.path, self.key), (number,)).T


def open_array(path: Path, key: str = "cube") -> MatArray:
    """Return what the header of a MATLAB file says of its array `key`; no value is read.

    A v7.3 file is HDF5 behind 512 bytes of MATLAB's own, and HDF5 lists the axes in reverse, (C, W, H).

    Raises:
        MissingFileError: There is no such file.
        DataError: It is neither v5 nor v7.3, truncated, lacks the key, or the array is not three axes of numbers; or it
            is larger than any capture, or lies outside the file.
    """
    if not path.is_file():
        raise MissingFileError(f"A MATLAB file must be at {path}; there is none.")
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    version = _version(head, path)
    array = _describe_v73(path, key) if version == "v7.3" else _describe_v5(path, key)
    size_bytes = array.dtype.itemsize * array.shape[0] * array.shape[1] * array.shape[2]
    if array.shape[0] * array.shape[1] > MAX_PIXELS or size_bytes > _LARGEST_ARRAY_BYTES:
        raise DataError(
            f"{path} must hold at most {MAX_PIXELS} pixels of {_MOST_BANDS} bands; its header claims {_say(array)}."
        )
    return array


def _say(array: MatArray) -> str:
    return f"{' x '.join(map(str, array.shape))} of {array.dtype}"


def _version(head: bytes, path: Path) -> Version:
    """Tell the version from the first 128 bytes: v5 and v7.3 both begin with text and end with version and order."""
    order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
    number = struct.unpack(f"{order}H", head[124:126])[0] if order else 0
    if number == 0x0200 or h5py.h5f.is_hdf5(str(path).encode()):
        return "v7.3"
    if number == 0x0100:
        return "v5"
    state = "it is empty" if not head else f"it begins with {head[:12]!r}"
    raise DataError(f"{path} must be a MATLAB file of v5 or v7.3; {state}: copy it again.")


def _describe_v73(path: Path, key: str) -> MatArray:
    with _opened(path) as file:
        dataset = _find_dataset(file, path, key)
        depth, width, height = dataset.shape
        return MatArray(path, key, "v7.3", (height, width, depth), dataset.dtype)


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", rdcc_nbytes=_SLAB_BYTES)
    except PermissionError:
        raise
    except _HDF5_BROKEN as error:
        reason = "it is truncated" if "truncated" in str(error) else "it cannot be opened"
        raise DataError(f"{path} must be a whole MATLAB v7.3 file; {reason}: copy it again.") from None


def _find_dataset(file: h5py.File, path: Path, key: str) -> h5py.Dataset:
    """Return the dataset, once it is certain that all of it lies in this file, plainly."""
    try:
        link = file.get(key, getlink=True)
        if link is None:
            known = ", ".join(sorted(name for name in file if not name.startswith("#"))[:8]) or "nothing"
            raise DataError(f"{path} must hold an array {key!r}; it holds {known}.")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{path} must hold {key!r} itself; it points elsewhere, which is not followed.")
        dataset = file[key]
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 3 or dataset.dtype.kind not in "fu":
            found = f"{dataset.shape} of {dataset.dtype}" if isinstance(dataset, h5py.Dataset) else "a group"
            raise DataError(f"{key!r} of {path} must be numbers on three axes; it is {found}.")
        if dataset.external is not None or dataset.is_virtual:
            raise DataError(f"{path} must hold the values of {key!r} itself; they lie in another file: not followed.")
        plist = dataset.id.get_create_plist()
        others = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())} - _FILTERS
        if others:
            raise DataError(f"{key!r} of {path} must be stored plainly or by gzip; it needs filter {min(others)}.")
        return dataset
    except DataError:
        raise
    except _HDF5_BROKEN as error:
        raise DataError(f"{path} must be a whole MATLAB v7.3 file; {key!r} cannot be opened: {error}.") from None


def _slabs_v73(array: MatArray) -> Iterator[tuple[tuple[slice, slice, slice], npt.NDArray[Any]]]:
    """Cut along the axis whose chunks make the thinnest slabs, so that each chunk is unpacked once."""
    with _opened(array.path) as file:
        dataset = _find_dataset(file, array.path, array.key)
        chunks = dataset.chunks or (1, *dataset.shape[1:])
        axis = min(range(3), key=lambda place: chunks[place] / dataset.shape[place])
        line_bytes = dataset.nbytes // dataset.shape[axis] * chunks[axis]
        step = chunks[axis] * max(1, _SLAB_BYTES // max(1, line_bytes))
        for first, last in pairwise([*range(0, dataset.shape[axis], step), dataset.shape[axis]]):
            part = tuple(slice(first, last) if place == axis else slice(None) for place in range(3))
            yield (part[2], part[1], part[0]), _read_v73(array, dataset, part).transpose(2, 1, 0)


def _read_v73(array: MatArray, dataset: h5py.Dataset, part: tuple[Any, ...]) -> npt.NDArray[Any]:
    try:
        values: npt.NDArray[Any] = dataset[part]
    except _HDF5_BROKEN:
        raise DataError(f"{array.path} must be whole; a part of {array.key!r} is damaged: copy it again.") from None
    return values


def _describe_v5(path: Path, key: str) -> MatArray:
    _require_whole_v5(path)
    try:
        known = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    except _V5_BROKEN as error:
        raise DataError(f"{path} must be a whole MATLAB v5 file; it cannot be read: {error}.") from None
    if key not in known:
        raise DataError(f"{path} must hold an array {key!r}; it holds {', '.join(sorted(known)[:8]) or 'nothing'}.")
    shape, kind = known[key]
    if len(shape) != 3 or kind not in _V5_TYPES:
        raise DataError(f"{key!r} of {path} must be numbers on three axes; it is {tuple(shape)} of {kind}.")
    height, width, depth = shape
    return MatArray(path, key, "v5", (height, width, depth), _V5_TYPES[kind])


def _require_whole_v5(path: Path) -> None:
    """Walk from element to element: the last must end where the file does."""
    size_bytes = path.stat().st_size
    place = _HEADER_BYTES
    for _, start, length in _elements(path):
        place = start + length
    if place != size_bytes:
        raise DataError(
            f"{path} must be a whole MATLAB v5 file; it has {size_bytes} bytes where its header says {place}: copy it "
            "again."
        )


def _elements(path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield kind, start and length of every element of a v5 file."""
    with path.open("rb") as file:
        order = "<" if file.read(_HEADER_BYTES)[126:128] == b"IM" else ">"
        place = _HEADER_BYTES
        while len(tag := file.read(8)) == 8:
            kind, length = struct.unpack(f"{order}II", tag)
            yield kind, place + 8, length
            place += 8 + length
            file.seek(place)


def _slabs_v5(array: MatArray) -> Iterator[tuple[tuple[slice, slice, slice], npt.NDArray[Any]]]:
    try:
        values = scipy.io.loadmat(io.BytesIO(_inflated(array)), variable_names=[array.key])[array.key]
    except _V5_BROKEN as error:
        raise DataError(f"{array.path} must be whole; {array.key!r} cannot be read: {error}.") from None
    if values.shape != array.shape or values.dtype.kind not in "fu":
        raise DataError(f"{array.path} must hold {_say(array)}, as its header says; it holds {values.shape}.")
    yield (slice(None), slice(None), slice(None)), values


def _inflated(array: MatArray) -> bytes:
    """Return the file with its elements inflated, no further than the header's own size allows."""
    content = array.path.read_bytes()
    most = array.dtype.itemsize * array.shape[0] * array.shape[1] * array.shape[2] + 4096
    parts = [content[:_HEADER_BYTES]]
    for kind, start, length in _elements(array.path):
        whole = content[start : start + length]
        if kind != _COMPRESSED:
            parts.append(content[start - 8 : start + length])
            continue
        engine = zlib.decompressobj()
        parts.append(engine.decompress(whole, most))
        if engine.unconsumed_tail:
            raise DataError(f"{array.path} must hold {_say(array)} alone; its contents unpack to more.")
    return b"".join(parts)
