"""What MLflow missed comes to it later, and only what nobody else brings."""

import dataclasses
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from hyperskin.commands.sync import sync
from hyperskin.errors import DataError, ServiceError
from hyperskin.models.baselines import build
from hyperskin.processes import identity
from hyperskin.tracking.delivery import _Delivery, deliver
from hyperskin.tracking.journal import FINISHED, Journal
from hyperskin.tracking.records import Begin, End, Metrics, Weights
from hyperskin.tracking.store import STORE, experiment_id, prepare_store, running
from hyperskin.tracking.weights import keep_weights
from tests.mlflow_server import MlflowServer, lose_runs

DEAD = f"{platform.node()}:{2**22 + 1}:1"  # no system numbers its processes so high
ELSEWHERE = "another-host:1:1"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository with a store that all tests here share; each has units of its own."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("params.yaml", "dvc.yaml"):
        (folder / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare_store(folder)
    return folder


@pytest.fixture
def uri(root, monkeypatch):
    """The address of the store, from whose repository the verbs are called; there are no journals yet."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    journals = root / "mlruns" / "journal"
    if journals.exists():
        journals.rename(root / f"journals of {os.urandom(4).hex()}")
    return prepare_store(root)


@pytest.fixture
def write(root):
    """Write a journal with two epochs."""

    def make(key, *, process=DEAD, end=FINISHED, time_ms=1000, **fields) -> Journal:
        journal = Journal(root, key)
        about = {"params": {}, "tags": {}, "data": [], "experiment": "hyperskin", "parent": ""} | fields
        journal.begin(Begin(name=f"run {key}", process=process, time_ms=time_ms, **about))
        for epoch in range(2):
            journal.append(Metrics(epoch, 2000 + epoch, {"loss": 0.1}, is_epoch=True))
        if end is not None:
            journal.append(End(end, "", 3000))
        return journal

    return make


def _find(uri, key):
    return MlflowClient(uri).search_runs([experiment_id(uri)], f"tags.unit_key = '{key}'")


def test_nothing_missed_is_said(uri, capsys):
    sync()
    assert capsys.readouterr().out == "MLflow has every run that was made here.\n"


def test_every_run_that_was_missed_is_brought_and_then_there_is_nothing_left(uri, write, capsys):
    write("missed-1")
    write("missed-2")
    deliver(write("whole"), uri)
    sync()
    assert capsys.readouterr().out.splitlines() == [
        "run missed-1 (missed-1): 4 records sent",
        "run missed-2 (missed-2): 4 records sent",
    ]
    for key in ("missed-1", "missed-2"):
        [run] = _find(uri, key)
        assert run.info.status == "FINISHED"
    sync()
    assert "every run" in capsys.readouterr().out


def test_looking_sends_nothing(uri, write, capsys):
    write("looked-at")
    write("at-work", process=identity(), end=None)
    sync(dry_run=True)
    assert capsys.readouterr().out.splitlines() == [
        f"run at-work (at-work): left to {identity()}, which is at it",
        "run looked-at (looked-at): 4 records to send",
    ]
    assert _find(uri, "looked-at") == []


def test_what_a_killed_training_left_behind_is_brought_and_ended(uri, write):
    write("killed", end=None)
    sync()
    [run] = _find(uri, "killed")
    assert (run.info.status, run.data.tags["ended_by"]) == ("KILLED", "its process was gone")
    assert run.data.metrics == {"loss": 0.1}
    assert running(uri) == []


def test_what_a_process_is_at_is_left_to_it(uri, write, capsys):
    journal = write("at-work", process=identity(), end=None)
    sync()
    assert f"left to {identity()}" in capsys.readouterr().out
    assert journal.history().end is None
    assert _find(uri, "at-work") == []


def test_what_another_host_may_be_at_stays_and_is_told(uri, write, capsys):
    journal = write("far-away", process=ELSEWHERE, end=None)
    with pytest.raises(ServiceError, match=r"1 of 1 did not"):
        sync()
    assert f"left to {ELSEWHERE}" in capsys.readouterr().out
    journal.append(End(FINISHED, "", 3000))
    sync()
    assert len(_find(uri, "far-away")) == 1


def test_while_mlflow_is_away_everything_stays_and_the_exit_says_so(uri, write, capsys, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    write("away-1")
    write("away-2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(ServiceError, match="2 of 2 did not: see above why, and run `hyperskin sync` again"):
        sync()
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0]
        == f"run away-1 (away-1): 4 records stay: MLflow at {address} must answer; it does not: see whether it runs."
    )
    assert len(lines) == 2


def test_mlflow_that_goes_in_between_is_not_asked_again(uri, write, capsys, monkeypatch):
    write("first", time_ms=1)
    write("second", time_ms=2)
    asked = []

    def refuse(*arguments, **_):
        asked.append(arguments)
        raise ConnectionError("refused")

    monkeypatch.setattr(MlflowClient, "log_inputs", refuse)
    with pytest.raises(ServiceError, match="2 of 2"):
        sync()
    assert len(asked) == 1
    assert capsys.readouterr().out.splitlines() == [
        "run first (first): 0 records sent, 4 stay: refused",
        "run second (second): 4 records stay: refused",
    ]


def test_a_run_that_a_person_deleted_stays_deleted(uri, write, capsys):
    journal = write("deleted", end=None)
    deliver(journal, uri)
    MlflowClient(uri).delete_run(journal.cursor().run_id)
    journal.append(End(FINISHED, "", 3000))
    sync()
    assert capsys.readouterr().out == "run deleted (deleted): 0 records sent; a person deleted the run in MLflow\n"
    assert _find(uri, "deleted") == []
    sync()
    assert "every run" in capsys.readouterr().out


def test_a_search_comes_before_its_trials(uri, write, capsys):
    write("a-trial", parent="the-study", time_ms=2000)
    write("the-study", time_ms=1000)
    sync()
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == ["run the-study", "run a-trial"]
    [study], [trial] = _find(uri, "the-study"), _find(uri, "a-trial")
    assert trial.data.tags["mlflow.parentRunId"] == study.info.run_id


def test_files_that_a_kill_left_behind_of_a_whole_run_are_removed(uri, write):
    journal = write("tidy")
    deliver(journal, uri)
    Path(journal.network).write_bytes(b"weights")
    sync()
    assert not journal.network.exists()


def test_a_network_that_is_refused_is_told_its_run_failed_and_the_exit_says_so(uri, write, capsys, monkeypatch):
    write("refused", time_ms=1)
    write("good", time_ms=2)
    refusals = iter([DataError("It computes something else.")])
    monkeypatch.setattr(_Delivery, "_register", lambda _: next(refusals, None))
    with pytest.raises(
        ServiceError,
        match=r"^Every finished run must come with its files and .*; 1 of 2 did not: see above why",
    ):
        sync()
    assert capsys.readouterr().out.splitlines() == [
        "run refused (refused): 4 records sent; it is not finished: It computes something else.",
        "run good (good): 4 records sent",
    ]
    [run] = _find(uri, "refused")
    assert (run.info.status, run.data.tags["refused"]) == ("FAILED", "It computes something else.")
    sync()
    assert "every run" in capsys.readouterr().out


def test_a_network_of_unknown_origin_ends_the_command_with_1(uri, root, write):
    """The real refusal of the real registry, by the command as a person calls it."""
    journal = write("unknown", end=None)
    about = {"model": "hscnn_plus", "config": {"blocks": 1}, "pair": "rgb_vis"}
    torch.manual_seed(0)
    network = build("hscnn_plus", in_channels=3, out_channels=31, blocks=1)
    sha256 = keep_weights(network, journal.network)
    journal.append(Weights(**about, parameter_count=1, size_multiple=1, sha256=sha256))
    journal.append(End(FINISHED, "", 3000))
    command = [sys.executable, "-m", "hyperskin.cli", "sync"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "it is not finished: A run must say what it was made from to be registered; it lacks " in done.stdout
    [refusal] = [line for line in done.stderr.splitlines() if line.startswith("hyperskin: ")]
    assert refusal.startswith("hyperskin: Every finished run must come with its files and its network; 1 of 1 did not")
    assert "Traceback" not in done.stderr
    [run] = _find(uri, "unknown")
    assert (run.info.status, run.data.metrics) == ("FAILED", {"loss": 0.1})


# what MLflow had and lost


def test_what_mlflow_lost_is_told_and_brought_when_asked_for(root, uri, write, capsys):
    for number in range(2):
        deliver(write(f"lost-{number}", time_ms=1000 + number), uri)
    lose_runs(root)
    deliver(write("new"), uri)
    for dry_run in (False, True):
        with pytest.raises(ServiceError, match=r"2 of 3 are gone.* `hyperskin sync --lost` brings their numbers"):
            sync(dry_run=dry_run)
    assert _find(uri, "lost-0") == []
    assert capsys.readouterr().out == ""
    sync(lost=True, dry_run=True)
    assert capsys.readouterr().out.splitlines() == [
        "run lost-0 (lost-0): 4 records to send again",
        "run lost-1 (lost-1): 4 records to send again",
    ]
    sync(lost=True)
    assert capsys.readouterr().out.splitlines() == [
        "run lost-0 (lost-0): 4 records sent",
        "run lost-1 (lost-1): 4 records sent",
    ]
    for number in range(2):
        [run] = _find(uri, f"lost-{number}")
        assert (run.info.status, run.data.metrics, run.info.start_time) == ("FINISHED", {"loss": 0.1}, 1000 + number)
    sync()
    assert capsys.readouterr().out == "MLflow has every run that was made here.\n"


def test_a_run_that_a_person_deleted_is_not_lost(uri, write, capsys):
    deliver(write("unwanted"), uri)
    [run] = _find(uri, "unwanted")
    MlflowClient(uri).delete_run(run.info.run_id)
    sync(lost=True)
    assert capsys.readouterr().out == "MLflow has every run that was made here.\n"
    assert _find(uri, "unwanted") == []


def test_nothing_is_claimed_of_a_store_that_cannot_be_asked(root, uri, write, monkeypatch):
    deliver(write("whole"), uri)
    damaged = root / "damaged.db"
    damaged.write_bytes((root / STORE).read_bytes()[: (root / STORE).stat().st_size // 2])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{damaged}")
    for lost in (False, True):
        with pytest.raises(ServiceError, match=r"must be a whole database; .*damaged\.db is damaged \("):
            sync(lost=lost)


def test_a_store_that_is_not_there_has_lost_everything(root, uri, write, monkeypatch):
    deliver(write("whole"), uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'not-there.db'}")
    with pytest.raises(ServiceError, match="1 of 1 are gone"):
        sync()
    assert not (root / "not-there.db").exists()


@pytest.mark.slow
def test_a_server_is_asked_what_it_has(root, uri, write, tmp_path, monkeypatch, capsys):
    server = MlflowServer(tmp_path)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        journal = write("here")
        deliver(journal, prepare_store(root))
        sync()
        assert "every run" in capsys.readouterr().out
        journal.move_cursor(dataclasses.replace(journal.cursor(), run_id="0" * 32))
        with pytest.raises(ServiceError, match="1 of 1 are gone"):
            sync()
    finally:
        server.kill()
