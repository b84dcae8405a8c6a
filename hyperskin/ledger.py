"""Who trains what, which attempt it is, and whether it lives: one table that every host sees."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from hyperskin.database import Database
from hyperskin.environment import database_uri
from hyperskin.errors import ServiceError
from hyperskin.processes import identity, is_running

State = Literal["running", "finished", "killed", "failed", "lost"]
"""Running and lost look alike from afar; lost is what somebody found silent, or without its process."""

BEAT_S = 10.0
_SQLITE = "sqlite:///"
_WHAT = "The ledger of trainings"
_LAST_WORD_S = 1.0  # patience with the database of a process that is being stopped
_log = logging.getLogger(__name__)

_attempts = sa.Table(
    "attempts",
    sa.MetaData(),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("beat_s", sa.Double, nullable=False),
)
_of = _attempts.c
_newer = _attempts.alias("newer")
_is_newest = ~sa.exists().where(_newer.c.key == _of.key, _newer.c.number > _of.number)


@dataclass(frozen=True)
class Attempt:
    """One process's try at one unit.

    Attributes:
        key: The unit.
        number: 1 for the first attempt at the unit; a newer one has a higher number.
        about: What the unit is, as plain text by name.
        process: What its process calls itself: host, number, when it began.
        state: How it went, as far as anybody noted.
        silent_s: Seconds since its last sign of life, by the clock of the database.
    """

    key: str
    number: int
    about: dict[str, str]
    process: str
    state: State
    silent_s: float


class BusyError(ServiceError):
    """Another attempt at the unit lives."""

    def __init__(self, holder: Attempt) -> None:
        super().__init__(
            f"One process at a time must train {holder.key[:10]}; {holder.process} does, and gave its last sign "
            f"{holder.silent_s:.0f} s ago: wait for it, or stop it."
        )
        self.holder = holder


class FencedError(ServiceError):
    """A newer attempt has the unit, so this one must write nothing more."""


class Ledger:
    """The table of attempts."""

    def __init__(self, uri: str) -> None:
        """Open the table at `uri`, and make it where there is none.

        Raises:
            ServiceError: The address names no database with a driver here, or nobody answers there.
        """
        self._database = Database(uri, what=_WHAT)
        self._database.make(_attempts)

    @classmethod
    def of(cls, root: Path) -> Ledger:
        """Return the ledger of the repository at `root`."""
        (root / "mlruns").mkdir(exist_ok=True, mode=0o700)
        return cls(database_uri(root, "ledger"))

    @classmethod
    def find(cls, root: Path) -> Ledger | None:
        """Return the ledger of the repository at `root`; None, and nothing is made, where there is none yet.

        Raises:
            ServiceError: As where it is made.
        """
        uri = database_uri(root, "ledger")
        if uri.startswith(_SQLITE) and not Path(uri.removeprefix(_SQLITE)).exists():
            return None
        has_table = Database(uri, what=_WHAT).ask(lambda connection: sa.inspect(connection).has_table(_attempts.name))
        return cls(uri) if has_table else None

    def claim(self, key: str, *, about: Mapping[str, str], stale_s: float) -> Claim:
        """Begin the next attempt at a unit.

        The newest attempt may be running: it is lost, and this one follows it, where its process on this host is
        gone, or where it gave no sign for `stale_s`. Of many that claim at once exactly one wins.

        Raises:
            BusyError: The newest attempt lives.
            ServiceError: The database does not answer.
        """
        while True:
            newest = next(iter(self.newest([key])), None)
            if newest is not None and _lives(newest, stale_s):
                raise BusyError(newest)
            with contextlib.suppress(IntegrityError):  # another one was faster; look again
                if self._database.ask(partial(self._follow, key, about, newest)):
                    return Claim(self, key, 1 if newest is None else newest.number + 1)

    def finished(self, keys: Iterable[str]) -> set[str]:
        """Return those of `keys` of which an attempt was finished."""
        query = sa.select(_of.key).where(_of.key.in_(list(keys)), _of.state == "finished")
        return set(self._database.ask(lambda connection: connection.execute(query).scalars().all()))

    def silent_s(self, keys: Iterable[str]) -> float | None:
        """Return the seconds since the newest sign of any running attempt at any of `keys`; None: none runs."""
        return min((attempt.silent_s for attempt in self.newest(keys) if attempt.state == "running"), default=None)

    def newest(self, keys: Iterable[str] | None = None) -> list[Attempt]:
        """Return the newest attempt at every unit, or at every one of `keys`, those that gave a sign last first."""
        query = sa.select(_attempts, (self._database.now_s - _of.beat_s).label("silent_s")).where(_is_newest)
        if keys is not None:
            query = query.where(_of.key.in_(list(keys)))
        rows = self._database.ask(
            lambda connection: connection.execute(query.order_by(_of.beat_s.desc(), _of.key)).all()
        )
        return [
            Attempt(row.key, row.number, json.loads(row.about), row.process, row.state, max(0.0, row.silent_s))
            for row in rows
        ]

    def settle(self, keys: Iterable[str] | None = None) -> list[Attempt]:
        """Note as lost what runs in no process of this host any more, of `keys` or of all, and return it."""
        return [attempt for attempt in self.gone(keys) if self._database.ask(partial(self._lose, attempt))]

    def gone(self, keys: Iterable[str] | None = None) -> list[Attempt]:
        """Return what was running in a process of this host that is gone, of `keys` or of all; note nothing."""
        running = [attempt for attempt in self.newest(keys) if attempt.state == "running"]
        return [attempt for attempt in running if is_running(attempt.process) is False]

    def beat(self, key: str, number: int) -> int:
        """Give a sign of life of a running attempt; return the number of the newest attempt at the unit."""
        sign = sa.update(_attempts).where(_of.key == key, _of.number == number, _of.state == "running")
        newest = sa.select(sa.func.max(_of.number)).where(_of.key == key)

        def tell(connection: sa.Connection) -> int:
            connection.execute(sign.values(beat_s=self._database.now_s))
            return int(connection.execute(newest).scalar_one())

        return self._database.ask(tell, patience_s=0)

    def end(self, key: str, number: int, state: State, patience_s: float | None = None) -> bool:
        """Note how an attempt ended; False, and nothing noted, where a newer one began."""
        last = sa.update(_attempts).where(_of.key == key, _of.number == number, _is_newest)
        last = last.values(state=state, beat_s=self._database.now_s)

        def tell(connection: sa.Connection) -> bool:
            # an update that had to wait for a newer attempt to be written sees the change of its row, not the new row
            running = connection.execute(last.where(_of.state == "running")).rowcount == 1
            return running or connection.execute(last).rowcount == 1

        return self._database.ask(tell, patience_s)

    def _follow(self, key: str, about: Mapping[str, str], last: Attempt | None, connection: sa.Connection) -> bool:
        """Write down the attempt after `last`; False where `last` came to another end in the meantime."""
        if last is not None and last.state == "running" and not self._lose(last, connection):
            return False
        row = {"key": key, "number": 1 if last is None else last.number + 1, "about": json.dumps(dict(about))}
        insert = sa.insert(_attempts).values(**row, process=identity(), state="running", beat_s=self._database.now_s)
        connection.execute(insert)
        return True

    def _lose(self, attempt: Attempt, connection: sa.Connection) -> bool:
        """Note an attempt as lost; False where it ended, or gave a sign, after it was looked at."""
        lost = sa.update(_attempts).where(_of.key == attempt.key, _of.number == attempt.number, _of.state == "running")
        lost = lost.where(self._database.now_s - _of.beat_s >= attempt.silent_s)
        return connection.execute(lost.values(state="lost")).rowcount == 1


class Claim:
    """One attempt in our hands: it gives a sign of life every ten seconds, and knows when it has lost the unit."""

    def __init__(self, ledger: Ledger, key: str, number: int) -> None:
        self.key = key
        self.number = number
        self._ledger = ledger
        self._newest = number
        self._is_away = False
        self._is_finished = False
        self._ending = threading.Event()
        self._heart = threading.Thread(target=self._beat_on, name=f"ledger {key[:10]}", daemon=True)

    def __enter__(self) -> Claim:
        """Begin to give signs of life."""
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Note how it went: finished, killed on request, or failed."""
        self._ending.set()
        if self._is_finished:
            return
        state: State = "killed" if kind is not None and issubclass(kind, KeyboardInterrupt) else "failed"
        self._end(state, _LAST_WORD_S)

    def require_current(self) -> None:
        """Raise where a newer attempt has the unit; while the database is away, what was heard last counts.

        Raises:
            FencedError: A newer attempt has the unit.
        """
        if not self._is_away:  # once it is, the beats find out when it is back, and nobody waits for it here
            self._beat()
        self._require_newest()

    def finish(self) -> None:
        """Note that the unit is finished.

        Raises:
            FencedError: A newer attempt has the unit.
        """
        self._ending.set()
        is_ours = self._end("finished")
        if not is_ours:
            self._newest = max(self._newest, self.number + 1)
            self._require_newest()
        self._is_finished = True

    def _require_newest(self) -> None:
        if self._newest > self.number:
            raise FencedError(
                f"Attempt {self.number} at {self.key[:10]} must stop and write nothing more; attempt {self._newest} "
                "took over, because this one gave no sign of life for too long."
            )

    def _beat_on(self) -> None:
        while not self._ending.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        try:
            self._newest = max(self._newest, self._ledger.beat(self.key, self.number))
        except ServiceError as error:
            if not self._is_away:
                _log.warning("%s Training goes on.", error)
            self._is_away = True
        else:
            if self._is_away:
                _log.warning("The ledger of trainings answers again.")
            self._is_away = False

    def _end(self, state: State, patience_s: float | None = None) -> bool:
        try:
            return self._ledger.end(self.key, self.number, state, patience_s)
        except ServiceError as error:
            _log.warning("%s That attempt %d is %s stays unsaid.", error, self.number, state)
            return True


def _lives(attempt: Attempt, stale_s: float) -> bool:
    return attempt.state == "running" and attempt.silent_s <= stale_s and is_running(attempt.process) is not False
