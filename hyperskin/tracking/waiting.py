"""Which runs wait on this machine for MLflow, and who is at them; told by their journals alone."""

from __future__ import annotations

from pathlib import Path

from hyperskin.errors import HyperSkinError
from hyperskin.processes import is_running
from hyperskin.tracking.journal import Journal, find_journals


def find_incomplete(root: Path) -> list[Journal]:
    """Return the journals of the runs that MLflow does not have whole, by name.

    Raises:
        DataError: One is of another version of this program.
    """
    lacking = [journal for journal in find_journals(root) if not journal.is_whole()]
    return [journal for journal in lacking if journal.history().begin is not None]


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
