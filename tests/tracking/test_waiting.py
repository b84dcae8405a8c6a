"""Runs that wait for MLflow are counted by their journals, whatever MLflow does."""

import platform
import subprocess
import sys

import pytest

from hyperskin.processes import identity
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.journal import FINISHED, Journal
from hyperskin.tracking.records import Begin, End, Metrics
from hyperskin.tracking.waiting import find_incomplete, owner_of, say_waiting

GONE = f"{platform.node()}:{2**22 + 1}:1"  # no system numbers its processes so high


@pytest.fixture
def write(root):
    """Write the journal of a run."""

    def make(key, *, process=GONE, end=FINISHED) -> Journal:
        journal = Journal(root, key)
        about = {"params": {}, "tags": {}, "data": [], "experiment": "hyperskin", "parent": ""}
        journal.begin(Begin(name=key, process=process, time_ms=1000, **about))
        journal.append(Metrics(0, 2000, {"loss": 0.1}, is_epoch=True))
        if end is not None:
            journal.append(End(end, "", 3000))
        return journal

    return make


def test_where_nothing_was_trained_nothing_waits_and_nothing_is_made(tmp_path):
    assert say_waiting(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_what_is_ended_or_was_killed_waits_until_it_is_delivered(root, uri, write):
    ended = write("ended")
    assert say_waiting(root) == "1 run waits on this machine for MLflow: `hyperskin sync` brings it."
    killed = write("killed", end=None)
    assert say_waiting(root) == "2 runs wait on this machine for MLflow: `hyperskin sync` brings them."
    for journal in (ended, killed):
        assert deliver(journal, uri).is_whole
    assert say_waiting(root) == ""


def test_what_somebody_is_at_does_not_wait(root, write):
    mine, theirs = write("mine", process=identity(), end=None), write("theirs", process="another-host:1:1", end=None)
    assert [owner_of(journal) for journal in (mine, theirs)] == [identity(), "another-host:1:1"]
    assert [journal.key for journal in find_incomplete(root)] == ["mine", "theirs"]
    assert say_waiting(root) == ""
    theirs.append(End(FINISHED, "", 3000))
    assert say_waiting(root).startswith("1 run waits")


def test_a_journal_that_holds_no_run_does_not_wait(root):
    folder = root / "mlruns" / "journal" / "empty"
    folder.mkdir(parents=True)
    assert say_waiting(root) == ""
    (folder / "records.jsonl").write_bytes(b"torn")
    assert say_waiting(root) == ""


def test_a_journal_of_another_version_is_told_of_and_stops_nobody(root, write, monkeypatch):
    write("strange")
    monkeypatch.setattr("hyperskin.tracking.records._KINDS", {})
    assert "must hold records that this version knows" in say_waiting(root)


def test_it_is_known_without_loading_mlflow(root, write):
    write("ended")
    code = (
        "import sys; from pathlib import Path; from hyperskin.tracking.waiting import say_waiting\n"
        "print(say_waiting(Path('.')), sorted({'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert said == "1 run waits on this machine for MLflow: `hyperskin sync` brings it. []\n"
