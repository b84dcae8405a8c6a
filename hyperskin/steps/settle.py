"""What a killed process or a lost machine left behind on this host, found and put right before new work starts."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from hyperskin.atomic import remove_stale
from hyperskin.errors import HyperSkinError
from hyperskin.ledger import Ledger
from hyperskin.processes import is_running
from hyperskin.tracking.store import STORE, mark_killed, running, store_address

RWLOCK = Path(".dvc") / "tmp" / "rwlock"
_YOUNG_S = 5.0  # DVC writes its lock in place, so that it is empty for a moment
_log = logging.getLogger(__name__)


def settle(root: Path, *, only_look: bool = False) -> list[str]:
    """Put right what no living process will: return one sentence for each thing that was found.

    MLflow is loaded only where one of its runs must be ended.

    Args:
        root: The repository.
        only_look: Find, and change nothing.
    """
    return [*_attempts(root, only_look), *_runs(root, only_look), *_dvc_lock(root, only_look), *_files(root, only_look)]


def is_broken_lock(path: Path) -> bool:
    """Tell whether DVC's lock file is one that DVC cannot read, as a kill leaves it, and nobody is writing it."""
    try:
        content = path.read_text()
        is_young = time.time() - path.stat().st_mtime < _YOUNG_S
    except OSError:
        return False
    try:
        json.loads(content)
    except ValueError:
        return not is_young
    return False


def _attempts(root: Path, only_look: bool) -> Iterator[str]:
    """Note trainings whose process is gone; they go on from their checkpoints when they are asked for again."""
    try:
        ledger = Ledger.of(root)
        if only_look:
            found = [one for one in ledger.newest() if one.state == "running" and is_running(one.process) is False]
        else:
            found = ledger.settle()
    except HyperSkinError as error:
        _log.warning("%s", error)
        return
    for attempt in found:
        what = " on ".join(attempt.about.get(name, "?") for name in ("model", "pair"))
        yield f"The training of {what} was broken off ({attempt.process} is gone); it goes on where it was."


def _runs(root: Path, only_look: bool) -> Iterator[str]:
    """End runs that MLflow takes for running; whoever takes one up again sets it running."""
    store = store_address(root)
    if store == f"sqlite:///{(root / STORE).resolve()}" and not (root / STORE).exists():
        return
    try:
        for run in running(store):
            if run.process and is_running(run.process) is False:
                if not only_look:
                    mark_killed(store, run.run_id)
                yield f"MLflow took the run {run.run_id} for running; {run.process} is gone, so it was killed."
    except HyperSkinError as error:
        _log.warning("%s", error)


def _dvc_lock(root: Path, only_look: bool) -> Iterator[str]:
    """Remove a lock that was half written when DVC was killed: every later `dvc repro` would refuse to start."""
    path = root / RWLOCK
    if is_broken_lock(path):
        if not only_look:
            path.unlink(missing_ok=True)
        yield f"{RWLOCK} was left half written by a DVC that was killed."


def _files(root: Path, only_look: bool) -> Iterator[str]:
    """Remove temporary files of dead writers from the folders that trainings write."""
    if only_look:
        return
    count = sum(remove_stale(folder) for folder in (root / "mlruns" / "checkpoints", root / "mlruns" / "journal"))
    if count:
        yield f"{count} temporary files in mlruns had lost their writers."
