"""A real MLflow server that is killed, stopped and started again under a training, and a database that is locked."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, ViewType

from hyperskin.models.baselines import build
from hyperskin.pairs import find_pair
from hyperskin.tracking import courier
from hyperskin.tracking.answers import answers
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.records import Metrics
from hyperskin.tracking.store import experiment_id, find_finished, prepare_store
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow

EPOCHS = 40
NUMBERS = 8
PAIR = find_pair("rgb_vis")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server that runs, and is what this repository uses."""
    folder = tmp_path / "server"
    folder.mkdir()
    made = MlflowServer(folder)
    made.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    yield made
    made.kill()


@pytest.fixture
def served(server, root, start, monkeypatch):
    """Make runs that are told to the server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert prepare_store(root) == server.uri
    return lambda **fields: start(uri=server.uri, **fields)


def _numbers(epoch):
    return {f"val/{number}": epoch + number / 10 for number in range(NUMBERS)}


def _require_complete(uri, run, scores):
    """Every number is there, once, in order; so is everything else, and no second run."""
    client = MlflowClient(uri)
    for number in range(NUMBERS):
        history = client.get_metric_history(run.run_id, f"val/{number}")
        assert [(each.step, each.value) for each in history] == [
            (epoch, epoch + number / 10) for epoch in range(EPOCHS)
        ]
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics.items() >= scores.items()
    assert [entry.path for entry in client.list_artifacts(run.run_id)] == ["table.json"]
    runs = client.search_runs(
        [experiment_id(uri)], f"tags.unit_key = '{run.provenance.unit_key}'", ViewType.ACTIVE_ONLY
    )
    assert len(runs) == 1


def _train(run, scores, *, trouble):
    """Log a training in which something happens after a third; return the slowest epoch in seconds."""
    slowest = 0.0
    for epoch in range(EPOCHS):
        if epoch == EPOCHS // 3:
            trouble()
        started = time.monotonic()
        run.log_epoch(_numbers(epoch), epoch)
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.05)
    run.log_tables({"table": [{"name": "a", "value": 1.0}]})
    run.log_summary(scores)
    return slowest


def test_a_server_killed_and_started_again_in_mid_training_loses_nothing(server, served, scores, wait_until):
    with served() as run:
        wait_until(lambda: run.run_id)
        slowest = _train(run, scores, trouble=server.kill)
        assert not answers(server.uri)
        server.start()
    assert slowest < 1
    assert run.delivered
    _require_complete(server.uri, run, scores)


def test_a_server_that_is_away_until_after_the_end_gets_it_by_sync(
    server, served, scores, root, provenance, monkeypatch, wait_until
):
    monkeypatch.setattr(courier, "PATIENCE_S", 2.0)
    with served() as run:
        wait_until(lambda: run.run_id)
        _train(run, scores, trouble=server.kill)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    assert not run.delivered
    server.start()
    (root / "params.yaml").touch()
    (root / "dvc.yaml").touch()
    said = subprocess.run(
        [sys.executable, "-m", "hyperskin.cli", "sync"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"({provenance.unit_key})" in said
    assert "records sent" in said
    _require_complete(server.uri, run, scores)


def test_a_server_that_stops_answering_and_answers_late_has_nothing_twice(
    server, served, scores, monkeypatch, wait_until
):
    """What it was sent while it was stopped it does when it goes on, though nobody waits for the answer any longer."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with served() as run:
        slowest = _train(run, scores, trouble=lambda: server.send(signal.SIGSTOP))  # perhaps before there is a run
        time.sleep(3)
        server.send(signal.SIGCONT)
    assert slowest < 1
    assert run.delivered
    _require_complete(server.uri, run, scores)


def test_a_server_stopped_at_the_very_beginning_makes_one_run(server, served, scores, root, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    real = MlflowClient.create_run
    stopped = []

    def create_while_stopped(self, *arguments, **fields):
        if not stopped:
            stopped.append(server.send(signal.SIGSTOP))
        try:
            return real(self, *arguments, **fields)
        finally:
            server.send(signal.SIGCONT)

    monkeypatch.setattr(MlflowClient, "create_run", create_while_stopped)
    with served() as run:
        _train(run, scores, trouble=lambda: None)
    assert stopped
    assert run.delivered
    _require_complete(server.uri, run, scores)


def test_the_same_numbers_sent_twice_to_a_server_are_there_once(server, served, scores, root, provenance):
    with served() as run:
        _train(run, scores, trouble=lambda: None)
    journal = Journal(root, provenance.unit_key)
    batch = [record for _, record in journal.records()]
    client = MlflowClient(server.uri)
    for record in batch:
        if isinstance(record, Metrics) and record.is_epoch:
            again = [Metric(key, value, record.time_ms, record.step) for key, value in record.values.items()]
            client.log_batch(run.run_id, metrics=again)
    _require_complete(server.uri, run, scores)


def test_a_network_is_registered_through_a_server_that_was_away(server, served, scores, root, provenance, monkeypatch):
    monkeypatch.setattr(courier, "PATIENCE_S", 1.0)
    torch.manual_seed(0)
    network = build("hscnn_plus", in_channels=3, out_channels=31, blocks=2)
    about = {"pair": PAIR, "model": "hscnn_plus", "config": {"blocks": 2}, "parameter_count": 868, "size_multiple": 8}
    with served(model="hscnn_plus") as run:
        _train(run, scores, trouble=server.kill)
        run.log_model(network, **about)
    server.start()
    delivered = deliver(Journal(root, provenance.unit_key), server.uri)
    assert (delivered.is_whole, delivered.refusal) == (True, None)
    _require_complete(server.uri, run, scores)
    version = MlflowClient(server.uri).get_model_version_by_alias(PAIR.registered_name, "champion")
    assert version.run_id == run.run_id
    assert json.loads(version.tags["parameter_count"]) == 868


def test_a_database_that_is_locked_is_one_that_is_away(root, uri, start, scores, provenance, monkeypatch, wait_until):
    monkeypatch.setattr(courier, "PATIENCE_S", 1.0)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)) as holder:
        with start() as run:
            wait_until(lambda: run.run_id)
            slowest = _train(run, scores, trouble=lambda: holder.execute("begin exclusive"))
            started = time.monotonic()
        assert time.monotonic() - started < 2
        assert slowest < 1
        assert not run.delivered
        holder.execute("rollback")
    wait_until(lambda: not courier.is_any_at_work(), 30)
    assert deliver(Journal(root, provenance.unit_key), uri).is_whole
    assert set(find_finished(uri, [provenance.unit_key])) == {provenance.unit_key}
    _require_complete(uri, run, scores)
