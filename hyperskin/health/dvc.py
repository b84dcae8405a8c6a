"""Whether DVC can read its own files, and links data without losing or showing them."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from pathlib import Path

from hyperskin.errors import HyperSkinError
from hyperskin.health.finding import Finding
from hyperskin.params import read_recorded

_LOCK = "dvc.lock"
_TYPES = "reflink,hardlink,symlink,copy"
_ALWAYS = {"hardlink", "symlink", "copy"}  # one of these works on every disk


def look(root: Path) -> Iterator[Finding]:
    """Read dvc.lock and the configuration, as DVC will."""
    if not (root / ".dvc").is_dir():
        what = "The folder .dvc must be there, or no `dvc` command works; it is not."
        yield Finding("dvc", "broken", what, "git checkout .dvc" if (root / ".git").exists() else "dvc init --no-scm")
        return
    yield from _lock(root)
    yield from _configuration(root)


def _lock(root: Path) -> Iterator[Finding]:
    path = root / _LOCK
    if not path.exists():
        return
    try:
        read_recorded(path)
    except HyperSkinError:
        state = "is empty" if path.stat().st_size == 0 else "holds something else"
        what = f"{_LOCK} must be as DVC wrote it, or every `dvc` command fails; it {state}."
        in_git = (root / ".git").exists()
        yield Finding("dvc", "broken", what, f"git checkout {_LOCK}" if in_git else f"rm {_LOCK} && dvc repro")


def _configuration(root: Path) -> Iterator[Finding]:
    configured = configparser.ConfigParser(interpolation=None)
    try:
        configured.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        what = f".dvc/config must be as DVC writes it; it cannot be read ({str(error).splitlines()[0]})."
        yield Finding("dvc", "broken", what, "git checkout .dvc/config")
        return
    types = configured.get("cache", "type", fallback="reflink,copy").strip("\"'")
    named = {one.strip() for one in types.split(",")}
    if not named & _ALWAYS:
        what = (
            f"DVC's `cache.type` must name hardlink, symlink or copy beside reflink, or `dvc checkout` deletes files "
            f"where the disk has no reflinks; it is {types}."
        )
        yield Finding("dvc", "broken", what, f"dvc config cache.type {_TYPES}")
    if configured.get("core", "analytics", fallback="true").strip("\"'").lower() not in ("false", "off", "no", "0"):
        what = "DVC reports its use to its makers where `dvc` is typed without our settings; `core.analytics` is on."
        yield Finding("dvc", "warning", what, "dvc config core.analytics false")
