"""What the runner of the deployments says while one run waits for another."""

import logging
from pathlib import Path

from prefect.runner import _scheduled_run_poller as poller

from flows.deploy import _WAITING, say_once_who_waits


def test_a_waiting_run_is_told_once_and_not_at_every_poll(monkeypatch):
    monkeypatch.setattr("flows.deploy._waiting", [])
    told = [record.getMessage() for record in map(waiting, (1, 1, 1, 2, 2)) if say_once_who_waits(record)]
    assert told == [f"{count} more asked for; one run at a time, so they wait" for count in (1, 2)]


def test_everything_else_is_told_as_it_is():
    record = logging.LogRecord("prefect.runner", logging.INFO, "", 0, "Runner %r started", ("here",), None)
    assert say_once_who_waits(record)
    assert record.getMessage() == "Runner 'here' started"


def test_prefect_still_says_it_in_these_words():
    assert f'"{_WAITING}"' in Path(poller.__file__).read_text()


def waiting(count):
    return logging.LogRecord("prefect.runner", logging.INFO, "", 0, _WAITING, (count,), None)
