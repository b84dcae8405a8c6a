"""Whether the packages that are installed are those that hyperskin was made for, and lie where Prefect finds them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from hyperskin.health.finding import Finding

_ITSELF = "hyperskin"
_TOGETHER = ("prefect", "fastapi", "uvicorn")
_BECAUSE = {"fastapi": "; the Prefect server does not start with any other"}


def look(root: Path) -> Iterator[Finding]:
    """Compare what is installed with what our own metadata ask for."""
    itself = _find(_ITSELF)
    if itself is None:
        what = "hyperskin itself must be installed, so that its stages and flows find it; it is not."
        yield Finding("programs", "broken", what, f"pip install -e {root}")
        return
    yield from _python(itself)
    for line in itself.requires or ():
        yield from _package(Requirement(line))
    yield from _one_folder()


def _python(itself: Distribution) -> Iterator[Finding]:
    wanted, found = "".join(itself.metadata.get_all("Requires-Python") or ()), platform.python_version()
    if not SpecifierSet(wanted).contains(found, prereleases=True):
        what = f"Python must be {wanted}; this one is {found}."
        yield Finding("programs", "broken", what, "PYTHON=python3.11 make setup")


def _package(wanted: Requirement) -> Iterator[Finding]:
    """Find a package that is missing, or another version; what is needed for an extra alone may be missing."""
    is_extra = wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})
    if wanted.name == _ITSELF or (is_extra and not _is_of_any_extra(wanted)):
        return
    name = f"{wanted.name}{wanted.specifier}"
    found = _find(wanted.name)
    if found is None:
        if not is_extra:
            what = f"The package {name} must be installed; it is not."
            yield Finding("programs", "broken", what, f"pip install '{name}'")
    elif not wanted.specifier.contains(found.version, prereleases=True):
        what = f"The package {name} must be installed; version {found.version} is{_BECAUSE.get(wanted.name, '')}."
        yield Finding("programs", "warning" if is_extra else "broken", what, f"pip install '{name}'")


def _is_of_any_extra(wanted: Requirement) -> bool:
    """Tell whether this Python would take the package for one of the extras."""
    assert wanted.marker is not None
    return any(wanted.marker.evaluate({"extra": extra}) for extra in ("cluster", "dev"))


def _one_folder() -> Iterator[Finding]:
    """Prefect starts uvicorn in its own site-packages, where it must find fastapi."""
    folders = {name: Path(str(found.locate_file(""))).resolve() for name in _TOGETHER if (found := _find(name))}
    if len(set(folders.values())) > 1:
        where = ", ".join(f"{name} is in {folder}" for name, folder in folders.items())
        what = f"prefect, fastapi and uvicorn must lie in one folder, or no Prefect server starts; {where}."
        yield Finding("programs", "broken", what, f"pip install --force-reinstall {' '.join(_TOGETHER)}")


def _find(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
