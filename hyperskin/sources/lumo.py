"""Captures of a Specim recorder (LUMO): NAME/capture/{,DARKREF_,WHITEREF_}NAME.{raw,hdr}."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from hyperskin.bands import NIR, VIS, Bands
from hyperskin.data.capture import CaptureId
from hyperskin.envi import Counts, EnviFile, Interleave, open_envi
from hyperskin.errors import DataError, MissingFileError
from hyperskin.sources.source import Original, OriginalFile, RawCapture
from hyperskin.spectral.resampling import require_coverage

FOLDER = "capture"
DARK = "DARKREF_"
WHITE = "WHITEREF_"
SUFFIXES = (".hdr", ".raw")

_FULL_SCALE_12_BIT = 4095
_FULL_SCALE_16_BIT = 65535
_SAMPLED_LINES = 4
_LEAST_SHARE_ABOVE_DARK = 0.99
_LARGEST_DARK_LEVEL = 0.5
_SHORTEST_NM = 100.0
_SMOOTH = 0.1  # measured FX10 counts: 0.05 as they lie, 0.26 with bands for pixels, 1 with bytes swapped


@dataclass(frozen=True)
class Lumo:
    """Sensor counts as the recorder wrote them, with a dark and a white reference beside every capture."""

    name: str = "lumo"
    gives: Literal["raw"] = "raw"
    invented: Literal[False] = False

    def find(self, folder: Path) -> list[Original]:
        """Return every capture at or below `folder`, sorted by name.

        Raises:
            MissingFileError: There is no such folder, or a capture lacks a file of its own or of its references.
            DataError: Two captures have one name, or a name cannot be a file name on every system.
        """
        folder = folder.resolve()
        if not folder.is_dir():
            raise MissingFileError(f"Captures must lie below a folder; {folder} is none.")
        places = {folder} if folder.name == FOLDER else set()
        places |= {path for path in folder.rglob(FOLDER) if path.is_dir()}
        originals = [_collect(place, name) for place in sorted(places) for name in _find_names(place)]
        _require_distinct(originals)
        return sorted(originals, key=lambda original: original.capture.name)

    def open_raw(self, folder: Path, capture: CaptureId) -> RawCapture:
        """Open the capture whose files lie in `folder`/capture.

        Raises:
            MissingFileError: A file is not there.
            DataError: A header or a size is wrong, the references were not made for this capture, its bands do not
                cover 400 to 1000 nm, or the counts cannot be what the headers say they are.
        """
        scene, dark, white = (
            open_envi(folder / FOLDER / f"{prefix}{capture.name}.hdr") for prefix in ("", DARK, WHITE)
        )
        bands = _read_bands(scene)
        for reference in (dark, white):
            _require_fit(scene, reference)
        dark_sample, white_sample, scene_sample = (_sample(file) for file in (dark, white, scene))
        highest = max(float(sample.max()) for sample in (dark_sample, white_sample, scene_sample))
        full_scale = _FULL_SCALE_12_BIT if highest <= _FULL_SCALE_12_BIT else _FULL_SCALE_16_BIT
        for file in (white, scene):
            _require_plausible_layout(file)
        _require_white_above_dark(white, dark, white_sample, dark_sample, full_scale)
        return RawCapture(
            bands=bands,
            height=scene.header.lines,
            width=scene.header.samples,
            white_lines=white.map_lines(),
            dark_lines=dark.map_lines(),
            full_scale=full_scale,
            line_blocks=scene.line_blocks,
        )


def _find_names(place: Path) -> list[str]:
    """Return the captures that any file in a capture folder belongs to."""
    stems = {path.stem for path in place.iterdir() if path.suffix in SUFFIXES and not path.name.startswith(".")}
    return sorted({stem.removeprefix(DARK).removeprefix(WHITE) for stem in stems})


def _collect(place: Path, name: str) -> Original:
    files = [place / f"{prefix}{name}{suffix}" for prefix in ("", DARK, WHITE) for suffix in SUFFIXES]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise MissingFileError(
            f"Capture {name!r} must have its counts, dark and white reference in {place}; "
            f"there is no {', '.join(missing)}."
        )
    return Original(CaptureId.parse(name), tuple(OriginalFile(path, f"{FOLDER}/{path.name}") for path in files))


def _require_distinct(originals: Iterable[Original]) -> None:
    """Refuse names that are one name on a file system that ignores case."""
    places: dict[str, Path] = {}
    for original in originals:
        place = original.files[0].path.parent
        other = places.setdefault(original.capture.name.casefold(), place)
        if other != place:
            raise DataError(
                f"Every capture must have a name of its own; {original.capture.name!r} is in {other} and in {place}."
            )


def _read_bands(scene: EnviFile) -> Bands:
    centres_nm = scene.header.wavelength_nm
    if centres_nm is None:
        raise DataError(f"The header of {scene.data_path} must give the wavelengths in nm; it gives none.")
    if max(centres_nm) < _SHORTEST_NM:
        raise DataError(
            f"The header of {scene.data_path} must give the wavelengths in nm; {centres_nm[0]:g} to {centres_nm[-1]:g} "
            "look like micrometres: say so with `wavelength units = micrometers`."
        )
    try:
        bands = Bands(centres_nm)
        for target in (VIS, NIR):
            require_coverage(bands, target)
    except DataError as error:
        raise DataError(f"The header of {scene.data_path}: {error}") from None
    return bands


def _require_fit(scene: EnviFile, reference: EnviFile) -> None:
    """Refuse a reference of another width, band count, band table or integration time."""
    own, other = scene.header, reference.header
    if (own.samples, own.bands) != (other.samples, other.bands):
        raise DataError(
            f"{reference.data_path} must have {own.samples} samples x {own.bands} bands like its capture; "
            f"it has {other.samples} x {other.bands}."
        )
    if other.wavelength_nm is not None and not np.allclose(
        other.wavelength_nm, own.wavelength_nm or (), rtol=0, atol=0.1
    ):
        raise DataError(f"{reference.data_path} must have the wavelengths of its capture; its header gives others.")
    for key in ("tint", "tint1", "tint2"):
        if key in own.fields and key in other.fields and not _is_same(own.fields[key], other.fields[key]):
            raise DataError(
                f"{reference.data_path} must be taken with the integration time of its capture "
                f"({key} = {own.fields[key]} ms); it was taken with {other.fields[key]} ms."
            )


def _is_same(text: str, other: str) -> bool:
    try:
        return math.isclose(float(text), float(other), rel_tol=1e-3)
    except ValueError:
        return text == other


def _sample(file: EnviFile, count: int = _SAMPLED_LINES) -> Counts:
    """Return a few lines spread over the file, (l, W, C)."""
    count = min(count, file.header.lines)
    return file.read_lines(int(line) for line in np.linspace(0, file.header.lines - 1, count))


def _require_plausible_layout(file: EnviFile) -> None:
    """Refuse a header with an interleave or byte order under which the counts are far rougher than under another.

    A spectrum and a line of pixels are smooth; read in the wrong order they are not.
    """
    header = file.header
    declared = _roughness(file)
    if declared < _SMOOTH:
        return
    for interleave, swapped in product(get_args(Interleave), (False, True)):
        dtype = header.dtype.newbyteorder("S") if swapped else header.dtype
        other = replace(file, header=replace(header, interleave=interleave, dtype=dtype))
        if _roughness(other) < declared / 2:
            order = 0 if dtype.newbyteorder("<") == dtype else 1
            raise DataError(
                f"The header of {file.data_path} must say how the counts lie; read as it says they jump from band to "
                f"band, with `interleave = {interleave}` and `byte order = {order}` they would not."
            )


def _roughness(file: EnviFile) -> float:
    """Return the mean jump between neighbours, in bands and in pixels, in units of the counts' spread."""
    with np.errstate(invalid="ignore", over="ignore"):  # floats in the wrong byte order are anything
        mean = _sample(file, 2).mean(axis=0, dtype=np.float64)
        spread = float(np.abs(mean - mean.mean()).mean())
        jumps = sum(float(np.abs(np.diff(mean, axis=axis)).mean()) for axis in (0, 1) if mean.shape[axis] > 1)
        return jumps / spread if 0 < spread < math.inf else math.inf


def _require_white_above_dark(
    white: EnviFile, dark: EnviFile, white_sample: Counts, dark_sample: Counts, full_scale: int
) -> None:
    white_mean, dark_mean = (sample.mean(axis=0, dtype=np.float64) for sample in (white_sample, dark_sample))
    share = float(np.mean(dark_mean < white_mean))
    if share < _LEAST_SHARE_ABOVE_DARK:
        remedy = "they look swapped" if share < 0.5 else "look at both"
        raise DataError(
            f"{white.data_path} must be brighter than {dark.data_path.name} on {_LEAST_SHARE_ABOVE_DARK:.0%} of the "
            f"detector or more; it is on {share:.1%}: {remedy}."
        )
    level = float(np.median(dark_mean)) / full_scale
    if level > _LARGEST_DARK_LEVEL:
        raise DataError(
            f"{dark.data_path} must be dark, below {_LARGEST_DARK_LEVEL:.0%} of full scale; its median is {level:.0%}."
        )
