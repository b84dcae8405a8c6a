"""Whether the data are there, whole, and those that DVC recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hyperskin.data.manifest import Manifest
from hyperskin.errors import DataError, HyperSkinError, VersionError
from hyperskin.health.finding import Finding
from hyperskin.params import read_recorded
from hyperskin.steps.present import require_recorded

_MANIFEST = Path("data") / "manifest.json"
_MADE = ("raw", "cubes", "inputs", "masks")
_SHOWN = 3


def look(root: Path) -> Iterator[Finding]:
    """Compare the manifest with the files beside it and with dvc.lock; sizes alone, no file is hashed."""
    if not any((root / "data" / name).is_dir() for name in _MADE) and not (root / _MANIFEST).exists():
        yield Finding("data", "hint", "There are no data yet: the stages make them.", "dvc repro")
        return
    if not (root / _MANIFEST).exists():
        what = f"{_MANIFEST} must be there, or nothing is trained; the stages have not come to their end."
        yield Finding("data", "broken", what, "dvc repro")
        return
    back = f"dvc checkout {_MANIFEST}" if _is_recorded(root) else "dvc repro"
    try:
        manifest = Manifest.read(root / _MANIFEST)
    except HyperSkinError as error:
        yield Finding("data", "broken", str(error).replace(f"{root}/", ""), back)
        return
    yield from _files(manifest)
    try:
        require_recorded(root)
    except VersionError as error:
        yield Finding("data", "broken", str(error), back)
    except DataError:
        return  # dvc.lock itself is another check's


def _files(manifest: Manifest) -> Iterator[Finding]:
    gone, others = [], []
    sizes = {file.path: file.size_bytes for entry in manifest.captures.values() for file in entry.files()}
    for path, size_bytes in sizes.items():
        try:
            if (manifest.root / path).stat().st_size != size_bytes:
                others.append(f"data/{path}")
        except OSError:
            gone.append(f"data/{path}")
    for paths, fault in ((gone, "gone"), (others, "of another size")):
        if paths:
            more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
            what = (
                f"The {len(sizes)} files that the manifest lists must be there as it says; "
                f"{len(paths)} {'is' if len(paths) == 1 else 'are'} {fault}: "
                f"{', '.join(paths[:_SHOWN])}{more}."
            )
            yield Finding("data", "broken", what, "dvc checkout; dvc repro")


def _is_recorded(root: Path) -> bool:
    try:
        return _MANIFEST.as_posix() in read_recorded(root / "dvc.lock")
    except HyperSkinError:
        return False
