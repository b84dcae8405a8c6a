"""The store is made once, wherever it is named, and what is finished in it is known without loading MLflow."""

import dataclasses
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from mlflow import MlflowClient

from hyperskin.errors import MissingFileError, ServiceError
from hyperskin.tracking import store
from hyperskin.tracking.answers import ask
from hyperskin.tracking.store import (
    EXPERIMENT,
    STORE,
    STUDIES,
    SWEEPS,
    experiment_id,
    find_finished,
    mark_killed,
    prepare_store,
    require_experiments,
    running,
    store_address,
)


def test_store_is_made_once_and_linked_to_the_name_a_bare_mlflow_ui_opens(root, uri):
    before = (root / STORE).stat().st_mtime_ns
    assert prepare_store(root) == uri == f"sqlite:///{root / STORE}"
    assert (root / STORE).stat().st_mtime_ns == before
    assert (root / "mlflow.db").resolve() == root / STORE


@pytest.mark.parametrize("name", [EXPERIMENT, SWEEPS, STUDIES])
def test_experiment_keeps_its_artefacts_below_the_root_and_opens_on_model_training(root, uri, name):
    experiment = MlflowClient(uri).get_experiment_by_name(name)
    assert experiment.artifact_location == (root / "mlruns" / "artifacts").as_uri()
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_store_of_an_older_version_gets_the_experiment_of_searches(root, uri):
    with closing(sqlite3.connect(root / STORE)) as database:
        database.execute("delete from experiment_tags where experiment_id = ?", [experiment_id(uri, SWEEPS)])
        database.execute("delete from experiments where name = ?", [SWEEPS])
        database.commit()
    prepare_store(root)
    assert MlflowClient(uri).get_experiment_by_name(SWEEPS).tags["mlflow.experimentKind"] == "custom_model_development"


def test_experiments_that_another_host_creates_at_the_same_moment_are_used(root, uri, monkeypatch):
    client = MlflowClient(uri)
    client.rename_experiment(experiment_id(uri), "other")
    real, told = MlflowClient.get_experiment_by_name, []

    def get(self, name):
        told.append(name)
        if told.count(EXPERIMENT) == 1 and name == EXPERIMENT:  # it was not there; by the time we create it, it is
            client.create_experiment(EXPERIMENT)
            return None
        return real(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", get)
    require_experiments(uri, root)
    assert told.count(EXPERIMENT) == 2


def test_server_named_by_the_environment_is_used_and_nothing_local_is_made(root, tmp_path, monkeypatch):
    other = f"sqlite:///{root / STORE}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    elsewhere = tmp_path / "elsewhere"
    assert prepare_store(elsewhere) == other
    assert not (elsewhere / STORE).exists()
    assert not (elsewhere / "mlflow.db").exists()


def test_relative_address_in_the_environment_is_the_local_store(root, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{STORE}")
    assert prepare_store(root) == uri


def test_file_that_has_the_default_name_already_is_left_alone(root):
    (root / "mlflow.db").write_text("mine")
    prepare_store(root)
    assert (root / "mlflow.db").read_text() == "mine"


@pytest.mark.slow
def test_many_processes_may_prepare_one_fresh_store(tmp_path):
    code = "import sys, pathlib; from hyperskin.tracking.store import prepare_store; prepare_store(pathlib.Path('.'))"
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with closing(sqlite3.connect(tmp_path / STORE)) as database:
        assert database.execute("select count(*) from experiments where name = 'hyperskin'").fetchone() == (1,)


def test_store_without_our_experiment_is_named(root, uri):
    client = MlflowClient(uri)
    client.rename_experiment(experiment_id(uri), "other")
    with pytest.raises(MissingFileError, match="hyperskin prepare"):
        experiment_id(uri)


# what is finished


@pytest.fixture(params=["tables", "client"])
def asked(request, monkeypatch):
    """Ask the tables themselves, and MLflow's client where they cannot be read."""
    if request.param == "client":
        monkeypatch.setattr(store, "_FINISHED", "SELECT * FROM tables_of_another_version WHERE name = ?")


@pytest.mark.usefixtures("asked")
def test_finished_units_are_found_by_their_keys_alone(uri, start, finish, provenance):
    assert find_finished(uri, ["one", "two"]) == {}
    one = finish(provenance=dataclasses.replace(provenance, unit_key="one"))
    finish(provenance=dataclasses.replace(provenance, unit_key="other"))
    with pytest.raises(KeyboardInterrupt), start(provenance=dataclasses.replace(provenance, unit_key="two")):
        raise KeyboardInterrupt
    assert find_finished(uri, ["one", "two"]) == {"one": one}
    assert find_finished(uri, []) == {}


@pytest.mark.usefixtures("asked")
def test_the_newest_finished_run_of_a_unit_is_the_one(uri, finish, provenance):
    first = finish(provenance=provenance)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database:
        database.execute("update runs set start_time = start_time - 1000 where run_uuid = ?", [first])
        database.commit()
    second = finish(provenance=provenance)
    assert find_finished(uri, [provenance.unit_key]) == {provenance.unit_key: second}


@pytest.mark.usefixtures("asked")
def test_a_deleted_run_is_not_finished(uri, finish, provenance):
    MlflowClient(uri).delete_run(finish(provenance=provenance))
    assert find_finished(uri, [provenance.unit_key]) == {}


def test_where_there_is_no_store_nothing_is_finished_and_none_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert find_finished(store_address(tmp_path), ["one"]) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_there_is_read_without_loading_mlflow(root, uri, finish, provenance):
    run_id = finish()
    code = (
        "import sys; from pathlib import Path; from hyperskin.tracking.store import find_finished, prepare_store;"
        f"print(find_finished(prepare_store(Path('.')), ['{provenance.unit_key}']));"
        "print(sorted({'mlflow', 'torch'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [str({provenance.unit_key: run_id}), "[]"]


# what is away


@pytest.mark.parametrize("way", ["dead", "hanging", "failing", "hanging later"])
def test_a_server_that_is_away_is_given_up_within_seconds_in_one_sentence(request, root, monkeypatch, answer, way):
    addresses = {"failing": lambda: answer(500, health=500), "hanging later": lambda: answer(None)}
    address = addresses[way]() if way in addresses else request.getfixturevalue(f"{way}_uri")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setitem(ask.__kwdefaults__, "patience_s", 0.5)
    monkeypatch.setattr("hyperskin.tracking.answers._PROBE_S", 0.5)
    questions = (
        lambda: prepare_store(root),
        lambda: find_finished(address, ["one", "two"]),
        lambda: running(address),
        lambda: mark_killed(address, "run"),
    )
    for question in questions:
        started = time.monotonic()
        with pytest.raises(ServiceError, match=f"^MLflow at {address} must answer; .*: see whether it runs.$"):
            question()
        assert time.monotonic() - started < 5


def test_no_server_is_loaded_for_in_vain(dead_uri, tmp_path):
    code = (
        "import sys; from hyperskin.tracking.store import find_finished\n"
        f"try:\n    find_finished('{dead_uri}', ['one'])\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "print('mlflow' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["ServiceError", "False"]


# what runs


@pytest.fixture(params=["tables", "client"])
def looked(request, monkeypatch):
    """Look in the tables themselves, and ask MLflow's client where they cannot be read."""
    if request.param == "client":
        monkeypatch.setattr(store, "_RUNNING", "SELECT * FROM tables_of_another_version WHERE name IN (?, ?)")


@pytest.mark.usefixtures("looked")
def test_what_runs_is_found_with_its_process_until_it_is_marked(uri, finish, provenance):
    assert running(uri) == []
    finish()
    client = MlflowClient(uri)
    one = client.create_run(experiment_id(uri), tags={"process": "host:1:2", "unit_key": "one"}).info.run_id
    two = client.create_run(experiment_id(uri, SWEEPS)).info.run_id
    client.delete_run(client.create_run(experiment_id(uri)).info.run_id)
    found = {run.run_id: (run.process, run.unit_key) for run in running(uri)}
    assert found == {one: ("host:1:2", "one"), two: ("", "")}
    mark_killed(uri, one)
    assert [run.run_id for run in running(uri)] == [two]
    run = client.get_run(one)
    assert (run.info.status, run.data.tags["ended_by"]) == ("KILLED", "its process was gone")


def test_a_file_without_mlflows_tables_has_no_running_run_and_gets_none(tmp_path):
    empty = tmp_path / "mlflow.db"
    empty.touch()
    assert running(f"sqlite:///{empty}") == []
    assert empty.stat().st_size == 0


def test_where_there_is_no_store_nothing_runs(tmp_path):
    assert running(f"sqlite:///{tmp_path}/mlflow.db") == []
    assert list(tmp_path.iterdir()) == []
