"""A store is read as it is; a moved repository finds its files again; a server is asked in its own words."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hyperskin.commands.sync import sync
from hyperskin.environment import tracking_uri
from hyperskin.health import models
from hyperskin.health.runs import look
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.journal import FINISHED, Journal
from hyperskin.tracking.records import Begin, End, Metrics
from hyperskin.tracking.store import ARTIFACTS, EXPERIMENT, STORE, STUDIES, SWEEPS, experiment_id, prepare_store
from tests.health.repository import DEAD, MODEL, copy_template, store
from tests.mlflow_server import MlflowServer, lose_runs


def test_a_repository_that_was_really_moved_finds_all_its_files_again(root, tmp_path):
    uri = prepare_store(root)
    client = MlflowClient(uri)
    run = client.create_run(experiment_id(uri))
    client.log_text(run.info.run_id, "a table", "table.csv")
    model = client.create_logged_model(experiment_id(uri), name="model")
    there = tmp_path / "another folder"
    shutil.move(root, there)
    [finding] = look(there)
    assert finding.what.startswith(
        "The files of the experiments hyperskin, hyperskin-sweeps, hyperskin-studies must lie in mlruns/artifacts"
    )
    assert finding.fix is not None
    assert finding.fix() == f"MLflow looks for its files in {there / ARTIFACTS}."
    assert list(look(there)) == []
    client = MlflowClient(tracking_uri(there))
    path = client.download_artifacts(run.info.run_id, "table.csv", str(tmp_path))
    assert Path(path).read_text() == "a table"
    location = client.get_logged_model(model.model_id).artifact_location
    assert location.startswith((there / ARTIFACTS).as_uri())
    assert client.get_experiment("0").artifact_location != location.rpartition("/")[0]
    with store(there) as connection:
        [(said,)] = connection.execute("SELECT count(*) FROM runs WHERE artifact_uri LIKE ?", [f"%{root.name}/mlruns%"])
    assert said == 0


def test_a_store_that_is_not_there_yet_or_empty_is_fine(root):
    path = root / "mlruns" / "mlflow.db"
    path.write_bytes(b"")
    assert list(look(root)) == []
    path.unlink()
    assert list(look(root)) == []


def test_another_program_s_database_is_none_of_mlflow_s(root):
    shutil.copyfile(root / "mlruns" / "ledger.db", root / "mlruns" / "mlflow.db")
    [finding] = look(root)
    assert (finding.severity, finding.what) == (
        "broken",
        "mlruns/mlflow.db must be a store of MLflow's; it is another database.",
    )


def test_a_store_that_lost_runs_is_found_and_its_remedy_brings_their_numbers(root, monkeypatch):
    journal = Journal(root, "whole")
    journal.begin(Begin("a run", {}, {}, [], EXPERIMENT, "", DEAD, 1000))
    journal.append(Metrics(0, 2000, {"loss": 0.1}, is_epoch=True))
    journal.append(End(FINISHED, "", 3000))
    deliver(journal, prepare_store(root))
    assert list(look(root)) == []
    lose_runs(root)
    [finding] = look(root)
    assert (finding.severity, finding.fix) == ("broken", None)
    assert "the runs that were told to it; 1 of 1 are gone" in finding.what
    assert finding.remedy.startswith("hyperskin sync --lost; ")
    monkeypatch.chdir(root)
    sync(lost=True)
    assert list(look(root)) == []


def test_a_store_that_was_taken_away_is_found(root):
    journal = Journal(root, "whole")
    journal.begin(Begin("a run", {}, {}, [], EXPERIMENT, "", DEAD, 1000))
    journal.append(End(FINISHED, "", 3000))
    deliver(journal, prepare_store(root))
    (root / STORE).unlink()
    [finding] = look(root)
    assert "1 of 1 are gone" in finding.what
    assert not (root / STORE).exists()


@pytest.mark.slow
def test_a_server_is_asked_where_files_go_and_which_data_its_champion_knows(template, tmp_path, monkeypatch):
    root = copy_template(template, tmp_path / "repository")
    database = tracking_uri(root)
    server = MlflowServer(tmp_path, database=database)
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        first, *others = look(root)
        assert len(others) == 2
        said = "".join(finding.what for finding in (first, *others))
        assert "experiment hyperskin must go to the MLflow server; they go to file://" in said
        assert "experiments rename --experiment-id" in first.remedy
        assert list(models.look(root)) == []
        MlflowClient(server.uri).set_model_version_tag(MODEL, "1", "manifest", "before")
        [other] = models.look(root)
        assert "champion of rgb_vis (version 1)" in other.what
        for name in ("hyperskin", SWEEPS, STUDIES):  # as the remedy says
            MlflowClient(server.uri).rename_experiment(experiment_id(server.uri, name), f"{name}-before")
        prepare_store(root)
        assert list(look(root)) == []
    finally:
        server.kill()
