"""Public 31-band PNG scenes (Columbia CAVE): finished VIS cubes, one 512 x 512 picture per band."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperskin.bands import VIS
from hyperskin.data.capture import CaptureId
from hyperskin.errors import DataError
from hyperskin.sources.decode import open_picture
from hyperskin.sources.source import GivenCubes, Original, OriginalFile

_BAND_FILE = re.compile(r"^(?P<scene>[^.].*)_(?P<band>\d\d)\.png$", re.IGNORECASE)
_NUMBERS = range(1, len(VIS) + 1)

BandFiles = list[tuple[int, Path]]
"""Number and file of each band found, in no order and not yet known to be complete."""


class Cave:
    """Scenes as folders of `<scene>_01.png` (400 nm) to `<scene>_31.png` (700 nm), nested as deep as one likes.

    Every scene is a subject of its own. Values are linear in reflectance whatever the file's gamma chunk says: rendered
    so, each scene gives the colours of the picture published beside it, also the one whose bands are 8-bit RGBA.

    Source:
        F. Yasuma, T. Mitsunaga, D. Iso, S. K. Nayar, "Generalized Assorted Pixel Camera", IEEE Transactions on Image
        Processing 19 (2010).
    """

    name = "cave"
    gives: Literal["cubes"] = "cubes"
    invented: Literal[False] = False

    def find(self, folder: Path) -> list[Original]:
        """Return every scene below `folder`, sorted by name.

        Raises:
            DataError: A scene lacks a band or has one twice; the message names it and the scenes that are whole. Or two
                names differ in case alone.
        """
        scenes: dict[str, BandFiles] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if (match := _BAND_FILE.match(path.name)) and path.is_file():
                scenes[match["scene"]].append((int(match["band"]), path))
        _require_distinct(scenes)
        _require_whole(scenes)
        return [
            Original(CaptureId.parse(scene), tuple(OriginalFile(path, path.name) for _, path in sorted(bands)))
            for scene, bands in sorted(scenes.items())
        ]

    def read_cubes(self, folder: Path, capture: CaptureId) -> GivenCubes:
        """Read the scene whose 31 pictures lie in `folder`.

        Raises:
            DataError: A band is missing, twice there, of another size than the first, or holds more than one channel.
        """
        bands = [
            (int(match["band"]), path)
            for path in sorted(folder.iterdir())
            if (match := _BAND_FILE.match(path.name)) and match["scene"] == capture.name
        ]
        _require_whole({capture.name: bands})
        pictures = [_read_band(path, capture.name, number) for number, path in sorted(bands)]
        reflectance = _stack([values for values, _ in pictures], capture.name)
        forms = Counter(form for _, form in pictures)
        notes: dict[str, Any] = {
            "zero_pixel_count": int(np.count_nonzero(~reflectance.any(axis=2))),
            "band_files": {form: forms[form] for form in sorted(forms)},
        }
        valid = np.ones(reflectance.shape[:2], dtype=np.bool_)
        return GivenCubes({"vis": reflectance}, {"vis": VIS}, valid, notes)


def _require_distinct(scenes: Iterable[str]) -> None:
    """Refuse names that are one name on a file system that ignores case."""
    first: dict[str, str] = {}
    for scene in sorted(scenes):
        other = first.setdefault(scene.casefold(), scene)
        if other != scene:
            raise DataError(
                f"Every scene must have a name of its own; {other!r} and {scene!r} differ in case alone: rename one."
            )


def _require_whole(scenes: dict[str, BandFiles]) -> None:
    """Refuse the first scene without exactly the bands 01 to 31, and say which scenes have them."""
    faults = {scene: fault for scene, bands in sorted(scenes.items()) if (fault := _find_fault(bands))}
    if not faults:
        return
    scene, fault = next(iter(faults.items()))
    whole = [name for name in sorted(scenes) if name not in faults]
    others = [f"also broken: {', '.join(list(faults)[1:])}"] if len(faults) > 1 else []
    others += [f"whole: {', '.join(whole)}"] if whole else []
    raise DataError(
        f"A scene must have the bands 01 to {len(VIS)} once each; {scene!r} {fault}"
        f"{' (' + '; '.join(others) + ')' if others else ''}: complete it or take it out of the folder."
    )


def _find_fault(bands: BandFiles) -> str:
    """Return what is wrong with a scene's set of bands; empty where nothing is."""
    count = Counter(number for number, _ in bands)
    strangers = [number for number in sorted(count) if number not in _NUMBERS]
    twice = [number for number in _NUMBERS if count[number] > 1]
    missing = [number for number in _NUMBERS if not count[number]]
    for numbers, verb in ((strangers, "has a band"), (twice, "has more than one band"), (missing, "lacks band")):
        if numbers:
            return f"{verb} {', '.join(f'{number:02d}' for number in numbers)}"
    return ""


def _read_band(path: Path, scene: str, number: int) -> tuple[npt.NDArray[np.float32], str]:
    """Return one band's reflectance, (H, W), and the form it was stored in."""
    picture, depth = open_picture(path, ("PNG",))
    if depth == 16 and picture.mode in {"I;16", "I"}:
        return np.asarray(picture).astype(np.float32) / np.float32(65535), "16-bit grey"
    if depth == 8 and picture.mode == "L":
        return np.asarray(picture).astype(np.float32) / np.float32(255), "8-bit grey"
    if depth == 8 and picture.mode == "RGBA":
        return _require_grey(picture, scene, number).astype(np.float32) / np.float32(255), "8-bit RGBA"
    raise DataError(
        f"A band must be a grey picture of 8 or 16 bits; band {number:02d} of {scene!r} is {depth}-bit {picture.mode}."
    )


def _require_grey(picture: Image.Image, scene: str, number: int) -> npt.NDArray[np.uint8]:
    """Return the one channel that an opaque RGBA picture with equal colours repeats three times."""
    channels = np.asarray(picture)
    grey = channels[..., 0]
    if not (np.array_equal(grey, channels[..., 1]) and np.array_equal(grey, channels[..., 2])):
        raise DataError(
            f"The colours of a band stored as RGBA must be equal, or it is no single band; they differ in band "
            f"{number:02d} of {scene!r}."
        )
    if not np.all(channels[..., 3] == 255):
        raise DataError(f"A band stored as RGBA must be opaque; band {number:02d} of {scene!r} is partly transparent.")
    return grey


def _stack(bands: list[npt.NDArray[np.float32]], scene: str) -> npt.NDArray[np.float32]:
    """Return the bands as one cube, (H, W, 31); all must have the size of the first."""
    frame = bands[0].shape
    for number, band in zip(_NUMBERS, bands, strict=True):
        if band.shape != frame:
            raise DataError(
                f"All bands of a scene must have one size; in {scene!r} band 01 is {frame[0]} x {frame[1]} px "
                f"(H x W), band {number:02d} is {band.shape[0]} x {band.shape[1]} px."
            )
    return np.stack(bands, axis=2)
