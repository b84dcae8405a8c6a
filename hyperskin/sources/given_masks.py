"""Masks that a person brought: which capture each belongs to by its name, and how its pixels are read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperskin.errors import DataError, EmptyMaskError
from hyperskin.sources.decode import open_picture

_log = logging.getLogger(__name__)

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
_FORMATS = ("PNG", "JPEG", "BMP")
_FULL_SCALE = {"1": 1, "L": 255, "LA": 255, "RGB": 255, "RGBA": 255, "I;16": 65535, "I": 65535}
_THRESHOLD = 0.5


def find_masks(folder: Path, captures: Sequence[str], *, suffix: str) -> dict[str, list[Path]]:
    """Return the mask files below `folder` by the capture they belong to.

    A mask belongs to the capture whose name its stem is, or begins with before an underscore; of several such captures
    the longest name wins. Masks of no capture are logged as a warning; `unmatched_masks` returns them.

    Args:
        folder: Searched to any depth; other files than pictures are passed over.
        captures: Names of all captures.
        suffix: Take only masks whose stem ends so; empty takes all.

    Raises:
        DataError: One file name stands in two folders, so that it could not be kept under its name.
    """
    found: dict[str, list[Path]] = {}
    places: dict[str, Path] = {}
    for path in _pictures(folder, suffix):
        capture = _owner(path.stem, captures)
        if capture is None:
            continue
        if path.name in places:
            raise DataError(
                f"A mask's file name must stand once below its folder; {places[path.name]} and {path} share it."
            )
        places[path.name] = path
        found.setdefault(capture, []).append(path)
    strangers = unmatched_masks(folder, found, suffix=suffix)
    if strangers:
        _log.warning("%d masks match no capture: %s", len(strangers), ", ".join(path.name for path in strangers))
    return dict(sorted(found.items()))


def unmatched_masks(folder: Path, found: Mapping[str, Iterable[Path]], *, suffix: str) -> list[Path]:
    """Return the masks below `folder` that `find_masks` gave to no capture, sorted."""
    matched = {path for paths in found.values() for path in paths}
    return [path for path in _pictures(folder, suffix) if path not in matched]


def read_given_masks(paths: Sequence[Path], frame: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the union of the masks at `paths`, (H, W) bool, True = subject.

    Each is scaled by what its type can hold (8-bit 255, 16-bit 65535) and cut at one half, so that the ringing of a
    JPEG is gone; a picture of the values 0 and 1 alone is taken as it is. Of several channels the first counts.

    Args:
        paths: One mask or more.
        frame: (H, W) of the capture.

    Raises:
        DataError: A mask has another size or a colour palette, or cannot be decoded.
        EmptyMaskError: A mask selects no pixel.
    """
    if not paths:
        raise DataError("`paths` must name at least one mask; got none.")
    union = np.zeros(frame, dtype=np.bool_)
    for path in paths:
        union |= _read_mask(path, frame)
    return union


def _read_mask(path: Path, frame: tuple[int, int]) -> npt.NDArray[np.bool_]:
    picture, _ = open_picture(path, _FORMATS)
    if picture.mode not in _FULL_SCALE:
        raise DataError(f"A mask must be a grey or RGB picture; {path} is of Pillow's mode {picture.mode!r}.")
    values = np.asarray(picture)
    if values.shape[:2] != frame:
        raise DataError(f"A mask must have shape {frame} like its cube; {path} has {values.shape[:2]}.")
    if values.ndim == 3:
        values = values[..., 0]
    full_scale = 1 if values.max() == 1 and picture.format != "JPEG" else _FULL_SCALE[picture.mode]
    mask: npt.NDArray[np.bool_] = values >= _THRESHOLD * full_scale
    if not mask.any():
        raise EmptyMaskError(f"A mask must select a pixel; {path} selects none: remove it where there is no subject.")
    return mask


def _pictures(folder: Path, suffix: str) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and path.stem.endswith(suffix)
        and not path.name.startswith(".")
        and path.is_file()
    )


def _owner(stem: str, captures: Iterable[str]) -> str | None:
    """Return the capture with the longest name that `stem` is or continues after an underscore."""
    owners = [name for name in captures if stem == name or stem.startswith(f"{name}_")]
    return max(owners, key=len, default=None)
