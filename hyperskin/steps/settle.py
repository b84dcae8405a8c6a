"""What a killed process or a lost machine left behind on this host, found and put right before new work starts."""

from __future__ import annotations

import json
import logging
import queue
import time
from collections.abc import Iterator
from pathlib import Path

from hyperskin.address import without_password
from hyperskin.atomic import find_stale, remove_stale
from hyperskin.environment import database_uri
from hyperskin.errors import HyperSkinError, ServiceError
from hyperskin.ledger import Ledger
from hyperskin.processes import is_running
from hyperskin.tracking.answers import answers, within
from hyperskin.tracking.store import mark_killed, running, store_address

RWLOCK = Path(".dvc") / "tmp" / "rwlock"
_YOUNG_S = 5.0  # DVC writes its lock in place, so that it is empty for a moment
_PATIENCE_S = 10.0  # with a place where something may be left; loading MLflow takes half of it on a busy machine
_log = logging.getLogger(__name__)


def settle(root: Path, *, only_look: bool = False) -> list[str]:
    """Put right what no living process will: return one sentence for each thing that was found.

    What does not answer within seconds is warned of and left for the next time. MLflow is loaded only where one of its
    runs must be ended, or where a server must be asked for them.

    Args:
        root: The repository.
        only_look: Find, and change nothing.
    """
    places = (_attempts, _runs, _dvc_lock, _files)
    return [sentence for place in places for sentence in _look(place(root, only_look))]


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


def _look(place: Iterator[str]) -> list[str]:
    """Return what is found in one place; trouble there hides nothing of the others."""
    found: list[str] = []
    try:
        within(_PATIENCE_S, lambda: found.extend(sentence for sentence in place))
    except queue.Empty:
        _log.warning("What a killed process left behind is not all known: nothing came within %g s", _PATIENCE_S)
    except Exception as error:  # whatever it is, new work may begin all the same
        _log.warning("%s", error if isinstance(error, HyperSkinError) else f"{type(error).__name__}: {error}")
    return list(found)


def _attempts(root: Path, only_look: bool) -> Iterator[str]:
    """Note trainings whose process is gone; they go on from their checkpoints when they are asked for again."""
    uri = database_uri(root, "ledger")
    if not answers(uri):
        raise ServiceError(f"The ledger of trainings must answer at {without_password(uri)}; it does not.")
    ledger = Ledger.find(root)
    if ledger is None:
        return
    for attempt in ledger.gone() if only_look else ledger.settle():
        what = " on ".join(attempt.about.get(name, "?") for name in ("model", "pair"))
        yield f"The training of {what} was broken off ({attempt.process} is gone); it goes on where it was."


def _runs(root: Path, only_look: bool) -> Iterator[str]:
    """End runs that MLflow takes for running; whoever takes one up again sets it running."""
    store = store_address(root)
    for run in running(store):
        if run.process and is_running(run.process) is False:
            if not only_look:
                mark_killed(store, run.run_id)
            yield f"MLflow took the run {run.run_id} for running; {run.process} is gone, so it was killed."


def _dvc_lock(root: Path, only_look: bool) -> Iterator[str]:
    """Remove a lock that was half written when DVC was killed: every later `dvc repro` would refuse to start."""
    path = root / RWLOCK
    if is_broken_lock(path):
        if not only_look:
            path.unlink(missing_ok=True)
        yield f"{RWLOCK} was left half written by a DVC that was killed."


def _files(root: Path, only_look: bool) -> Iterator[str]:
    """Remove temporary files of dead writers from where trainings write, and MLflow's database is made."""
    folder = root / "mlruns"
    if count := len(find_stale(folder)) if only_look else remove_stale(folder):
        files = "temporary file" if count == 1 else "temporary files"
        yield f"{count} {files} in mlruns had lost their writers."
