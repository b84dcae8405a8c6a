"""The released Hyper-Skin archive: whole pairs in any of its five layouts, recognised, checked and read."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hyperskin.bands import INFRARED_NM, NIR, VIS, Bands
from hyperskin.data.capture import CaptureId
from hyperskin.data.encoding import to_8bit
from hyperskin.data.split import SPLITS, Split
from hyperskin.errors import DataError, LeakageError
from hyperskin.sources.decode import open_picture
from hyperskin.sources.layouts import DOMAINS, Kind, Layout, Part, recognise
from hyperskin.sources.matlab import MatArray, open_array
from hyperskin.sources.orientation import green, luma, require_upright
from hyperskin.sources.source import GivenCubes, GivenInputs, Original, OriginalFile

_log = logging.getLogger(__name__)

_BANDS: dict[str, Bands] = {"vis": VIS, "nir": NIR}
_CHANNELS = {"vis": len(VIS), "nir": len(NIR), "msi": 4, "rgb": 3}
_ROUNDING = 1e-6  # an audit of all 306 VIS cubes found -3.3e-9 to 1 + 9.8e-9
_SHOWN = 4
_CAPTURES_OF_A_SUBJECT = 6

Floats = npt.NDArray[np.float32]


class Release:
    """The archive that is handed out under a licence, as it was unpacked.

    Cubes are stored as given, values within 1e-6 of [0, 1] brought into it. The RGB is kept as its JPEG decodes, in 8
    bits, and means rgb / 255: stretching each picture by its own darkest and brightest value, as the authors' loader
    does, is a choice of a training and not of the data. An MSI brings an RGB of its own, in floats, from before the
    JPEG; it is kept beside the other in 16 bits (steps of 3.5e-5), and pairs with an infrared input read it, so that
    `msi_nir` and `msi_visnir` see what the published networks saw and `rgb_vis` sees the picture.
    """

    name = "hyperskin"
    gives: Literal["pairs"] = "pairs"
    invented: Literal[False] = False

    def find(self, folder: Path) -> list[Original]:
        """Return every capture of the archive at `folder`, sorted by name; headers are read, values are not.

        Raises:
            DataError: The folder has no layout or several; a capture lacks a file; a file is truncated, or not of the
                size or band count that it should have.
            LeakageError: A capture lies in two splits.
        """
        layout, parts = recognise(folder)
        _tell_strangers(parts)
        splits = _require_one_split(parts)
        _require_whole(parts, splits)
        originals = [_gather(stem, layout, parts, split) for stem, split in sorted(splits.items())]
        for original in originals:
            _require_headers(original)
        _tell(layout, originals)
        return originals

    def read_cubes(self, folder: Path, capture: CaptureId) -> GivenCubes:
        """Read the cubes of a capture, and prove that they lie as its picture does.

        Raises:
            DataError: A value is none or lies outside [0, 1] by more than 1e-6; or a cube lies another way round than
                the picture, or shows something else.
        """
        paths = _paths(folder, capture)
        cubes: dict[str, Floats] = {}
        notes: dict[str, Any] = {}
        for name in (name for name in _BANDS if name in paths):
            cubes[name], notes[name] = _read_values(_open(paths[name], name))
        notes |= _prove_cubes(cubes, paths)
        valid = np.ones(next(iter(cubes.values())).shape[:2], dtype=np.bool_)
        return GivenCubes(cubes, {name: _BANDS[name] for name in cubes}, valid, notes)

    def read_inputs(self, folder: Path, capture: CaptureId) -> GivenInputs:
        """Read the pictures of a capture and its MSI, and prove that the MSI lies as they do.

        Raises:
            DataError: A picture is no 8-bit RGB; or the MSI holds what no MSI can, or lies another way round.
        """
        paths = _paths(folder, capture)
        rgb = {name.removeprefix("rgb_"): _read_rgb(path) for name, path in paths.items() if name.startswith("rgb_")}
        msi_rgb: dict[str, Floats] = {}
        infrared: Floats | None = None
        notes: dict[str, Any] = {}
        for name, path in ((name, path) for name, path in paths.items() if name.startswith("msi_")):
            msi, notes[name] = _read_values(_open(path, name))
            camera = name.removeprefix("msi_")
            picture = rgb.get(camera)
            if picture is not None:
                notes[name]["upright"] = _prove(luma(msi[..., :3]), luma(picture), path, paths[f"rgb_{camera}"])
            msi_rgb[camera] = msi[..., :3]
            infrared = msi[..., 3] if infrared is None else infrared
        if infrared is not None and "nir" in paths:
            band = _open(paths["nir"], "nir").band(NIR.index_of(INFRARED_NM))
            notes["infrared_960_off_by"] = round(float(np.abs(band - infrared).max()), 6)
            notes["infrared_960_upright"] = _prove(infrared, band, next(iter(_msi_paths(paths))), paths["nir"])
        return GivenInputs(rgb, msi_rgb, infrared, notes)


def _tell_strangers(parts: Sequence[Part]) -> None:
    """Say which files are no part of the archive; nobody reads them."""
    strangers = [path for part in parts for path in part.strangers]
    if strangers:
        shown = ", ".join(f"{path.parent.name}/{path.name}" for path in strangers[:_SHOWN])
        more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
        one = len(strangers) == 1
        _log.warning(
            "%d %s no part of the archive by name and %s passed over: %s%s",
            len(strangers), "file is" if one else "files are", "is" if one else "are", shown, more,
        )  # fmt: skip


def _require_one_split(parts: Sequence[Part]) -> dict[str, Split]:
    """Return the split of every capture; refuse one that lies in two."""
    first: dict[str, Path] = {}
    splits: dict[str, Split] = {}
    for part in parts:
        if part.kind == "mask":
            continue
        for stem, path in part.files.items():
            if splits.setdefault(stem, part.split) != part.split:
                raise LeakageError(
                    f"A capture must lie in one split; {stem} is in {splits[stem]} ({first[stem]}) and in {part.split} "
                    f"({path}): remove it from one of them."
                )
            first.setdefault(stem, path)
    return splits


def _require_whole(parts: Sequence[Part], splits: Mapping[str, Split]) -> None:
    """Refuse captures without one of their files, as a copy leaves them that has not come to its end."""
    kinds = {part.kind for part in parts if part.files}
    _require_sides(kinds)
    names = list(dict.fromkeys(part.name for part in parts if part.files))
    lacks = {name: [stem for stem in sorted(splits) if not _has(parts, name, stem, splits[stem])] for name in names}
    count = len({stem for stems in lacks.values() for stem in stems})
    if not count:
        return
    said = "; ".join(
        f"{_label(name)}: {len(stems)} ({', '.join(stems[:_SHOWN])}{', ...' if len(stems) > _SHOWN else ''})"
        for name, stems in lacks.items()
        if stems
    )
    has_both = all(set(domain) <= kinds for domain in DOMAINS)
    raise DataError(
        f"Every capture of the archive must be whole; {count} of {len(splits)} lack a file - {said}: copy what is "
        "missing and run this again, or go on with less: move all files of these captures out of the folder"
        f"{', or name the whole one of its two parts as `--path`' if has_both else ''}."
    )


def _require_sides(kinds: set[Kind]) -> None:
    """Refuse inputs without targets, or the other way round."""
    for domain in DOMAINS:
        if len(have := kinds & set(domain)) == 1:
            lacking = next(kind for kind in domain if kind not in have)
            raise DataError(
                f"The archive must hold {' and '.join(kind.upper() for kind in domain)} side by side; there is no "
                f"{lacking.upper()}: copy it too, or take {next(iter(have)).upper()} out."
            )


def _has(parts: Sequence[Part], name: str, stem: str, split: Split) -> bool:
    """Tell whether a capture has the file it must have; masks are there for some splits alone."""
    own = [part for part in parts if part.name == name and part.split == split]
    if name == "mask" and not own:
        return True
    return any(stem in part.files for part in own)


def _label(name: str) -> str:
    kind, _, camera = name.partition("_")
    return kind.upper() + (f" of {camera}" if camera and camera != "cie" else "")


def _gather(stem: str, layout: Layout, parts: Sequence[Part], split: Split) -> Original:
    """Return a capture's files, each in a folder named after what it is."""
    files = [
        OriginalFile(part.files[stem], f"{part.name}/{part.files[stem].name}")
        for part in parts
        if stem in part.files and part.split == split
    ]
    return Original(CaptureId.parse(stem), tuple(files), split=split, layout=layout.name)


def _require_headers(original: Original) -> None:
    """Refuse files of one capture whose headers claim frames of different sizes, or other bands than they should."""
    frames: dict[tuple[int, int], Path] = {}
    for file in original.files:
        kind = file.name.partition("/")[0]
        frame = _open(file.path, kind).shape[:2] if file.path.suffix.casefold() == ".mat" else _picture_size(file.path)
        frames.setdefault(frame, file.path)
    if len(frames) > 1:
        (one, path), (other, strange) = list(frames.items())[:2]
        turned = ": one of them is transposed" if one == other[::-1] else ""
        raise DataError(
            f"All files of a capture must have one size; {path} has {one[0]} x {one[1]} px (H x W), {strange} has "
            f"{other[0]} x {other[1]} px{turned}."
        )


def _picture_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except PermissionError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise DataError(f"{path} must be a picture; it is none, or not whole: copy it again.") from None


def _tell(layout: Layout, originals: Sequence[Original]) -> None:
    """Say which layout it is, how many captures each split has, and what may be missing from the whole archive."""
    counts = {split: sum(original.split == split for original in originals) for split in SPLITS}
    said = ", ".join(f"{count} {split}" for split, count in counts.items() if count)
    _log.info("the archive's layout is %s: %d captures, %s", layout.name, len(originals), said)
    if layout.whole and counts != layout.whole:
        whole = ", ".join(f"{count} {split}" for split, count in layout.whole.items())
        _log.info("the whole archive of this layout has %d: %s", sum(layout.whole.values()), whole)
    by_subject: dict[str, int] = defaultdict(int)
    for original in originals:
        by_subject[original.capture.subject] += 1
    few = [f"{name} {count}" for name, count in sorted(by_subject.items()) if count < _CAPTURES_OF_A_SUBJECT]
    if few:
        more = f" and {len(few) - _SHOWN} more" if len(few) > _SHOWN else ""
        _log.warning("six captures of a subject are usual; fewer have %s%s", ", ".join(few[:_SHOWN]), more)


def _paths(folder: Path, capture: CaptureId) -> dict[str, Path]:
    """Return a brought capture's files by what they are."""
    return {path.parent.name: path for path in sorted(folder.glob("*/*")) if path.stem == capture.name}


def _msi_paths(paths: Mapping[str, Path]) -> list[Path]:
    return [path for name, path in paths.items() if name.startswith("msi_")]


def _open(path: Path, name: str) -> MatArray:
    """Open a cube or an MSI, which must have its bands on the last axis."""
    array = open_array(path)
    wanted = _CHANNELS[name.partition("_")[0]]
    if array.shape[2] != wanted:
        height, width, depth = array.shape
        raise DataError(
            f"{path} must hold {wanted} bands on its last axis; it holds {height} x {width} x {depth} (H x W x C)."
        )
    return array


def _read_values(array: MatArray) -> tuple[Floats, dict[str, Any]]:
    """Return the values, (H, W, C) within [0, 1], and what was found: type, range per band, and how many were clipped.

    One slab of the stored numbers is in memory at a time, besides the result at half their size.
    """
    if array.dtype.kind != "f":
        raise DataError(f"{array.path} must hold floats in [0, 1]; it holds {array.dtype}.")
    values = np.empty(array.shape, dtype=np.float32)
    lowest = np.full(array.shape[2], np.inf)
    highest = np.full(array.shape[2], -np.inf)
    clipped_count = 0
    for place, stored in array.slabs():
        bands = place[2]
        _require_unit(stored, array)
        np.minimum(lowest[bands], stored.min(axis=(0, 1)), out=lowest[bands])
        np.maximum(highest[bands], stored.max(axis=(0, 1)), out=highest[bands])
        clipped_count += int(np.count_nonzero(stored < 0)) + int(np.count_nonzero(stored > 1))
        np.clip(stored, 0, 1, out=values[place], casting="same_kind")
    notes = {
        "stored": f"MATLAB {array.version}, {array.dtype}",
        "clipped_count": clipped_count,
        "lowest": [round(float(value), 9) for value in lowest],
        "highest": [round(float(value), 9) for value in highest],
    }
    return values, notes


def _require_unit(stored: npt.NDArray[Any], array: MatArray) -> None:
    least, most = float(stored.min()), float(stored.max())  # NaN where any value is
    if not np.isfinite(least + most):
        count = int(np.count_nonzero(~np.isfinite(stored)))
        raise DataError(f"{array.path} must hold numbers alone; {count} or more are NaN or infinite: copy it again.")
    if least < -_ROUNDING or most > 1 + _ROUNDING:
        raise DataError(
            f"{array.path} must hold reflectance within [0, 1] up to {_ROUNDING:g}; it holds {least:g} to {most:g}."
        )


def _read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Return a picture, (H, W, 3) uint8, as decoded; floats of a layout that keeps MATLAB files become 8 bits too."""
    if path.suffix.casefold() == ".mat":
        array = _open(path, "rgb")
        if array.dtype == np.uint8:
            picture: npt.NDArray[np.uint8] = np.empty(array.shape, dtype=np.uint8)
            for place, stored in array.slabs():
                picture[place] = stored
            return picture
        return to_8bit(_read_values(array)[0])
    opened, depth = open_picture(path, ("JPEG",))
    if opened.mode != "RGB" or depth != 8:
        raise DataError(f"{path} must be an RGB picture of 8 bits; it is {opened.mode}.")
    return np.asarray(opened)


def _prove_cubes(cubes: Mapping[str, Floats], paths: Mapping[str, Path]) -> dict[str, Any]:
    """Return correlations that prove the cubes upright: VIS by the picture, NIR by VIS, which shares 700 nm with it."""
    notes: dict[str, Any] = {}
    picture = next((path for name, path in paths.items() if name.startswith("rgb_")), None)
    if "vis" in cubes and picture is not None:
        seen = green(cubes["vis"], VIS)
        notes["vis_upright"] = _prove(seen, luma(_read_rgb(picture)), paths["vis"], picture)
    if {"vis", "nir"} <= cubes.keys():
        vis_700, nir_700 = cubes["vis"][..., -1], cubes["nir"][..., 0]
        notes["nir_upright"] = _prove(nir_700, vis_700, paths["nir"], paths["vis"])
        notes["band_700_off_by"] = round(float(np.abs(vis_700 - nir_700).max()), 6)
    return notes


def _prove(plane: npt.NDArray[Any], picture: npt.NDArray[Any], path: Path, like: Path) -> float:
    return round(require_upright(plane, picture, what=f"The cube of {path}", like=str(like)), 4)
