"""Which runs wait on this machine for MLflow, and who is at them; and which MLflow had and lost."""

from __future__ import annotations

from pathlib import Path

from hyperskin.errors import HyperSkinError
from hyperskin.processes import is_running
from hyperskin.tracking.journal import Journal, find_journals
from hyperskin.tracking.store import find_known


def find_incomplete(root: Path) -> list[Journal]:
    """Return the journals of the runs that MLflow does not have whole, by name.

    Raises:
        DataError: One is of another version of this program.
    """
    lacking = [journal for journal in find_journals(root) if not journal.is_whole()]
    return [journal for journal in lacking if journal.history().begin is not None]


def runs_told(root: Path) -> dict[str, Journal]:
    """Return the journals whose newest run MLflow has acknowledged whole, by the run's id; not those a person deleted.

    Raises:
        DataError: One is of another version of this program.
    """
    whole = [(journal.cursor(), journal) for journal in find_journals(root) if journal.is_whole()]
    return {cursor.run_id: journal for cursor, journal in whole if cursor.run_id and not cursor.dropped}


def find_lost(root: Path, uri: str) -> list[Journal]:
    """Return the journals whose newest run MLflow had whole and holds no longer, by name.

    A run that a person deleted is held until `mlflow gc`; what is gone without that went with the store, or is in
    another one.

    Raises:
        DataError: A journal is of another version of this program.
        ServiceError: The store does not answer.
    """
    told = runs_told(root)
    known = find_known(uri, told) if told else set()
    return [journal for run_id, journal in told.items() if run_id not in known]


def owner_of(journal: Journal) -> str:
    """Return the process that makes the run now, or that nobody here can ask after; empty where none does."""
    history = journal.history()
    process = history.begin.process if history.begin is not None else ""
    return process if history.end is None and is_running(process) is not False else ""


def say_waiting(root: Path) -> str:
    """Return a sentence about the runs that wait for `hyperskin sync`; empty where none does."""
    try:
        count = sum(1 for journal in find_incomplete(root) if not owner_of(journal))
    except HyperSkinError as error:  # whoever looks at MLflow is told, and not kept from it
        return str(error)
    if not count:
        return ""
    who, whom = ("1 run waits", "it") if count == 1 else (f"{count} runs wait", "them")
    return f"{who} on this machine for MLflow: `hyperskin sync` brings {whom}."
