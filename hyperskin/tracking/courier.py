"""The thread that brings a run's journal to MLflow while it trains, and how long a run's end waits for MLflow."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hyperskin.errors import HyperSkinError
from hyperskin.tracking.answers import answers, first_line
from hyperskin.tracking.delivery import Delivered, deliver
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.post import Listener

PATIENCE_S = 15.0
"""What an MLflow that does not answer may cost a run: the seconds waited for it in all, from the command's start on."""

_KNOWN_PATIENCE_S = 2.0
"""What the end waits where MLflow is known to be away: for one more question, which a dead server refuses at once."""

_LAST_MOMENTS_S = 0.3  # of a wait that somebody wants to end: for an answer that is on its way
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_POLL_S = 0.05
_NAME = "courier of"
_log = logging.getLogger(__name__)


class _Known:
    """What this process knows of MLflow: a command asks it before any run, and a search makes many short runs."""

    def __init__(self) -> None:
        self.is_away = False
        self.vain_s = 0.0
        self.kept: dict[Path, tuple[Journal, str]] = {}


_known = _Known()


def is_known_away() -> bool:
    """Tell whether MLflow did not answer this process, and has not been heard of since."""
    return _known.is_away


def note_away(seconds: float) -> None:
    """Let the ends of runs know that MLflow did not answer, and that this was waited for already."""
    _known.is_away = True
    _known.vain_s += seconds


def keep(journal: Journal, reason: str) -> None:
    """Remember that MLflow does not have all of a run, and why, for the end of the command."""
    _known.kept[journal.folder] = (journal, reason)


def say_kept() -> str:
    """Return a sentence about the runs of this process that MLflow does not have whole; empty where it has all."""
    kept = [(journal.folder, reason) for journal, reason in _known.kept.values() if not journal.is_whole()]
    if not kept:
        return ""
    folder, reason = kept[-1]
    which, where = ("the run", folder) if len(kept) == 1 else (f"{len(kept)} runs", folder.parent)
    return (
        f"MLflow does not have all of {which} ({reason or 'it was not waited for'}); everything is in {where}: run "
        "`hyperskin sync` when it answers"
    )


def is_any_at_work() -> bool:
    """Tell whether a courier that was not waited for any longer is still at it."""
    return any(thread.name.startswith(_NAME) for thread in threading.enumerate())


class Courier:
    """Delivers in the background whatever is journaled, tries again while MLflow is away, and never holds up anyone."""

    def __init__(self, journal: Journal, uri: str) -> None:
        """Name what is to be delivered where; nothing begins before `start`."""
        self.refusal: HyperSkinError | None = None
        self._journal = journal
        self._uri = uri
        self._delivered = Delivered("", 0, 1)
        self._silence = _Silence()
        self._news = threading.Event()
        self._hurry = threading.Event()
        self._is_ending = threading.Event()
        self._has_failed = threading.Event()
        self._is_away = False
        # A daemon, because a server that takes a request and never answers would else hold up the end of the process.
        self._thread = threading.Thread(target=self._work, name=f"{_NAME} {journal.key[:10]}", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells every refused connection
        self._news.set()
        self._thread.start()

    def tell(self) -> None:
        """Let it know that there is more in the journal."""
        self._news.set()

    def finish(
        self, *, patience_s: float, limit_s: float | None = None, should_stop: Callable[[], bool] = lambda: False
    ) -> Delivered:
        """Wait until everything journaled is delivered, or is not worth waiting for, and let the thread end.

        Where MLflow is known to be away it is asked once more, and given up as soon as it is not there.

        Args:
            patience_s: Seconds in all without an answer after which it is given up, those included that were waited
                before the run; answers cost no patience.
            limit_s: Seconds after which it is given up even if MLflow answers.
            should_stop: Asked all the while; once it says yes, only moments are left.
        """
        self._silence.begin()
        self._has_failed.clear()
        self._news.set()
        self._is_ending.set()
        self._hurry.set()
        started = time.monotonic()
        stopped_s: float | None = None
        while self._thread.is_alive():
            self._thread.join(_POLL_S)
            if self._silence.is_computing and answers(self._uri):
                self._silence.restart()
            if self._silence.seconds() >= self._left_of(patience_s):
                _known.is_away = True
                break
            if stopped_s is None and should_stop():
                stopped_s = time.monotonic()
            if stopped_s is not None and time.monotonic() - stopped_s >= _LAST_MOMENTS_S:
                break
            if limit_s is not None and time.monotonic() - started >= limit_s:
                break
        self._silence.give_up()
        if not self._thread.is_alive():
            return self._delivered
        cursor = self._journal.cursor()
        left = sum(1 for _ in self._journal.records(cursor.offset))
        return Delivered(cursor.run_id, 0, left, "it did not answer in time", is_away=True, may_come=True)

    def _left_of(self, patience_s: float) -> float:
        """Return how many seconds of patience the end has, by what is known of MLflow now."""
        left_s = max(0.0, patience_s - _known.vain_s)
        if not _known.is_away:
            return left_s
        return 0.0 if self._has_failed.is_set() else min(left_s, _KNOWN_PATIENCE_S)

    def _work(self) -> None:
        failures = 0
        while self._silence.is_wanted():
            self._news.wait()
            self._news.clear()
            delivered = self._try()
            self._tell_changes(delivered)
            self.refusal = self.refusal or delivered.refusal
            self._delivered = delivered
            if not delivered.may_come:
                failures = 0
                if self._is_ending.is_set() and not self._news.is_set():
                    return
                continue
            self._silence.failed()
            if delivered.is_away:
                self._has_failed.set()
                if self._silence.fails_for_s() >= PATIENCE_S:
                    _known.is_away = True
            self._news.set()
            pause_s = min(_FIRST_PAUSE_S * 2**failures, _LONGEST_PAUSE_S)
            failures += 1
            if self._hurry.wait(pause_s):  # the run is at its end, so that a long pause is out of place
                self._hurry.clear()
                failures = 0
            self._silence.failed()

    def _try(self) -> Delivered:
        try:
            return deliver(self._journal, self._uri, self._silence)
        except Exception as error:  # whatever it is, it must not end the thread that others wait for
            _log.exception("the run could not be told to MLflow")
            left = self._delivered.left
            reason = f"{type(error).__name__}: {first_line(error)}"
            return Delivered(self._delivered.run_id, 0, left, reason, may_come=True)

    def _tell_changes(self, delivered: Delivered) -> None:
        """Warn once when MLflow goes, unless that was told before the run, and say when it is back."""
        if not self._silence.is_wanted():
            return
        is_told = self._is_away or (delivered.is_away and _known.is_away)
        if delivered.may_come and not is_told:
            _log.warning("The run is kept in %s for now: %s", self._journal.folder, delivered.reason)
        elif self._is_away and not delivered.may_come and not delivered.reason:
            _log.info("MLflow has %d more records of the run", delivered.sent)
        elif delivered.reason and not delivered.may_come and delivered.reason != self._delivered.reason:
            _log.warning("%s", delivered.reason)
        self._is_away = delivered.may_come


class _Silence(Listener):
    """Counts the seconds for which the end of a run waits in vain; what ends with an answer does not count."""

    def __init__(self) -> None:
        self.is_computing = False
        self._is_wanted = True
        self._lost_s = 0.0
        self._since: float | None = None
        self._fails_since: float | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self._since = time.monotonic()

    def seconds(self) -> float:
        with self._lock:
            return self._lost_s + (0.0 if self._since is None else time.monotonic() - self._since)

    def answered(self) -> None:
        _known.is_away = False
        self._fails_since = None
        self.restart()

    def fails_for_s(self) -> float:
        """Return the seconds since the first failure after the last answer."""
        self._fails_since = self._fails_since or time.monotonic()
        return time.monotonic() - self._fails_since

    def restart(self) -> None:
        with self._lock:
            if self._since is not None:
                self._since = time.monotonic()

    def failed(self) -> None:
        with self._lock:
            if self._since is not None:
                self._lost_s += time.monotonic() - self._since
                self._since = time.monotonic()

    def computing(self, *, is_on: bool) -> None:
        self.is_computing = is_on
        self.restart()

    def is_wanted(self) -> bool:
        return self._is_wanted

    def give_up(self) -> None:
        self._is_wanted = False
