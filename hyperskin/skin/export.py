"""Skin maps and their numbers -> files that other programs open: TIFF, ENVI, NPZ and CSV, each with its units."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION, SOFTWARE, ImageFileDirectory_v2

from hyperskin.atomic import atomic_path, write_text
from hyperskin.envi import write_envi
from hyperskin.errors import DataError, ShapeError, UnknownNameError

Format = Literal["npz", "tiff", "envi"]
FORMATS: tuple[Format, ...] = get_args(Format)

Map = npt.NDArray[np.float32]

_UNITLESS = "1"
_DIGITS = 6


def write_maps(
    folder: Path, maps: Mapping[str, Map], *, units: Mapping[str, str], formats: Iterable[str], name: str, about: str
) -> list[Path]:
    """Write maps in every format wanted and return the files.

    Args:
        folder: Where they go; made where it is not there.
        maps: (H, W) float32 by name, NaN where there is no value; the names are plain words joined by "_".
        units: Unit of each map; empty for a plain number.
        formats: Of `FORMATS`: "tiff" is a file for each map, the others are one file `name`.npz or `name`.hdr and .raw.
        name: Of the files that hold all maps.
        about: One line that says what the maps are, kept in the files.

    Raises:
        UnknownNameError: There is no such format.
        ShapeError: The maps are not (H, W) of one size.
        DataError: There is no map, or one has no unit.
    """
    wanted = list(dict.fromkeys(formats))
    if strange := [form for form in wanted if form not in FORMATS]:
        raise UnknownNameError(f"`formats` must be of {', '.join(FORMATS)}; got {strange[0]!r}.")
    _check(maps, units)
    writers = {"npz": _write_npz, "tiff": _write_tiffs, "envi": _write_envi}
    return [path for form in wanted for path in writers[form](folder, maps, units, name, about)]


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of one form as CSV with their keys as header; numbers with six digits, NaN as an empty field.

    Raises:
        DataError: There is no row, or one has other columns than the first.
    """
    if not rows:
        raise DataError(f"{path} must get at least one row; got none.")
    columns = list(rows[0])
    if strange := [row for row in rows if list(row) != columns]:
        raise DataError(f"Every row of {path} must have the columns {', '.join(columns)}; got {', '.join(strange[0])}.")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_format(value) for value in row.values()] for row in rows)
    write_text(path, stream.getvalue())


def read_tiff(path: Path) -> tuple[Map, str]:
    """Return a map that `write_maps` wrote as TIFF, (H, W) float32, and its description."""
    with Image.open(path) as picture:
        return np.array(picture, dtype=np.float32), str(picture.tag_v2[IMAGEDESCRIPTION])  # type: ignore[attr-defined]  # of TIFF alone


def _write_tiffs(folder: Path, maps: Mapping[str, Map], units: Mapping[str, str], _: str, about: str) -> list[Path]:
    written = []
    for name, values in maps.items():
        path = folder / f"{name}.tif"
        tags = ImageFileDirectory_v2()
        tags[IMAGEDESCRIPTION] = _to_ascii(f"{name}; unit: {_say_unit(units[name])}; NaN: no value; {about}")
        tags[SOFTWARE] = "hyperskin"
        with atomic_path(path) as temporary:
            Image.fromarray(np.ascontiguousarray(values, dtype=np.float32)).save(temporary, "TIFF", tiffinfo=tags)
        written.append(path)
    return written


def _write_npz(folder: Path, maps: Mapping[str, Map], units: Mapping[str, str], name: str, about: str) -> list[Path]:
    path = folder / f"{name}.npz"
    told = {"names": np.array(list(maps)), "units": np.array([_say_unit(units[key]) for key in maps])}
    arrays: dict[str, Any] = {"about": np.array(about), **told, **maps}
    with atomic_path(path) as temporary, temporary.open("wb") as temporary_file:
        np.savez_compressed(temporary_file, **arrays)
    return [path]


def _write_envi(folder: Path, maps: Mapping[str, Map], units: Mapping[str, str], name: str, about: str) -> list[Path]:
    header = folder / f"{name}.hdr"
    stack = np.stack([np.asarray(values, dtype=np.float32) for values in maps.values()], axis=2)
    names = [f"{key} ({_say_unit(units[key])})".replace(",", ";") for key in maps]
    fields: dict[str, str | float | list[str]] = {
        "description": _to_ascii(about).translate(str.maketrans("{}", "()")),
        "band names": [_to_ascii(line) for line in names],
        "data ignore value": float("nan"),
    }
    write_envi(header, [stack], fields=fields)
    return [header, header.with_suffix(".raw")]


def _check(maps: Mapping[str, Map], units: Mapping[str, str]) -> None:
    if not maps:
        raise DataError("`maps` must hold at least one map; it holds none.")
    first = next(iter(maps.values())).shape
    for name, values in maps.items():
        if values.ndim != 2 or values.shape != first:
            raise ShapeError(f"The map {name!r} must have shape {first[:2]} (H, W) like the first; got {values.shape}.")
        if name not in units:
            raise DataError(f"`units` must say the unit of {name!r}; it knows {', '.join(units)}.")


def _say_unit(unit: str) -> str:
    return unit or _UNITLESS


def _format(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:.{_DIGITS}g}"


def _to_ascii(text: str) -> str:
    """Return a text on one line as TIFF and ENVI have it."""
    return " ".join(text.split()).encode("ascii", "replace").decode()
