"""Whether a SQLite file is whole, and what its tables say; opened for reading alone, so that looking makes nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_BUSY_S = 2.0
# A process that was killed in mid-write leaves a journal beside the file; whoever writes next puts that right.
_LEFT_TO_WRITERS = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def fault(database: Path) -> str:
    """Return what is wrong with a file in a few words; empty where nothing is, or where somebody is writing it."""
    try:
        said = rows(database, "PRAGMA quick_check(1)")
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        has_journal = any(database.with_name(f"{database.name}{end}").exists() for end in ("-journal", "-wal"))
        is_cant_open = code == sqlite3.SQLITE_CANTOPEN and not has_journal
        return "" if code in _LEFT_TO_WRITERS and not is_cant_open else str(error)
    return "" if said == [("ok",)] else str(said[0][0]).splitlines()[-1]


def rows(database: Path, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the answer to a query.

    Raises:
        sqlite3.Error: The file is no database, is being written, or holds other tables.
    """
    address = f"{database.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
        return connection.execute(query, values).fetchall()
