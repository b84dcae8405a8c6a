"""ENVI headers and binaries: read as recorders write them, written as ENVI readers expect them."""

from __future__ import annotations

import io
import math
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
import numpy.typing as npt

from hyperskin.atomic import atomic_path, write_text
from hyperskin.errors import DataError, MissingFileError, ShapeError

Interleave = Literal["bil", "bip", "bsq"]
Counts = npt.NDArray[np.number[Any]]
"""Sensor counts, (L, W, C): lines, pixels of a line, bands; the memory may lie in another order."""

_DTYPES = {2: "i2", 4: "f4", 12: "u2"}
_BYTE_ORDERS = {0: "<", 1: ">"}
_STRUCTURE = frozenset(
    ("lines", "samples", "bands", "data type", "interleave", "byte order", "header offset", "wavelength")
)
_MICROMETRES = frozenset(("micrometers", "micrometres", "micrometer", "micrometre", "microns", "um", "µm"))
_DATA_SUFFIXES = (".raw", ".dat", ".img", ".bil", ".bip", ".bsq", "")
_LARGEST_HEADER_BYTES = 4 << 20


@dataclass(frozen=True)
class EnviHeader:
    """What a header says about its binary.

    Attributes:
        lines: Number of lines, H.
        samples: Pixels of a line, W.
        bands: Number of bands, C.
        dtype: Type of a stored number, with its byte order.
        interleave: "bil", "bip" or "bsq".
        offset_bytes: Bytes before the first number.
        wavelength_nm: Band centres in nm; None where the header gives none.
        fields: Every field as text, keys in lower case, braces taken off.
    """

    lines: int
    samples: int
    bands: int
    dtype: np.dtype[Any]
    interleave: Interleave
    offset_bytes: int
    wavelength_nm: tuple[float, ...] | None
    fields: Mapping[str, str]

    @property
    def size_bytes(self) -> int:
        """Size that the binary must have."""
        return self.offset_bytes + self.lines * self.samples * self.bands * self.dtype.itemsize


@dataclass(frozen=True)
class EnviFile:
    """A header whose binary is there and has the right size; nothing of it is in memory.

    Attributes:
        header: What the header says.
        data_path: The binary.
    """

    header: EnviHeader
    data_path: Path

    def line_blocks(self, lines: int) -> Iterator[Counts]:
        """Yield the counts from top to bottom, (l, W, C) with l = `lines` in all blocks but the last."""
        with self.data_path.open("rb", buffering=0) as file:
            for first in range(0, self.header.lines, lines):
                yield self._read(file, first, min(lines, self.header.lines - first))

    def read_lines(self, wanted: Iterable[int]) -> Counts:
        """Return the lines with the given numbers, (l, W, C)."""
        with self.data_path.open("rb", buffering=0) as file:
            return np.concatenate([self._read(file, line, 1) for line in wanted])

    def map_lines(self) -> Counts:
        """Return all counts, (H, W, C), as a read-only view of the file; `release_pages` lets go of what was read."""
        axes, order = _memory_layout(self.header, self.header.lines)
        mapped = np.memmap(self.data_path, self.header.dtype, "r", self.header.offset_bytes, axes)
        return mapped.transpose(order)

    def _read(self, file: io.FileIO, first: int, count: int) -> Counts:
        axes, order = _memory_layout(self.header, count)
        counts = np.empty(axes, self.header.dtype)
        line_items = self.header.samples * (1 if self.header.interleave == "bsq" else self.header.bands)
        runs = counts if self.header.interleave == "bsq" else counts[np.newaxis]
        for number, run in enumerate(runs):
            file.seek(
                self.header.offset_bytes + (number * self.header.lines + first) * line_items * counts.dtype.itemsize
            )
            self._fill(file, run.reshape(-1).view(np.uint8).data)
        return counts.transpose(order)

    def _fill(self, file: io.FileIO, room: memoryview) -> None:
        while room:
            count = file.readinto(room)
            if not count:
                raise DataError(f"{self.data_path} must stay as it was when it was opened; it has become shorter.")
            room = room[count:]


def open_envi(header_path: Path, data_path: Path | None = None) -> EnviFile:
    """Open the binary that a header describes.

    Args:
        header_path: The header, `NAME.hdr`.
        data_path: The binary; by default the file beside the header with its name and a usual suffix (.raw, .dat, ...).

    Raises:
        MissingFileError: A file is not there.
        DataError: The header cannot be right, or the binary has another size than it says.
    """
    header = read_header(header_path)
    data_path = data_path or _find_data(header_path)
    if not data_path.is_file():
        raise MissingFileError(f"{header_path} must have its binary at {data_path}; there is none.")
    size_bytes = data_path.stat().st_size
    if size_bytes != header.size_bytes:
        raise DataError(
            f"{data_path} must have {header.size_bytes} bytes ({header.lines} lines x {header.samples} samples x "
            f"{header.bands} bands x {header.dtype.itemsize} bytes + {header.offset_bytes}); it has {size_bytes}."
        )
    return EnviFile(header, data_path)


def read_header(path: Path) -> EnviHeader:
    """Return what the header at `path` says.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is no ENVI header, or a field that decides the layout is missing, doubled or impossible.
    """
    if not path.is_file():
        raise MissingFileError(f"An ENVI header must be at {path}; there is none.")
    if path.stat().st_size > _LARGEST_HEADER_BYTES:
        raise DataError(f"{path} must be an ENVI header; it has {path.stat().st_size} bytes: is it the binary?")
    return parse_header(path.read_bytes().decode("utf-8", errors="replace"), str(path))


def parse_header(text: str, origin: str) -> EnviHeader:
    r"""Return what the text of a header says; `origin` names it in messages.

    Keys may have any case and spacing, braces any number of lines, lines beginning with ";" say nothing, and
    a missing byte order or header offset is 0.

    Raises:
        DataError: As `read_header`.

    Examples:
        >>> parse_header("ENVI\nLines=2\nsamples = 3\nbands = 4\ndata type = 12\ninterleave = BIL", "x").size_bytes
        48
    """
    fields = _split_fields(text, origin)
    bands = _whole_number(fields, "bands", origin, least=1)
    byte_order = _BYTE_ORDERS[_choice(fields, "byte order", origin, tuple(_BYTE_ORDERS), default=0)]
    interleave = fields.get("interleave", "").lower()
    if interleave not in get_args(Interleave):
        raise DataError(
            f"{origin}: `interleave` must be {', '.join(get_args(Interleave))}; got {fields.get('interleave')!r}."
        )
    return EnviHeader(
        lines=_whole_number(fields, "lines", origin, least=1),
        samples=_whole_number(fields, "samples", origin, least=1),
        bands=bands,
        dtype=np.dtype(byte_order + _DTYPES[_choice(fields, "data type", origin, tuple(_DTYPES))]),
        interleave=interleave,  # type: ignore[arg-type]  # checked above
        offset_bytes=_whole_number(fields, "header offset", origin, least=0, default=0),
        wavelength_nm=_read_wavelengths(fields, bands, origin),
        fields=fields,
    )


def write_envi(
    header_path: Path,
    blocks: Iterable[Counts],
    *,
    wavelength_nm: Sequence[float] = (),
    fwhm_nm: Sequence[float] = (),
    fields: Mapping[str, str | float | Sequence[float] | Sequence[str]] | None = None,
) -> EnviHeader:
    """Write counts, or other numbers, as a BIL binary `NAME.raw`, little endian, and then its header `NAME.hdr`.

    Args:
        header_path: Where the header will be; the binary takes its name with the suffix .raw.
        blocks: Counts (l, W, C) from top to bottom, all of one type: int16, uint16 or float32.
        wavelength_nm: Band centres, C of them or none.
        fwhm_nm: Band widths, C of them or none.
        fields: Further fields, such as {"tint": 8.0, "default bands": (186, 115, 45), "band names": ("a", "b")}.

    Returns:
        The header as it will be read.

    Raises:
        DataError: There is no line, the type cannot be stored, or a field would break the header.
        ShapeError: The blocks do not fit together.
    """
    for key in fields or {}:
        if key.lower() in _STRUCTURE:
            raise DataError(f"Field {key!r} must be left to the writer: it follows from the counts.")
    data_path = header_path.with_suffix(".raw")
    with atomic_path(data_path) as temporary, temporary.open("wb") as file:
        lines, samples, bands, kind = _write_bil(file, blocks)
    code = {name: code for code, name in _DTYPES.items()}[kind]
    rows: dict[str, str | float | Sequence[float] | Sequence[str]] = {
        "file type": "ENVI",
        "samples": samples,
        "bands": bands,
        "lines": lines,
        "interleave": "bil",
        "data type": code,
        "header offset": 0,
        "byte order": 0,
        **(fields or {}),
    }
    if wavelength_nm:
        rows |= {"wavelength units": "nm", "wavelength": wavelength_nm}
    if fwhm_nm:
        rows["fwhm"] = fwhm_nm
    text = "ENVI\n" + "".join(f"{key} = {_format_field(key, value)}\n" for key, value in rows.items())
    header = parse_header(text, str(header_path))
    write_text(header_path, text)
    return header


def release_pages(array: npt.NDArray[Any]) -> None:
    """Let go of the pages of a read-only mapped file, which else count as this process's memory until it ends.

    The array stays usable; any other array is left alone.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and not array.flags.writeable and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def _memory_layout(header: EnviHeader, lines: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the axes of a block as it lies in the file, and the transposition to (l, W, C)."""
    if header.interleave == "bil":
        return (lines, header.bands, header.samples), (0, 2, 1)
    if header.interleave == "bip":
        return (lines, header.samples, header.bands), (0, 1, 2)
    return (header.bands, lines, header.samples), (1, 2, 0)


def _find_data(header_path: Path) -> Path:
    candidates = [header_path.with_suffix(suffix) for suffix in _DATA_SUFFIXES]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _split_fields(text: str, origin: str) -> dict[str, str]:
    rows = re.split(r"\r\n|\r|\n", text.lstrip("\ufeff \t\r\n"))
    if rows[0].strip().upper() != "ENVI":
        raise DataError(f"{origin} must begin with the word ENVI; it begins with {rows[0].strip()[:20]!r}.")
    remaining = (row for row in rows[1:] if not row.lstrip().startswith(";"))
    fields: dict[str, str] = {}
    for row in remaining:
        key, separator, value = row.partition("=")
        key, value = " ".join(key.lower().split()), value.strip()
        if not separator:
            continue
        if value.startswith("{"):
            value = _read_braces(value, remaining, f"{origin}: `{key}`")
        if key in _STRUCTURE and key in fields:
            raise DataError(f"{origin}: `{key}` must be given once; it is given again as {value[:40]!r}.")
        fields.setdefault(key, value)
    return fields


def _read_braces(value: str, following: Iterator[str], where: str) -> str:
    parts = [value]
    while "}" not in parts[-1]:
        row = next(following, None)
        if row is None:
            raise DataError(f"{where} must end with a closing brace; the header ends before it.")
        parts.append(row)
    return "\n".join(parts)[1:].partition("}")[0].strip()


def _whole_number(fields: Mapping[str, str], key: str, origin: str, *, least: int, default: int | None = None) -> int:
    text = fields.get(key, "" if default is None else str(default))
    if not re.fullmatch(r"\+?\d{1,18}", text, re.ASCII) or int(text) < least:
        came = repr(text) if key in fields else "no such line"
        raise DataError(f"{origin}: `{key}` must be a whole number of at least {least}; got {came}.")
    return int(text)


def _choice(
    fields: Mapping[str, str], key: str, origin: str, known: tuple[int, ...], default: int | None = None
) -> int:
    number = _whole_number(fields, key, origin, least=0, default=default)
    if number not in known:
        raise DataError(f"{origin}: `{key}` must be one of {', '.join(map(str, known))}; got {number}.")
    return number


def _read_wavelengths(fields: Mapping[str, str], bands: int, origin: str) -> tuple[float, ...] | None:
    parts = [part for part in re.split(r"[,\s]+", fields.get("wavelength", "")) if part]
    if not parts:
        return None
    try:
        centres = [float(part) for part in parts]
    except ValueError as error:
        raise DataError(f"{origin}: `wavelength` must hold numbers; {error}.") from None
    if len(centres) != bands:
        raise DataError(f"{origin}: `wavelength` must hold {bands} values, one per band; it holds {len(centres)}.")
    scale = 1000.0 if fields.get("wavelength units", "").lower() in _MICROMETRES else 1.0
    return tuple(scale * centre for centre in centres)


def _write_bil(file: BinaryIO, blocks: Iterable[Counts]) -> tuple[int, int, int, str]:
    """Write the blocks; return lines, samples, bands and the kind of number ("u2")."""
    lines, form = 0, None
    for block in blocks:
        if block.ndim != 3 or form not in (None, (*block.shape[1:], block.dtype)):
            raise ShapeError(f"Blocks must be counts (l, W, C) of one width, band count and type; got {block.shape}.")
        form = (*block.shape[1:], block.dtype)
        if block.dtype.str[1:] not in _DTYPES.values():
            raise DataError(f"Counts must be int16, uint16 or float32 to be stored; got {block.dtype}.")
        lines += block.shape[0]
        file.write(np.ascontiguousarray(block.transpose(0, 2, 1), block.dtype.newbyteorder("<")).data)
    if form is None or math.prod((lines, *form[:2])) == 0:
        raise DataError("An ENVI file must hold at least one line, sample and band; got none.")
    return lines, form[0], form[1], form[2].str[1:]


def _format_field(key: str, value: str | float | Sequence[float] | Sequence[str]) -> str:
    if isinstance(value, str):
        if re.search(r"[\r\n{}]", value):
            raise DataError(f"Field {key!r} must be one line without braces; got {value!r}.")
        return value
    if isinstance(value, int | float):
        return f"{value:.10g}"
    return "{" + ", ".join(_format_item(key, item) for item in value) + "}"


def _format_item(key: str, item: str | float) -> str:
    if not isinstance(item, str):
        return f"{item:.10g}"
    if "," in item:
        raise DataError(f"Field {key!r} must list names without commas; got {item!r}.")
    return str(_format_field(key, item))
