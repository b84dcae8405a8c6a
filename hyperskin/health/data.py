"""Whether the data are there, whole, and those that DVC recorded; `dvc repro` alone mends each of it.

It makes what is lacking and keeps the rest; `dvc checkout` would bring back data of other parameters, or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import FileEntry, Manifest
from hyperskin.errors import DataError, HyperSkinError, VersionError
from hyperskin.health.finding import Finding
from hyperskin.steps.captures import Stamp
from hyperskin.steps.present import require_recorded

_MANIFEST = Path("data") / "manifest.json"
_MADE = ("raw", "cubes", "inputs", "masks")
_SHOWN = 3
_MEND = "dvc repro"


def look(root: Path) -> Iterator[Finding]:
    """Compare the manifest with the files beside it and with dvc.lock; sizes and stamps, no file is hashed."""
    if not any((root / "data" / name).is_dir() for name in _MADE) and not (root / _MANIFEST).exists():
        yield Finding("data", "hint", "There are no data yet: the stages make them.", _MEND)
        return
    if not (root / _MANIFEST).exists():
        what = f"{_MANIFEST} must be there, or nothing is trained; the stages have not come to their end."
        yield Finding("data", "broken", what, _MEND)
        return
    try:
        manifest = Manifest.read(root / _MANIFEST)
    except HyperSkinError as error:
        yield Finding("data", "broken", str(error).replace(f"{root}/", ""), _MEND)
        return
    yield from _files(manifest)
    try:
        require_recorded(root)
    except VersionError as error:
        yield Finding("data", "broken", str(error), _MEND)
    except DataError:
        return  # dvc.lock itself is another check's


def _files(manifest: Manifest) -> Iterator[Finding]:
    faults: dict[str, list[str]] = {"gone": [], "of another size": [], "made anew since": []}
    seen = set[str]()
    for entry in manifest.captures.values():
        for file in entry.files():
            if file.path not in seen and (fault := _fault(manifest.root, entry.id, file)):
                faults[fault].append(f"data/{file.path}")
            seen.add(file.path)
    for fault, paths in faults.items():
        if paths:
            more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
            what = (
                f"The {len(seen)} files that the manifest lists must be there as it says; "
                f"{len(paths)} {'is' if len(paths) == 1 else 'are'} {fault}: "
                f"{', '.join(paths[:_SHOWN])}{more}."
            )
            yield Finding("data", "broken", what, _MEND)


def _fault(root: Path, capture: CaptureId, file: FileEntry) -> str:
    """Return what is wrong with a file as far as its size and the stamp beside it tell; empty where nothing is."""
    try:
        if (root / file.path).stat().st_size != file.size_bytes:
            return "of another size"
    except OSError:
        return "gone"
    stage, subject, *name = Path(file.path).parts
    stamp = Stamp.read(root / stage, subject, capture.name)
    is_other = stamp is not None and stamp.files.get("/".join(name), file.sha256) != file.sha256
    return "made anew since" if is_other else ""
