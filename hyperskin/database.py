"""The one way to a table of ours: SQLite on one machine, PostgreSQL for many, and patience with one that is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)

from hyperskin.address import without_password
from hyperskin.errors import ServiceError

PATIENCE_S = 10.0  # with a database that does not answer
_PAUSE_S = 0.5
_BUSY_S = 30  # with another process that writes the SQLite file
_CONNECT_S = 5
_KEEPALIVE_MS = 10_000  # the system's own take hours to notice that a host is gone
_CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",  # Unix counts from that Julian day
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
}
_Answer = TypeVar("_Answer")


class Database:
    """A database, asked in short transactions; its clock is the only one, for those of hosts differ.

    No connection stays open between two questions: nothing goes stale, and a server that was away is found again.
    """

    def __init__(self, uri: str, *, what: str) -> None:
        """Take an address; nothing is asked yet.

        Args:
            uri: sqlite:/// or postgresql+psycopg://.
            what: What is kept there, for refusals, such as "The ledger of trainings".

        Raises:
            ServiceError: The address is another one, or its driver is not installed.
        """
        self._engine, self._shown = _engine(uri), without_password(uri)
        self._what = what
        self.now_s: sa.ColumnElement[float] = sa.literal_column(_CLOCKS[self._engine.dialect.name], sa.Double)

    def ask(self, question: Callable[[sa.Connection], _Answer], patience_s: float | None = None) -> _Answer:
        """Return the answer to a question, in a transaction of its own; a database that is away is asked again.

        Raises:
            ServiceError: There is no answer within `patience_s`, or there never will be.
        """
        deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
        while True:
            try:
                with self._engine.begin() as connection:
                    return question(connection)
            except IntegrityError:
                raise
            except DBAPIError as error:
                is_away = isinstance(error, OperationalError | InterfaceError)
                if not is_away or time.monotonic() > deadline:
                    raise ServiceError(self._refusal(error)) from None  # its own words may hold the password
            time.sleep(_PAUSE_S)

    def make(self, table: sa.Table) -> None:
        """Make a table where there is none."""

        def make(connection: sa.Connection) -> None:
            if sa.inspect(connection).has_table(table.name):
                return
            try:
                with connection.begin_nested():
                    table.create(connection, checkfirst=False)
            except DBAPIError:  # another process made it just now, and databases say so in many ways
                if not sa.inspect(connection).has_table(table.name):
                    raise

        self.ask(make)

    def _refusal(self, error: DBAPIError) -> str:
        url = self._engine.url
        reason = str(error.orig).strip().splitlines()
        said = reason[0].rstrip(".") if reason else type(error.orig).__name__
        if url.password:
            said = said.replace(str(url.password), "***")
        return f"{self._what} must answer at {self._shown}; it does not: {said}."


def engine_options(uri: str) -> dict[str, Any]:
    """Return how SQLAlchemy is to connect, whoever calls it: no connection outlives a question or waits for ever."""
    patience = {"connect_timeout": _CONNECT_S, "tcp_user_timeout": _KEEPALIVE_MS}
    if uri.startswith("sqlite"):
        patience = {"timeout": _BUSY_S}
    return {"poolclass": sa.NullPool, "connect_args": patience, "hide_parameters": True}


def _engine(uri: str) -> sa.Engine:
    try:
        url = sa.make_url(uri)
    except ArgumentError:
        raise ServiceError(
            "`HYPERSKIN_DATABASE` must be an address such as postgresql+psycopg://USER@HOST:PORT/DATABASE; "
            "what it holds is none."  # and may hold a password
        ) from None
    shown = without_password(uri)
    if url.drivername in ("postgresql", "postgres"):
        raise ServiceError(
            "`HYPERSKIN_DATABASE` must name its driver, postgresql+psycopg://USER@HOST:PORT/DATABASE; "
            f"got {shown}: write postgresql+psycopg in place of {url.drivername}."
        )
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ServiceError(f"`HYPERSKIN_DATABASE` must be sqlite:/// or postgresql+psycopg://; got {shown}.")
    try:
        return sa.create_engine(url, **engine_options(uri))
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ServiceError(
            f"The driver of {shown} must be installed; it is not ({error}): pip install 'hyperskin[cluster]'."
        ) from None
