"""Windows of an HDF5 dataset, each chunk's checksum paid for once."""

from __future__ import annotations

import os
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

Window = tuple[slice, slice]


class WindowReader:
    """Reads windows (rows, columns) of one (H, W, ...) dataset again and again.

    HDF5 verifies the checksum of a chunk each time it is touched, which takes four fifths of the time of a random
    crop. Here it verifies a chunk the first time; from then on the wanted rows of the chunk are read as they lie in
    the file. Compressed or contiguous datasets, and systems without `pread`, are left to HDF5 altogether.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype
        self._offsets = _chunk_offsets(dataset)
        self._verified: set[tuple[int, int]] = set()

    def read(self, window: Window | None = None) -> npt.NDArray[Any]:
        """Return the dataset's values, whole or in a window, as stored.

        Raises:
            OSError: A chunk cannot be read or fails its checksum.
        """
        if window is None or not self._offsets:
            values: npt.NDArray[Any] = self._dataset[window or ...]
            return values
        top, bottom, _ = window[0].indices(self._dataset.shape[0])
        left, right, _ = window[1].indices(self._dataset.shape[1])
        chunk_height, chunk_width = self._dataset.chunks[:2]
        values = np.empty((bottom - top, right - left, *self._dataset.shape[2:]), self._dataset.dtype)
        for row in range(top - top % chunk_height, bottom, chunk_height):
            rows = slice(max(row, top), min(row + chunk_height, bottom))
            for column in range(left - left % chunk_width, right, chunk_width):
                columns = slice(max(column, left), min(column + chunk_width, right))
                values[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
                    self._read_part(row, column, rows, columns)
                )
        return values

    def _read_part(self, row: int, column: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Return the part of the chunk at (row, column) that lies in `rows` and `columns` of the frame."""
        inside_rows = slice(rows.start - row, rows.stop - row)
        inside_columns = slice(columns.start - column, columns.stop - column)
        if (row, column) in self._verified:
            return self._read_lines(row, column, inside_rows)[:, inside_columns]
        chunk_height, chunk_width = self._dataset.chunks[:2]
        chunk: npt.NDArray[Any] = self._dataset[row : row + chunk_height, column : column + chunk_width]
        self._verified.add((row, column))
        return chunk[inside_rows, inside_columns]

    def _read_lines(self, row: int, column: int, lines: slice) -> npt.NDArray[Any]:
        _, chunk_width, *rest = self._dataset.chunks
        line_bytes = chunk_width * int(np.prod(rest, dtype=int)) * self._dataset.dtype.itemsize
        size = (lines.stop - lines.start) * line_bytes
        file = self._dataset.file.id.get_vfd_handle()
        content = os.pread(file, size, self._offsets[row, column] + lines.start * line_bytes)
        if len(content) != size:
            raise OSError(f"{len(content)} of {size} bytes")
        return np.frombuffer(content, self._dataset.dtype).reshape(-1, chunk_width, *rest)


def _chunk_offsets(dataset: h5py.Dataset) -> dict[tuple[int, int], int]:
    """Return where each chunk's values begin in the file; empty unless all lie there plainly."""
    filters = dataset.id.get_create_plist()
    plain = all(filters.get_filter(i)[0] == h5py.h5z.FILTER_FLETCHER32 for i in range(filters.get_nfilters()))
    whole_pixels = dataset.chunks is not None and dataset.chunks[2:] == dataset.shape[2:]
    if not (plain and whole_pixels and dataset.file.driver == "sec2" and hasattr(os, "pread")):
        return {}
    offsets: dict[tuple[int, int], int] = {}
    dataset.id.chunk_iter(lambda chunk: offsets.__setitem__(chunk.chunk_offset[:2], chunk.byte_offset))
    chunk_count = np.prod([-(-size // step) for size, step in zip(dataset.shape[:2], dataset.chunks[:2], strict=True)])
    return offsets if len(offsets) == chunk_count else {}
