"""One unit in the hands of one process: whoever else holds it is waited for, and whoever lost it stops."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hyperskin.ledger import BusyError, Claim, Ledger
from hyperskin.processes import StopRequest
from hyperskin.steps.unit import Unit

GOES_ON = "The same command goes on where it stopped."
"""What is said to whoever stopped a command that has got somewhere."""

_NAMED = ("model", "pair", "camera", "seed")
_POLL_S = 2.0
_LOOK_EVERY_S = 5.0
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(
    unit: Unit, ledger: Ledger, *, stale_s: float, stopping: StopRequest, is_finished: Callable[[], bool]
) -> Iterator[Claim | None]:
    """Hold a unit against every other process, here by a lock that dies with its holder and elsewhere by the ledger.

    Args:
        unit: What is to be trained.
        ledger: Where every host looks.
        stale_s: A holder on another host that is silent for so long has lost the unit.
        stopping: Ends the waiting.
        is_finished: Asked while another process holds the unit.

    Yields:
        The claim, or None where the unit was finished by the process that was waited for.

    Raises:
        KeyboardInterrupt: The process was asked to stop while it waited.
    """
    unit.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(unit.folder / ".lock")
    said = ""
    with contextlib.ExitStack() as held:
        while True:
            try:
                with contextlib.ExitStack() as attempt:
                    attempt.enter_context(lock.acquire(timeout=0))
                    claim = attempt.enter_context(ledger.claim(unit.key, about=unit.facts(), stale_s=stale_s))
                    held.push(attempt.pop_all())
                break
            except Timeout:
                holder = _holder(ledger, unit)
            except BusyError as busy:
                holder = busy.holder.process
            if said != holder:
                said = holder
                _log.info("%s is being trained by %s; waiting for it", unit.title, holder)
            stopping.wait(_POLL_S)
            if is_finished():
                yield None
                return
        yield claim


class Watch:
    """Asked after every step whether to go on; asks the ledger only now and then, for it may be far away."""

    def __init__(self, stopping: StopRequest, claim: Claim) -> None:
        self._stopping = stopping
        self._claim = claim
        self._looked_s = time.monotonic()

    def __call__(self) -> bool:
        """Return whether to stop.

        Raises:
            FencedError: A newer attempt has the unit; this one must write nothing more.
        """
        if time.monotonic() - self._looked_s > _LOOK_EVERY_S:
            self._claim.require_current()
            self._looked_s = time.monotonic()
        return self._stopping.is_set()


def find_interrupted(unit: Unit, ledger: Ledger) -> dict[str, dict[str, str]]:
    """Return what the interrupted trainings of the same model, pair, camera and seed were made with, by unit key.

    The unit itself may be among them. Trials of a search are left out: each has its own recipe, by design.
    """
    facts = unit.facts()
    return {
        attempt.key: dict(attempt.about)
        for attempt in ledger.newest()
        if attempt.state != "finished"
        and "study" not in attempt.about
        and all(attempt.about.get(what) == facts.get(what) for what in _NAMED)
        and checkpoint_path(unit.folder.parent / attempt.key).is_file()
    }


def checkpoint_path(folder: Path) -> Path:
    """Return where the checkpoint of a unit lies in its folder."""
    return folder / "last.pt"


def _holder(ledger: Ledger, unit: Unit) -> str:
    newest = ledger.newest([unit.key])
    return newest[0].process if newest else "another process"
