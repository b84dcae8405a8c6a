"""`hyperskin sync`: bring to MLflow what it missed while it was away."""

from __future__ import annotations

import sys
from pathlib import Path

from hyperskin.environment import repository_root
from hyperskin.errors import ServiceError
from hyperskin.processes import is_running
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.journal import KILLED, Journal, find_journals, now_ms
from hyperskin.tracking.records import Begin, End
from hyperskin.tracking.store import prepare_store, store_address
from hyperskin.tracking.waiting import find_incomplete, find_lost, owner_of, runs_told


def sync(*, lost: bool = False, dry_run: bool = False) -> None:
    """Deliver every run that MLflow does not have whole: what it missed, and what a killed training left behind.

    May be called at any time, and again: nothing arrives twice. A run that is being made now is left to its process.
    A run that a person deleted in MLflow stays deleted. One whose network is not registered, because the data changed
    since or its file is not what it was, comes as failed; training again makes it good.

    MLflow is also asked whether it still has what it had: its store may be empty, another one, or an old copy. What it
    lost, `--lost` brings from the journals: parameters and numbers. Files and networks come by training again, which
    goes on from the last checkpoint.

    Args:
        lost: Bring again what MLflow had and has no longer.
        dry_run: Say what would be sent, and send nothing.

    Raises:
        ServiceError: Something stays that MLflow did not take, is lost there, or came without its files.
    """
    root = repository_root()
    journals = find_incomplete(root)
    for journal in find_journals(root):
        if journal.network.exists() and journal.is_whole() and not dry_run:
            deliver(journal, "")  # its last files may go; MLflow is not asked
    gone, unknown = _find_lost(root)
    again = gone if lost else []
    if dry_run:
        _list(journals, again)
    elif journals or again:
        _require_all(*_deliver_all(root, journals, again), of=len(journals + again))
    if unknown:
        raise ServiceError(unknown)
    if gone and not lost:
        raise ServiceError(_tell_lost(root, gone))
    if not journals and not again:
        sys.stdout.write("MLflow has every run that was made here.\n")


def _find_lost(root: Path) -> tuple[list[Journal], str]:
    """Return the runs that MLflow lost, and why that is not known if it is not."""
    try:
        return find_lost(root, store_address(root)), ""
    except ServiceError as error:
        return [], str(error)


def _tell_lost(root: Path, gone: list[Journal]) -> str:
    return (
        f"MLflow must have every run that was told to it; {len(gone)} of {len(runs_told(root))} are gone: its store "
        "was emptied, is another one or an old copy. `hyperskin sync --lost` brings their numbers, training again the "
        "rest."
    )


def _list(journals: list[Journal], gone: list[Journal]) -> None:
    """Print what would be sent."""
    for journal in journals:
        owner = owner_of(journal)
        _say(journal, f"left to {owner}, which is at it" if owner else f"{_count(journal)} records to send")
    for journal in gone:
        _say(journal, f"{sum(1 for _ in journal.records(journal.history().start))} records to send again")


def _deliver_all(root: Path, journals: list[Journal], gone: list[Journal]) -> tuple[int, int]:
    """Deliver one after the other, those that others belong to first; of those that are gone all anew.

    Returns:
        How many stay here, and how many come without files or network.
    """
    staying, refused, away = 0, 0, ""
    try:
        uri = prepare_store(root)
    except ServiceError as error:
        uri, away = "", str(error)
    for journal in sorted(journals + gone, key=lambda journal: _begin(journal).time_ms):
        if owner := owner_of(journal):
            _say(journal, f"left to {owner}, which is at it")
            staying += is_running(owner) is None
            continue
        if away:
            _say(journal, f"{_count(journal)} records stay: {away}")
            staying += 1
            continue
        if journal in gone:
            journal.forget_delivery()
        if journal.history().end is None:
            journal.append(End(KILLED, "its process was gone", now_ms()), durable=True)
        delivered = deliver(journal, uri)
        sent = f"{delivered.sent} records sent"
        if delivered.left:
            _say(journal, f"{sent}, {delivered.left} stay: {delivered.reason}")
            staying += 1
            away = delivered.reason if delivered.is_away else ""
        elif delivered.refusal is not None:
            _say(journal, f"{sent}; it is not finished: {delivered.refusal}")
            refused += 1
        else:
            _say(journal, f"{sent}; {delivered.reason}" if delivered.reason else sent)
    return staying, refused


def _require_all(staying: int, refused: int, *, of: int) -> None:
    failures = []
    if staying:
        failures.append(
            f"Every run must come to MLflow whole; {staying} of {of} did not: see above why, and run `hyperskin sync` "
            "again."
        )
    if refused:
        failures.append(
            f"Every finished run must come with its files and its network; {refused} of {of} did not: see above why, "
            "and train again."
        )
    if failures:
        raise ServiceError(" ".join(failures))


def _begin(journal: Journal) -> Begin:
    begin = journal.history().begin
    assert begin is not None
    return begin


def _count(journal: Journal) -> int:
    return sum(1 for _ in journal.records(journal.cursor().offset))


def _say(journal: Journal, what: str) -> None:
    sys.stdout.write(f"{_begin(journal).name} ({journal.key[:10]}): {what}\n")
    sys.stdout.flush()
