"""Whatever MLflow does, a training goes on, its end waits a bounded time, and all of it is kept."""

import dataclasses
import logging
import signal
import subprocess
import sys
import threading
import time

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hyperskin.errors import DataError, ServiceError, VersionError
from hyperskin.ledger import FencedError
from hyperskin.tracking import courier, delivery, post
from hyperskin.tracking.contents import Contents
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.records import End, Metrics
from hyperskin.tracking.store import find_finished

EPOCHS = 5
PATIENCE_S = 0.6
SLACK_S = 2.0  # the machine may be busy


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(courier, "PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(courier, "_FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("hyperskin.tracking.answers._PROBE_S", 0.5)


@pytest.fixture
def journal(root, provenance):
    """The journal of the run that every test here makes."""
    return Journal(root, provenance.unit_key)


@pytest.fixture(params=["dead", "hanging", pytest.param("failing", marks=pytest.mark.slow), "hanging later"])
def away_uri(request):
    """The address of a server that does not answer, in every way that there is."""
    request.getfixturevalue("monkeypatch").setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    if request.param in ("dead", "hanging"):
        return request.getfixturevalue(f"{request.param}_uri")
    answer = request.getfixturevalue("answer")
    return answer(500, health=500) if request.param == "failing" else answer(None)


def _train(run):
    """Log some epochs and return the seconds of the slowest."""
    slowest = 0.0
    for epoch in range(EPOCHS):
        started = time.monotonic()
        run.log_epoch({"val_sam/masked": 1.0 / (epoch + 1)}, epoch)
        slowest = max(slowest, time.monotonic() - started)
    run.log_summary({"sam/masked": 0.1})
    return slowest


def _waited(enter):
    """Return the seconds that the end of a run takes."""
    with enter as run:
        _train(run)
        started = time.monotonic()
    return run, time.monotonic() - started


def test_a_store_that_is_away_costs_a_run_its_patience_and_nothing_else(
    away_uri, uri, start, journal, caplog, wait_until
):
    with start(uri=away_uri) as run:
        assert _train(run) < 0.5
        started = time.monotonic()
    assert time.monotonic() - started < PATIENCE_S + SLACK_S
    assert not run.delivered
    assert run.run_id == ""
    assert courier.say_kept().startswith("MLflow does not have all of the run (")
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) <= 1
    told = [record for _, record in journal.records()]
    assert sum(isinstance(record, Metrics) for record in told) == EPOCHS + 1
    wait_until(lambda: not courier.is_any_at_work())
    delivered = deliver(journal, uri)
    assert (delivered.sent, delivered.left) == (len(told), 0)
    history = MlflowClient(uri).get_metric_history(delivered.run_id, "val_sam/masked")
    assert [(each.step, each.value) for each in history] == [(epoch, 1.0 / (epoch + 1)) for epoch in range(EPOCHS)]
    assert find_finished(uri, [journal.key]) == {journal.key: delivered.run_id}


def test_of_many_runs_only_the_first_waits_long(dead_uri, uri, start, provenance, monkeypatch):
    monkeypatch.setattr(courier, "_KNOWN_PATIENCE_S", 0.1)

    def wait(address, key):
        return _waited(start(uri=address, provenance=dataclasses.replace(provenance, unit_key=key)))

    MlflowClient(uri).search_runs(["0"])  # what a first question takes to load is no part of this
    assert wait(dead_uri, "one")[1] > PATIENCE_S
    assert wait(dead_uri, "two")[1] < PATIENCE_S
    assert wait(uri, "three")[0].delivered, "it is waited for as soon as it is heard of"
    assert wait(dead_uri, "four")[1] > PATIENCE_S


@pytest.mark.parametrize("kind", ["dead", "hanging"])
def test_a_store_that_was_away_before_the_run_is_asked_once_more_and_not_told_of_again(
    kind, start, monkeypatch, caplog, request
):
    monkeypatch.setattr(courier, "PATIENCE_S", 60.0)
    monkeypatch.setattr(courier, "_KNOWN_PATIENCE_S", 0.5 if kind == "hanging" else 60.0)
    courier.note_away(0.1)
    run, seconds = _waited(start(uri=request.getfixturevalue(f"{kind}_uri")))
    assert not run.delivered
    assert seconds < 0.5 + SLACK_S
    assert caplog.records == []


def test_what_was_waited_before_the_run_counts(hanging_uri, start, monkeypatch):
    monkeypatch.setattr(courier, "PATIENCE_S", 60.0)
    courier.note_away(59.5)
    courier._Silence().answered()  # it was there in between
    assert not courier.is_known_away()
    assert _waited(start(uri=hanging_uri))[1] < 0.5 + SLACK_S


def test_a_store_that_has_been_away_for_longer_than_the_patience_is_not_waited_for_at_the_end(
    dead_uri, start, monkeypatch, wait_until
):
    monkeypatch.setattr(courier, "PATIENCE_S", 1.0)
    with start(uri=dead_uri) as run:
        _train(run)
        wait_until(courier.is_known_away)
        started = time.monotonic()
    assert time.monotonic() - started < 0.5


def test_what_is_kept_is_said_of_all_runs_at_once_and_no_longer_when_it_came(dead_uri, uri, start, root, provenance):
    def key(number):
        return dataclasses.replace(provenance, unit_key=f"unit-{number}")

    for number in (1, 2):
        with start(uri=dead_uri, provenance=key(number)):
            pass
    why, what_to_do = "it did not answer in time", "run `hyperskin sync` when it answers"
    place = root / "mlruns/journal"
    both = f"MLflow does not have all of 2 runs ({why}); everything is in {place}: {what_to_do}"
    assert courier.say_kept() == both
    deliver(Journal(root, "unit-1"), uri)
    assert courier.say_kept() == both.replace("2 runs", "the run").replace(f"{place}", f"{place}/unit-2")
    deliver(Journal(root, "unit-2"), uri)
    assert courier.say_kept() == ""


def test_whoever_stopped_it_waits_less(hanging_uri, start, monkeypatch):
    monkeypatch.setattr(courier, "PATIENCE_S", 30.0)
    monkeypatch.setattr("hyperskin.tracking.runs._STOPPED_PATIENCE_S", 0.3)
    with pytest.raises(KeyboardInterrupt), start(uri=hanging_uri) as run:  # noqa: PT012 - it is stopped in the middle
        _train(run)
        started = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - started < 0.3 + SLACK_S


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_end_ends_the_waiting_of_a_good_end_at_once(tmp_path, provenance, hanging_uri, number):
    code = (
        "import sys\nfrom pathlib import Path\nfrom hyperskin.processes import stop_on_signals\n"
        "from hyperskin.tracking import courier\nfrom hyperskin.tracking.runs import Provenance, RunLog\n"
        "about = dict(model='m', pair='p', params={}, data_name='d', root=Path('.'))\n"
        f"provenance = Provenance(**{dataclasses.asdict(provenance)})\n"
        "with stop_on_signals() as stopping:\n"
        f"    with RunLog('{hanging_uri}', provenance=provenance, should_stop=stopping.is_set, **about) as run:\n"
        "        run.log_epoch({'loss': 0.1}, 0)\n"
        "        print('ending', flush=True)\n"
        "    print(run.delivered, stopping.is_set(), bool(courier.say_kept()), flush=True)\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, **pipes) as process:
        assert process.stdout.readline() == "ending\n"
        time.sleep(1.0)
        assert process.poll() is None, "it waits"
        started = time.monotonic()
        process.send_signal(number)
        said, complained = process.communicate(timeout=60)
        took_s = time.monotonic() - started
    assert (said, process.returncode) == ("False True True\n", 0)
    assert "without an orderly end" not in complained
    assert took_s < 0.5 + 1.0  # of which a second is the machine's
    history = Journal(tmp_path, provenance.unit_key).history()
    assert (history.end.status, history.epochs) == ("FINISHED", {0})


def test_an_answer_that_is_on_its_way_is_waited_for_by_whoever_is_to_end(uri, start, monkeypatch):
    """A store on this machine takes moments, and has the run whole although somebody wants to end."""
    monkeypatch.setattr(courier, "PATIENCE_S", 30.0)
    monkeypatch.setattr(courier, "_LAST_MOMENTS_S", 20.0)
    with start(should_stop=lambda: True) as run:
        _train(run)
    assert run.delivered


def test_answers_cost_no_patience(uri, start, monkeypatch):
    real = MlflowClient.log_artifact

    def log_slowly(*arguments):
        time.sleep(0.4 * PATIENCE_S)
        real(*arguments)

    monkeypatch.setattr(MlflowClient, "log_artifact", log_slowly)
    with start() as run:
        for number in range(6):
            run.log_tables({f"table-{number}": [{"name": "a"}]})
        started = time.monotonic()
    assert run.delivered
    assert time.monotonic() - started > PATIENCE_S


def test_answers_between_failures_do_not_give_the_patience_back(uri, start, monkeypatch):
    real, told = MlflowClient.log_artifact, []

    def log_now_and_then(*arguments):
        told.append(arguments)
        if len(told) % 2:
            time.sleep(0.3)
            raise ConnectionError("refused")
        real(*arguments)

    monkeypatch.setattr(MlflowClient, "log_artifact", log_now_and_then)
    with start() as run:
        for number in range(20):
            run.log_tables({f"table-{number}": [{"name": "a"}]})
        started = time.monotonic()
    assert not run.delivered
    assert time.monotonic() - started < 2 * PATIENCE_S + SLACK_S


@pytest.mark.parametrize("is_at_home", [True, False])
def test_making_a_file_of_a_network_costs_no_patience_while_the_store_is_at_home(uri, start, monkeypatch, is_at_home):
    def make(self):
        self._post.listener.computing(is_on=True)
        time.sleep(2 * PATIENCE_S)
        self._post.listener.computing(is_on=False)

    monkeypatch.setattr(delivery._Delivery, "_register", make)
    monkeypatch.setattr(courier, "answers", lambda _: is_at_home)
    run, seconds = _waited(start())
    assert run.delivered == is_at_home
    assert (seconds > 2 * PATIENCE_S) == is_at_home


def test_a_store_that_comes_back_gets_everything_in_order(uri, start, monkeypatch, caplog, wait_until):
    caplog.set_level(logging.INFO)
    real, is_away = post.answers, threading.Event()
    monkeypatch.setattr(post, "answers", lambda address: real(address) and not is_away.is_set())
    with start() as run:
        run.log_epoch({"loss": 0.0}, 0)
        wait_until(lambda: run.run_id)
        is_away.set()
        for epoch in range(1, 4):
            run.log_epoch({"loss": epoch / 10}, epoch)
        wait_until(lambda: "for now: MLflow at" in caplog.text)
        is_away.clear()
        wait_until(lambda: "more records of the run" in caplog.text)
    assert run.delivered
    history = MlflowClient(uri).get_metric_history(run.run_id, "loss")
    assert [each.step for each in history] == [0, 1, 2, 3]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_killed_attempt_is_continued_and_no_epoch_is_told_twice(uri, start, hanging_uri, provenance):
    with pytest.raises(KeyboardInterrupt), start() as first:  # noqa: PT012 - it is stopped in the middle
        first.log_epoch({"loss": 0.0}, 0)
        first.log_epoch({"loss": 0.1}, 1)
        raise KeyboardInterrupt
    with start() as second:
        for epoch in range(4):  # a restored training tells all of its history
            second.log_epoch({"loss": epoch / 10}, epoch)
        second.log_summary({"sam/masked": 0.1})
        second.log_summary({"sam/masked": 0.1})
    assert second.run_id == first.run_id
    client = MlflowClient(uri)
    assert [each.step for each in client.get_metric_history(second.run_id, "loss")] == [0, 1, 2, 3]
    assert len(client.get_metric_history(second.run_id, "sam/masked")) == 1


def test_a_run_that_others_have_is_not_ended_here(start, journal):
    with pytest.raises(FencedError), start() as run:  # noqa: PT012 - it is stopped in the middle
        _train(run)
        raise FencedError("another attempt has it")
    assert journal.history().end is None
    assert not any(isinstance(record, End) for _, record in journal.records())


def test_a_run_that_mlflow_refuses_stops_the_training(uri, start, provenance, monkeypatch, wait_until):
    def refuse(*_, **fields):
        if fields.get("params"):
            raise MlflowException.invalid_parameter_value("Changing param values is not allowed. Param with key='seed'")

    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    with pytest.raises(VersionError, match="its own parameters"), start() as run:  # noqa: PT012 - it is refused later
        wait_until(lambda: run._courier.refusal)
        run.log_epoch({"loss": 0.1}, 0)


def test_a_run_that_mlflow_refuses_at_its_end_is_not_finished(uri, start, monkeypatch):
    monkeypatch.setattr(delivery._Delivery, "_register", lambda _: DataError("it computes something else"))
    with pytest.raises(DataError, match="something else"), start() as run:
        _train(run)
    assert MlflowClient(uri).get_run(run.run_id).info.status == "FAILED"


def test_an_error_of_our_own_ends_neither_the_run_nor_the_thread(uri, start, journal, monkeypatch, caplog):
    with monkeypatch.context() as broken:
        broken.setattr(Contents, "flush", lambda _: 1 // 0)
        run, seconds = _waited(start())
    assert not run.delivered
    assert seconds < PATIENCE_S + SLACK_S
    assert "ZeroDivisionError" in caplog.text
    assert deliver(journal, uri).is_whole


def test_a_run_that_a_person_deletes_is_told_once_and_not_waited_for(uri, start, monkeypatch, caplog, wait_until):
    monkeypatch.setattr(courier, "PATIENCE_S", 30.0)
    with start() as run:
        run.log_epoch({"loss": 0.1}, 0)
        wait_until(lambda: run.run_id and MlflowClient(uri).get_run(run.run_id).data.metrics)
        MlflowClient(uri).delete_run(run.run_id)
        for epoch in range(1, 4):
            run.log_epoch({"loss": 0.1}, epoch)
            wait_until(lambda: "a person deleted" in caplog.text)
        started = time.monotonic()
    assert time.monotonic() - started < SLACK_S
    assert not run.delivered
    assert len([record for record in caplog.records if "a person deleted" in record.getMessage()]) == 1


def test_a_full_disk_stops_the_training_in_one_sentence(uri, start, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    with pytest.raises(ServiceError, match="No space left"), start() as run:  # noqa: PT012 - the disk fills later
        run.log_epoch({"loss": 0.1}, 0)
        monkeypatch.setattr("hyperskin.tracking.journal._append", refuse)
        run.log_epoch({"loss": 0.1}, 1)


def test_beginning_needs_neither_mlflow_nor_torch(tmp_path, provenance):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom hyperskin.tracking.runs import Provenance, RunLog\n"
        f"run = RunLog('http://127.0.0.1:1', model='m', pair='p', params={{}}, data_name='d', root=Path('.'),\n"
        f"    provenance=Provenance(**{dataclasses.asdict(provenance)}))\n"
        "run.__enter__()\nrun.log_epoch({'loss': 0.1}, 0)\ntime.sleep(0.5)\n"
        "print(sorted({'mlflow', 'torch'} & set(sys.modules)))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


@pytest.mark.parametrize("health", [200, pytest.param(None, marks=pytest.mark.slow)], ids=["hanging later", "hanging"])
def test_a_process_ends_although_a_server_never_answers(tmp_path, provenance, answer, health):
    code = (
        "import mlflow, time\nfrom pathlib import Path\nfrom hyperskin.tracking import courier\n"
        "from hyperskin.tracking.runs import Provenance, RunLog\ncourier.PATIENCE_S = 1.0\n"
        f"about = dict(model='m', pair='p', params={{}}, data_name='d', root=Path('.'))\n"
        f"provenance = Provenance(**{dataclasses.asdict(provenance)})\n"
        f"with RunLog('{answer(None, health=health)}', provenance=provenance, **about) as run:\n"
        "    run.log_epoch({'loss': 0.1}, 0)\n    time.sleep(0.5)\n"
        "print(time.time(), run.delivered)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    ended, delivered = child.stdout.split()
    assert delivered == "False"
    assert time.time() - float(ended) < 3
