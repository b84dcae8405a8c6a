"""Six real trainings on two workers, one killed in the middle: PostgreSQL, an MLflow server, and nothing lost."""

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

sys.path.insert(0, str(Path(__file__).parent.parent / "steps"))
from conftest import Project, make_project

from hyperskin.training.checkpoint import load_checkpoint
from tests.flows.served import free_port, read_run, running_up, start_run, wait_for
from tests.mlflow_server import MlflowServer
from tests.postgres import Server

pytestmark = pytest.mark.slow

MODELS = ["hscnn_plus", "hrnet", "mst_plus_plus"]
PAIRS = ["rgb_vis", "msi_nir"]
EPOCHS = 6
SHORT = {
    "  seconds: 75": "  seconds: null",
    "  epochs: null": f"  epochs: {EPOCHS}",
    "steps_per_epoch: 100": "steps_per_epoch: 25",
    "width: 8": "width: 4",
    "stale_s: 120": "stale_s: 20",
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Four small people, and trainings of seconds that end with their epochs and not with the clock."""
    for name in ("HYPERSKIN_DATABASE", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    project = make_project(tmp_path / "fleet")
    shutil.copy(Path(__file__).parent.parent.parent / "prefect.yaml", project.root)
    project.run("hyperskin", "init", "--subjects", "4", "--captures", "neutral_front", "--size", "32", "--overwrite")
    for old, new in SHORT.items():
        project.edit(old, new)
    project.repro()
    return project


@pytest.fixture
def undisturbed(repository: Project) -> Project:
    """The same six trainings, one after the other, with no server and nobody who kills."""
    alone = Project(repository.root.parent / "alone", repository.scenes, repository.masks)
    shutil.copytree(repository.root, alone.root, symlinks=True)
    for pair in PAIRS:
        for model in MODELS:
            alone.run("hyperskin", "train", "--model", model, "--pair", pair)
    return alone


@pytest.fixture
def environment(repository: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "PATH": path,
        "HOME": str(repository.root.parent),
        "PYTHONPATH": str(repository.root),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def test_a_worker_killed_in_mid_training_costs_nothing(
    repository: Project,
    undisturbed: Project,
    environment: dict[str, str],
    postgres_server: Server,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = repository.root.parent / "mlflow"
    folder.mkdir()
    mlflow = MlflowServer(folder, database=postgres_server.new_database())
    mlflow.start()
    environment |= {
        "MLFLOW_TRACKING_URI": mlflow.uri,
        "HYPERSKIN_DATABASE": postgres_server.new_database(),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres_server.new_database(driver="postgresql+asyncpg"),
    }
    repository.edit("training: here ", "training: workers ")
    port = free_port()
    try:
        with running_up(repository, environment, port, ready="hyperskin up --join") as up:
            run_id = start_run(repository, environment, "train-all", models=MODELS)
            victim = wait_for(lambda: in_mid_training(repository.root, up.process.pid), 300)
            began_again = kill_machine(victim)
            wait_for(
                lambda: read_run(repository, port, run_id)["state_type"] in ("COMPLETED", "FAILED", "CRASHED"), 900
            )
            run = read_run(repository, port, run_id)
            up.end()
        assert run["state_type"] == "COMPLETED", run["state"]["message"]
        report = compare_with_undisturbed(repository.root, undisturbed.root, mlflow.uri)
    finally:
        mlflow.kill()
    with capsys.disabled():
        sys.stdout.write(f"\nkilled in mid-training: {began_again}; {report}\n")
    assert report == {"units": 6, "trained twice": 0, "results lost": 0, "weights that differ": 0}


def in_mid_training(root: Path, up: int) -> psutil.Process | None:
    """Return a worker of which a training has two epochs behind it and some before it."""
    for path in (root / "mlruns" / "journal").glob("*/records.jsonl"):
        if 2 <= len(epochs_of(path)) <= EPOCHS - 3:
            for process in psutil.Process(up).children(recursive=True):
                words = process.cmdline()
                if path.parent.name in words and "hyperskin.cli" in words:
                    return next(one for one in process.parents() if "--pool" in one.cmdline())
    return None


def kill_machine(worker: psutil.Process) -> str:
    """Let a worker and all that it started lose their power; return who that was."""
    name = worker.cmdline()[worker.cmdline().index("--name") + 1]
    tree = [worker, *worker.children(recursive=True)]
    assert any("hyperskin.cli" in process.cmdline() for process in tree)
    for process in tree:
        process.kill()
    return f"{name} and {len(tree) - 1} processes below it"


def epochs_of(journal: Path) -> list[int]:
    """Return the epochs that a journal has written down, torn lines left out."""
    lines = journal.read_text().splitlines(keepends=True)
    records = [json.loads(line)["record"] for line in lines if line.endswith("\n")]
    return [record["step"] for record in records if record["kind"] == "metrics" and record.get("is_epoch")]


def compare_with_undisturbed(root: Path, alone: Path, uri: str) -> dict[str, int]:
    """Count what six disturbed trainings did twice, lost, or came to differently."""
    client = MlflowClient(uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    runs = [one for one in runs if one.data.params.get("model") in MODELS]
    local = MlflowClient(f"sqlite:///{alone}/mlruns/mlflow.db")
    expected = {
        one.data.tags["unit_key"]: one
        for one in local.search_runs([one.experiment_id for one in local.search_experiments()])
    }
    assert len(expected) == 6
    keys = Counter(one.data.tags["unit_key"] for one in runs)
    twice = sum(count - 1 for count in keys.values())
    twice += sum(
        len(epochs) - len(set(epochs))
        for epochs in map(epochs_of, (root / "mlruns" / "journal").glob("*/records.jsonl"))
    )
    lost = sum(not is_whole(client, one, expected[one.data.tags["unit_key"]], local) for one in runs)
    return {
        "units": len(keys),
        "trained twice": twice,
        "results lost": lost + len(expected.keys() - keys.keys()),
        "weights that differ": sum(not same_weights(root, alone, key) for key in expected),
    }


def is_whole(client: MlflowClient, run: Run, expected: Run, local: MlflowClient) -> bool:
    """Tell whether a run ended well with every epoch's numbers and scores of the undisturbed one, each once."""
    names = expected.data.metrics.keys() - {"cost/training_s", "train/crops_per_s", "train/seconds"}  # the clock's
    assert "sam/masked" in names
    assert "val_sam/masked" in names
    return run.info.status == "FINISHED" and all(
        history(client, run, name) == history(local, expected, name) for name in names
    )


def history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    """Return every step's number, in order; a step that came twice is there twice."""
    return sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, name))


def same_weights(root: Path, alone: Path, key: str) -> bool:
    """Tell whether the last checkpoints of a unit hold the same network, bit for bit."""
    networks = []
    for folder in (root, alone):
        checkpoint = load_checkpoint(folder / "mlruns" / "checkpoints" / key / "last.pt", unit_key=key)
        assert checkpoint is not None
        networks.append(checkpoint.network)
    one, other = networks
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
