"""Whether other users of this machine can read data, runs or secrets, and whether DVC would send data away."""

from __future__ import annotations

import configparser
import contextlib
import re
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from hyperskin.errors import HyperSkinError
from hyperskin.health.finding import Finding, Severity
from hyperskin.params import FILE_NAME, Params
from hyperskin.private import PRIVATE, is_open
from hyperskin.sources.catalog import find_source

_FROM_GIT = {"sources", ".gitkeep", ".gitignore"}
_SECRETS = {".env": re.compile("="), ".dvc/config.local": re.compile("password|secret|key|token|connection_string")}
_HERE = ("", "file")


def look(root: Path) -> Iterator[Finding]:
    """Look at the modes of folders and secrets."""
    shows_people = _shows_people(root)
    severity: Severity = "broken" if shows_people else "warning"
    so_far = "" if shows_people else ", and its people are made up so far"
    for name in PRIVATE:
        if _is_open_folder(root / name):
            mode = _mode(root / name)
            what = f"The folder {name} must be closed to other users of this machine; its mode is {mode}{so_far}."
            yield Finding("privacy", severity, what, f"chmod 700 {name}", _close(root, name, 0o700))
    for name, secret in _SECRETS.items():
        path = root / name
        if path.is_file() and is_open(path) and secret.search(path.read_text(encoding="utf-8", errors="replace")):
            what = f"The file {name} holds a secret and must be closed to other users; its mode is {_mode(path)}."
            yield Finding("privacy", "broken", what, f"chmod 600 {name}", _close(root, name, 0o600))
    if shows_people:
        yield from _remotes(root)


def _is_open_folder(folder: Path) -> bool:
    """Tell whether others can enter a folder and read something there that git does not hold."""
    if not folder.is_dir() or not is_open(folder):
        return False
    return any(is_open(path) for path in folder.iterdir() if path.name not in _FROM_GIT and not path.is_symlink())


def _mode(path: Path) -> str:
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


def _close(root: Path, name: str, mode: int) -> Callable[[], str]:
    return partial(_chmod, root / name, name, mode)


def _chmod(path: Path, name: str, mode: int) -> str:
    path.chmod(mode)
    return f"{name} is closed to other users (mode {mode:o})."


def _shows_people(root: Path) -> bool:
    """Tell whether the captures may be of people; those that a computer made up have nothing to hide."""
    with contextlib.suppress(HyperSkinError):
        return not find_source(Params.read(root / FILE_NAME).source.name).invented
    return True


def _remotes(root: Path) -> Iterator[Finding]:
    configured = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error):
        configured.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    for section in configured.sections():
        url = configured[section].get("url", "").strip("\"'")
        if section.strip("'").startswith("remote ") and url.partition("://")[0] not in (*_HERE, url):
            what = f"`dvc push` sends the captures of people to {url}, which their consent must cover."
            name = section.strip("'").removeprefix("remote ").strip('"')
            yield Finding("privacy", "warning", what, f"dvc remote remove {name}")
