"""The five ways in which the archive was handed out, as data; which one a folder is, and which files it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hyperskin.data.split import SPLITS, Split
from hyperskin.errors import DataError
from hyperskin.spectral.responses import camera_slug

Kind = Literal["rgb", "vis", "msi", "nir", "mask"]

_VISIBLE = "Hyper-Skin(RGB, VIS)"
_INFRARED = "Hyper-Skin(MSI, NIR)"
_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "rgb": (".jpg", ".jpeg", ".mat"),
    "vis": (".mat",),
    "msi": (".mat",),
    "nir": (".mat",),
    "mask": (".jpg", ".jpeg", ".png", ".bmp"),
}
DOMAINS: tuple[tuple[Kind, Kind], ...] = (("rgb", "vis"), ("msi", "nir"))
"""Input and target, which are of no use without each other."""

_STEM = re.compile(r"p\d{3}_(neutral|smile)_(front|left|right)")
_ONE_CAMERA = "cie"
_SHOWN = 6


@dataclass(frozen=True)
class Layout:
    """One way in which the archive was handed out.

    Attributes:
        name: What we call it: who wrote it down, and when.
        folders: Where each kind of file lies; {split} is train, valid or test, {camera} anything.
        whole: Captures of each split where all of it is there; empty where nobody published the numbers.
    """

    name: str
    folders: Mapping[Kind, str]
    whole: Mapping[Split, int]


# Sources: the repository Hyper-Skin-2023, its README since June 2025 (release2025) and before (readme2023), its main.py
# and its evaluation notebooks; the utilities of the ICASSP 2024 challenge. Both names of a domain's folder are in use,
# with a blank behind the comma and without.
LAYOUTS = (
    Layout(
        "release2025",
        {
            "rgb": f"{_VISIBLE}/{{split}}/RGB",
            "vis": f"{_VISIBLE}/{{split}}/VIS",
            "msi": f"{_INFRARED}/{{split}}/MSI",
            "nir": f"{_INFRARED}/{{split}}/NIR",
        },
        {"train": 264, "valid": 18, "test": 24},
    ),
    Layout(
        "icassp2024",
        {
            "rgb": f"{_VISIBLE}/{{split}}/RGB_{{camera}}",
            "vis": f"{_VISIBLE}/{{split}}/VIS",
            "msi": f"{_INFRARED}/{{split}}/MSI_{{camera}}",
            "nir": f"{_INFRARED}/{{split}}/NIR",
            "mask": f"{_INFRARED}/mask/{{split}}",
        },
        {},
    ),
    Layout("mainpy2023", {"msi": "{split}/MSI/MSI_{camera}", "nir": "{split}/NIR"}, {}),
    Layout(
        "internal2023",
        {
            "rgb": f"{_VISIBLE}/RGB_{{camera}}/{{split}}",
            "vis": f"{_VISIBLE}/VIS/{{split}}",
            "msi": f"{_INFRARED}/MSI/{{split}}",
            "nir": f"{_INFRARED}/NIR/{{split}}",
            "mask": "mask/{split}",
        },
        {},
    ),
    Layout(
        "readme2023",
        {
            "rgb": "RGB_{camera}/{split}",
            "vis": "HSI_VIS/{split}",
            "msi": "MSI/{split}",
            "nir": "HSI_NIR/{split}",
        },
        {},
    ),
)


@dataclass(frozen=True)
class Part:
    """One folder of the archive: one kind of file of one split.

    Attributes:
        name: What its files are called among a capture's originals: "vis", "rgb_cie", "mask".
        split: The split that it is the folder of.
        folder: Where it is.
        files: The files of captures, by stem.
        strangers: What else lies there.
    """

    kind: Kind
    name: str
    split: Split
    folder: Path
    files: dict[str, Path]
    strangers: tuple[Path, ...]


def recognise(folder: Path) -> tuple[Layout, list[Part]]:
    """Return the one layout that a folder has, and its parts; the folder, or the only one in it that has a layout.

    Raises:
        DataError: It has none, or several; the message lists what was found.
    """
    own = _find_layouts(folder)
    found = {folder: own} if own else {root: inner for root in _subfolders(folder) if (inner := _probe(root))}
    if not found:
        raise DataError(
            f"`--path` must be the archive's folder, with {_VISIBLE!r} or {_INFRARED!r} in it (layouts: "
            f"{', '.join(layout.name for layout in LAYOUTS)}), cubes and their inputs side by side; {folder} holds "
            f"{_say_found(folder)}: name the folder that the archive was unpacked to, or copy the rest of it."
        )
    matches = [(root, layout, parts) for root, inner in found.items() for layout, parts in inner.items()]
    if len(matches) > 1:
        names = "; ".join(
            f"{layout} in {root}: {', '.join(sorted({str(part.folder.relative_to(root)) for part in parts})[:3])}"
            for root, layout, parts in matches
        )
        raise DataError(
            f"`--path` must hold the archive in one layout; {folder} holds {len(matches)} ({names}): name the one, or "
            "take the other away."
        )
    _, name, parts = matches[0]
    return next(layout for layout in LAYOUTS if layout.name == name), parts


def _find_layouts(root: Path) -> dict[str, list[Part]]:
    """Return the layouts that a folder has with their parts: where input and target of a domain lie side by side."""
    matches = {}
    for layout in LAYOUTS:
        parts = _all_parts(root, layout)
        kinds = {part.kind for part in parts if part.files}
        if any(set(domain) <= kinds for domain in DOMAINS):
            matches[layout.name] = parts
    return matches


def _probe(root: Path) -> dict[str, list[Part]]:
    """Look into a neighbour of the archive, which may be closed to us."""
    try:
        return _find_layouts(root)
    except PermissionError:
        return {}


def _all_parts(root: Path, layout: Layout) -> list[Part]:
    return [part for kind, pattern in layout.folders.items() for part in _find_parts(root, kind, pattern)]


def _find_parts(root: Path, kind: Kind, pattern: str) -> Iterator[Part]:
    """Yield the folders of one kind that are there."""
    first, _, rest = pattern.partition("/")
    places = [(root, pattern)]
    if first in (_VISIBLE, _INFRARED) and _plain(root.name) == _plain(first):  # the domain's own folder was named
        places.append((root, rest))
    for start, remaining in places:
        for place, split, camera in _walk(start, remaining.split("/")):
            if split is None:
                continue
            files, strangers = _sort_files(place, _SUFFIXES[kind])
            if not files and not strangers:
                continue
            name = f"{kind}_{camera or _ONE_CAMERA}" if kind in ("rgb", "msi") else kind
            yield Part(kind, name, split, place, files, strangers)


def _walk(
    place: Path, steps: list[str], split: Split | None = None, camera: str = ""
) -> Iterator[tuple[Path, Split | None, str]]:
    """Yield every folder that the steps lead to, with the split and the camera that were met on the way."""
    if not steps:
        yield place, split, camera
        return
    step, *rest = steps
    before, has_camera, _ = step.partition("{camera}")
    for inner in _subfolders(place):
        if step == "{split}":
            if inner.name.casefold() in SPLITS:
                yield from _walk(inner, rest, _as_split(inner.name), camera)
        elif has_camera:
            if inner.name.casefold().startswith(before.casefold()) and len(inner.name) > len(before):
                yield from _walk(inner, rest, split, camera_slug(inner.name[len(before) :]))
        elif _plain(inner.name) == _plain(step):
            yield from _walk(inner, rest, split, camera)


def _as_split(name: str) -> Split:
    return next(split for split in SPLITS if split == name.casefold())


def _sort_files(folder: Path, suffixes: tuple[str, ...]) -> tuple[dict[str, Path], tuple[Path, ...]]:
    """Return the files of captures by stem, and what else lies in a folder; subfolders are somebody else's."""
    files: dict[str, Path] = {}
    strangers = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            continue
        if path.suffix.casefold() not in suffixes or not _STEM.fullmatch(path.stem):
            strangers.append(path)
        elif path.stem in files:
            raise DataError(
                f"A capture must have one file in {folder}; {path.name} and {files[path.stem].name} are two."
            )
        else:
            files[path.stem] = path
    return files, tuple(strangers)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _plain(name: str) -> str:
    """Return a folder's name without blanks and case, which differ between those who handed it out."""
    return "".join(name.split()).casefold()


def _say_found(folder: Path) -> str:
    """Return what a folder holds: parts of the archive that do not suffice, else the names in it."""
    parts = {part.folder: len(part.files) for layout in LAYOUTS for part in _all_parts(folder, layout) if part.files}
    if parts:
        return ", ".join(f"{place.relative_to(folder)} ({count} files)" for place, count in sorted(parts.items()))
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in folder.iterdir())
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(map(repr, names[:_SHOWN])) + more) if names else "nothing"
