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
from hyperskin.tracking.store import prepare_store
from hyperskin.tracking.waiting import find_incomplete, owner_of


def sync(*, dry_run: bool = False) -> None:
    """Deliver every run that MLflow does not have whole: what it missed, and what a killed training left behind.

    May be called at any time, and again: nothing arrives twice. A run that is being made now is left to its process.
    A run that a person deleted in MLflow stays deleted. One whose network is not registered, because the data changed
    since or its file is not what it was, comes as failed; training again makes it good.

    Args:
        dry_run: Say what would be sent, and send nothing.

    Raises:
        ServiceError: Something stays that MLflow did not take, or a network is not registered.
    """
    root = repository_root()
    journals = find_incomplete(root)
    for journal in find_journals(root):
        if journal.network.exists() and journal.is_whole() and not dry_run:
            deliver(journal, "")  # its last files may go; MLflow is not asked
    if not journals:
        sys.stdout.write("MLflow has every run that was made here.\n")
        return
    if dry_run:
        _list(journals)
        return
    staying, refused = _deliver_all(root, journals)
    failures = []
    if staying:
        failures.append(
            f"Every run must come to MLflow whole; {staying} of {len(journals)} did not: see above why, and run "
            "`hyperskin sync` again."
        )
    if refused:
        failures.append(
            f"Every trained network must be registered; {refused} of {len(journals)} was not: see above why, and train "
            "it again."
        )
    if failures:
        raise ServiceError(" ".join(failures))


def _list(journals: list[Journal]) -> None:
    """Print what would be sent."""
    for journal in journals:
        if not (owner := owner_of(journal)):
            _say(journal, f"{_count(journal)} records to send")
        else:
            _say(journal, f"left to {owner}, which is at it")


def _deliver_all(root: Path, journals: list[Journal]) -> tuple[int, int]:
    """Deliver one after the other, those that others belong to first; return how many stay, and are refused."""
    staying, refused, away = 0, 0, ""
    try:
        uri = prepare_store(root)
    except ServiceError as error:
        uri, away = "", str(error)
    for journal in sorted(journals, key=lambda journal: _begin(journal).time_ms):
        if owner := owner_of(journal):
            _say(journal, f"left to {owner}, which is at it")
            staying += is_running(owner) is None
            continue
        if away:
            _say(journal, f"{_count(journal)} records stay: {away}")
            staying += 1
            continue
        if journal.history().end is None:
            journal.append(End(KILLED, "its process was gone", now_ms()), durable=True)
        delivered = deliver(journal, uri)
        sent = f"{delivered.sent} records sent"
        if delivered.left:
            _say(journal, f"{sent}, {delivered.left} stay: {delivered.reason}")
            staying += 1
            away = delivered.reason if delivered.is_away else ""
        elif delivered.refusal is not None:
            _say(journal, f"{sent}; it is not registered: {delivered.refusal}")
            refused += 1
        else:
            _say(journal, f"{sent}; {delivered.reason}" if delivered.reason else sent)
    return staying, refused


def _begin(journal: Journal) -> Begin:
    begin = journal.history().begin
    assert begin is not None
    return begin


def _count(journal: Journal) -> int:
    return sum(1 for _ in journal.records(journal.cursor().offset))


def _say(journal: Journal, what: str) -> None:
    sys.stdout.write(f"{_begin(journal).name} ({journal.key[:10]}): {what}\n")
    sys.stdout.flush()
