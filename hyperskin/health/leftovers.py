"""What killed processes left behind, and what MLflow still has to be told."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hyperskin.atomic import find_stale, remove_stale
from hyperskin.health.finding import Finding
from hyperskin.processes import is_running
from hyperskin.sqlite import rows
from hyperskin.steps.settle import RWLOCK, is_broken_lock, settle
from hyperskin.tracking.journal import Journal, find_journals
from hyperskin.tracking.store import store_address

_CACHE = Path(".dvc") / "cache" / "files" / "md5"
_AT_WORK_S = 3600.0
_FOLDERS = ("data", "reports")  # settling looks into mlruns


def look(root: Path) -> Iterator[Finding]:
    """Look, as a flow does before it begins; only that nothing is put right."""
    fix = partial(_settle, root)
    for sentence in _unsettled(root):
        if str(RWLOCK) in sentence:
            what = f"{sentence.rstrip('.')}, so that every `dvc repro` fails."
            yield Finding("leftovers", "broken", what, f"rm {RWLOCK}", fix)
        else:
            yield Finding("leftovers", "warning", sentence, "hyperskin doctor --fix", fix)
    stale = {name: find_stale(root / name) for name in _FOLDERS if (root / name).is_dir()}
    if count := sum(map(len, stale.values())):
        where = " and ".join(name for name in stale if stale[name])
        what = f"Temporary files of dead writers must not stay; {where} {'holds' if count == 1 else 'hold'} {count}."
        yield Finding("leftovers", "warning", what, "hyperskin doctor --fix", partial(_remove, root))
    yield from _half_transfers(root)
    left = [journal for journal in find_journals(root) if _is_undelivered(journal)]
    if left:
        names = ", ".join(_name(journal) for journal in left[:3]) + (" and more" if len(left) > 3 else "")
        runs = "a run" if len(left) == 1 else f"{len(left)} runs"
        what = f"MLflow must know all of {runs} that ended ({names}); it does not, but mlruns/journal does."
        yield Finding("leftovers", "warning", what, "hyperskin sync")


def _half_transfers(root: Path) -> Iterator[Finding]:
    """Find what DVC leaves in its cache where a copy ended for want of room, and never removes."""
    left = _find_half_transfers(root)
    if left:
        size_mb = sum(size for _, size in left) / 1e6
        what = (
            f"DVC's cache must hold whole files; it also holds {len(left)} that were broken off, {size_mb:.0f} MB, as "
            "a full disk leaves them."
        )
        yield Finding("leftovers", "warning", what, "hyperskin doctor --fix", partial(_remove_half_transfers, root))


def _find_half_transfers(root: Path) -> list[tuple[Path, int]]:
    """Return them with their sizes; young ones may belong to a DVC that is at work."""
    found = []
    for path in (root / _CACHE).glob("??/.*.tmp"):
        with contextlib.suppress(OSError):  # it is gone by now
            about = path.lstat()
            if time.time() - about.st_mtime > _AT_WORK_S:
                found.append((path, about.st_size))
    return found


def _remove_half_transfers(root: Path) -> str:
    left = _find_half_transfers(root)
    for path, _ in left:
        path.unlink(missing_ok=True)
    return f"Files that were broken off are removed from DVC's cache: {len(left)}."


def _unsettled(root: Path) -> list[str]:
    """Return what settling would say; a store without tables is left out, for MLflow would make them when asked."""
    uri = store_address(root)
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite") and database.exists():
        try:
            rows(database, "SELECT 1 FROM runs LIMIT 1")
        except sqlite3.Error:  # another check says what is wrong with it
            is_broken = is_broken_lock(root / RWLOCK)
            return [f"{RWLOCK} was left half written by a DVC that was killed."] if is_broken else []
    return settle(root, only_look=True)


def _is_undelivered(journal: Journal) -> bool:
    """Tell whether a run has something to deliver that nobody is about to."""
    if journal.is_whole():
        return False
    history = journal.history()
    if history.begin is None:
        return False
    return history.end is not None or is_running(history.begin.process) is False


def _name(journal: Journal) -> str:
    begin = journal.history().begin
    return begin.name if begin else journal.key[:10]


def _settle(root: Path) -> str:
    return f"Settled: {' '.join(settle(root))}"


def _remove(root: Path) -> str:
    count = sum(remove_stale(root / name) for name in _FOLDERS if (root / name).is_dir())
    return f"Temporary files of dead writers are removed: {count}."
