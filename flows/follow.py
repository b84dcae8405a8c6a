"""Follows jobs that workers do: starts or adopts a run of each, and starts the next attempt where one is lost.

Prefect's word is not enough: a run whose machine is gone stays running for ever, and one that met a moment's outage may
stay pending. So whoever works gives signs of life elsewhere, and these decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from flows.jobs import Failures, Job, log
from hyperskin.errors import UnknownNameError
from hyperskin.processes import deaf_to_signals

Phase = Literal["waiting", "starting", "running", "completed", "failed", "cancelling", "cancelled"]
# Of runs that are found. One that was cancelled while it started may stay on its way out, for Prefect forgets it.
_PAST = ("completed", "failed", "cancelling", "cancelled")
_LEDGER, _SERVER = "The ledger", "The Prefect server"
_DELETED = "its run was deleted"
POLL_S = 2.0
FAILURES_ALLOWED = 2
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Run:
    """How an attempt at a job stands, as Prefect knows it; waiting means for a free worker."""

    id: str
    phase: Phase
    message: str = ""


class Api(Protocol):
    """What is asked of Prefect; each may raise anything while the server is away, but UnknownNameError for good."""

    def start(self, job: Job, attempt: int) -> Run:
        """Start this attempt at a job, or return the run that was started for it before."""

    def read(self, ids: Collection[str]) -> dict[str, Run]:
        """Return how runs stand, without those that were deleted."""

    def crash(self, run_id: str, why: str) -> None:
        """Mark a run as crashed, whatever it is."""

    def cancel(self, run_id: str) -> None:
        """Ask for the end of a run."""


class Signs(Protocol):
    """What is true, whatever Prefect says; each raises ServiceError while nobody can tell."""

    def is_finished(self, job: Job) -> bool:
        """Tell whether the job's work is done."""

    def silent_s(self, job: Job) -> float | None:
        """Return the seconds since somebody at work on the job gave a sign of life; None: nobody is at work."""

    def lost(self) -> Collection[str]:
        """Return the keys of jobs whose process was just now found to be gone; each time it is told once."""


def follow(
    jobs: Sequence[Job],
    *,
    api: Api,
    signs: Signs,
    stale_s: float,
    failures_allowed: int = FAILURES_ALLOWED,
    pause: Callable[[], None] = lambda: time.sleep(POLL_S),
    clock: Callable[[], float] = time.monotonic,
) -> Failures:
    """Follow every job to its end; return why some failed. When this is interrupted, all runs are cancelled.

    Args:
        jobs: What to do.
        api: Who hands it to workers.
        signs: Who knows what is done, and who lives.
        stale_s: A run that was given to a worker and gives no sign for so long is lost. It must exceed start and
            pause.
        failures_allowed: After so many attempts that failed or were lost, the next one that does is told as the
            job's failure. A run that somebody cancelled is not started again.
        pause: Waits between two looks.
        clock: Seconds that only grow.
    """
    followed = [_Followed(job) for job in jobs]
    watch = _Watch(api, signs, stale_s, failures_allowed, clock)
    try:
        while True:
            for one in followed:
                if one.run is None and not one.is_over:
                    watch.begin(one)
            if all(one.is_over for one in followed):
                return {one.job: one.failure for one in followed if one.failure}
            pause()
            watch.look([one for one in followed if one.run and not one.is_over])
    except BaseException:
        with deaf_to_signals():
            _cancel(api, followed)
        raise


class _Followed:
    """A job and how far it got."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.attempt = 0
        self.failures = 0
        self.run: Run | None = None
        self.heard_s = 0.0
        self.is_lost = False
        self.is_over = False
        self.failure = ""

    def end(self, failure: str = "") -> None:
        self.is_over, self.failure = True, failure


class _Watch:
    """Looks after jobs; remembers whether the server and the signs could be asked."""

    def __init__(
        self, api: Api, signs: Signs, stale_s: float, failures_allowed: int, clock: Callable[[], float]
    ) -> None:
        self._api = api
        self._signs = signs
        self._stale_s = stale_s
        self._failures_allowed = failures_allowed
        self._clock = clock
        self._is_away: set[str] = set()
        self._blind_until_s = clock()

    def begin(self, one: _Followed) -> None:
        """Start or adopt the run of the next attempt; attempts that ended before anybody followed them are past."""
        if self._ask(_LEDGER, lambda: self._signs.is_finished(one.job)):
            one.end()
        while one.run is None and not one.is_over:
            run = self._ask(_SERVER, lambda: self._api.start(one.job, one.attempt + 1))
            if run is None:
                return  # the server is away; ask for the same attempt next time
            one.attempt += 1
            if run.phase not in _PAST:
                one.run, one.heard_s, one.is_lost = run, self._clock(), False
                _tell(one)

    def look(self, followed: Sequence[_Followed]) -> None:
        """Ask once how all runs stand and who lives, and judge each job by it."""
        lost = set(self._ask(_LEDGER, self._signs.lost) or ())
        runs = self._ask(_SERVER, lambda: self._api.read([one.run.id for one in followed if one.run]))
        for one in followed:
            assert one.run is not None
            one.is_lost |= not lost.isdisjoint(one.job.keys)
            if runs is not None:
                was, one.run = one.run, runs.get(one.run.id, Run(one.run.id, "cancelled", _DELETED))
                if was.phase != one.run.phase:
                    one.heard_s = self._clock()
                    _tell(one)
            self._judge(one, one.run)

    def _judge(self, one: _Followed, run: Run) -> None:
        if run.phase == "completed":
            one.end()
        elif run.phase == "cancelled":
            one.end(_DELETED if run.message == _DELETED else "cancelled")
        elif run.phase == "failed":
            self._lose(one, run.message or "it failed without a word")
        elif run.phase != "waiting":
            self._listen(one, run)

    def _listen(self, one: _Followed, run: Run) -> None:
        """Take a run that was given to a worker for lost where nobody hears of it."""
        silent_s = self._ask(_LEDGER, lambda: self._signs.silent_s(one.job))
        if silent_s is not None:
            one.heard_s = max(one.heard_s, self._clock() - silent_s)
        elif self._ask(_LEDGER, lambda: self._signs.is_finished(one.job)):
            one.end()
            return
        silence_s = self._clock() - max(one.heard_s, self._blind_until_s)
        if not one.is_lost and silence_s <= self._stale_s:
            return
        why = "its process is gone" if one.is_lost else f"it gave no sign of life for {silence_s:.0f} s"

        def crash() -> bool:
            self._api.crash(run.id, why)
            return True

        if not self._ask(_SERVER, crash):
            return  # it is tried again, and followed until then
        if run.phase == "cancelling":
            one.end("cancelled")
        else:
            self._lose(one, why)

    def _lose(self, one: _Followed, why: str) -> None:
        if self._ask(_LEDGER, lambda: self._signs.is_finished(one.job)):
            one.end()
            return
        one.run = None
        one.failures += 1
        if one.failures > self._failures_allowed:
            one.end(why)
        else:
            log().warning("%s: attempt %d failed (%s); another one starts", one.job, one.attempt, why.rstrip("."))

    def _ask(self, whom: str, question: Callable[[], _Answer]) -> _Answer | None:
        """Return the answer, or None while there is none, and say so once.

        Silence counts only from when the ledger can be read again.
        """
        try:
            answer = question()
        except UnknownNameError:
            raise
        except Exception as error:  # servers are away in many ways, and workers go on meanwhile
            if whom not in self._is_away:
                log().warning("%s does not answer (%s); workers go on, and so does the following", whom, error)
            self._is_away.add(whom)
            if whom == _LEDGER:
                self._blind_until_s = self._clock()
            return None
        if whom in self._is_away:
            log().warning("%s answers again", whom)
        self._is_away.discard(whom)
        return answer


def _tell(one: _Followed) -> None:
    assert one.run is not None
    says = {"waiting": "waits for a worker", "starting": "starts on a worker"}
    attempt = f", attempt {one.attempt}" if one.attempt > 1 else ""
    log().info("%s%s: %s", one.job, attempt, says.get(one.run.phase, one.run.phase))


def _cancel(api: Api, followed: Sequence[_Followed]) -> None:
    """Cancel what runs, then what waits: the first takes its worker's time, the second nobody's."""
    open_runs = [one.run for one in followed if one.run is not None and not one.is_over]
    for run in sorted(open_runs, key=lambda run: run.phase == "waiting"):
        try:
            api.cancel(run.id)
        except Exception as error:  # the others must be cancelled all the same
            log().warning("the run %s cannot be cancelled (%s)", run.id, error)
