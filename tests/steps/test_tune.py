"""A search through the command line on toy scenes: its trials, their runs, kills and stops; and what it is named by."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest, write_manifest
from hyperskin.errors import DataError, HyperSkinError
from hyperskin.params import Params
from hyperskin.steps.search import Plan, plans
from hyperskin.steps.tune import tune
from hyperskin.steps.tuned import write_profile
from hyperskin.tracking.journal import find_journals
from hyperskin.tuning.storage import study_names
from hyperskin.tuning.study import Search

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Project

SMALL = {
    "hscnn_plus: {blocks: 3, learning_rate: 1e-3}": "hscnn_plus: {blocks: 1}",
    "steps_per_epoch: 100": "steps_per_epoch: 2",
    "crop_px: 32": "crop_px: 16",
    "epochs: null                            # of one trial": "epochs: 2  # of one trial",
    "seconds: 15                             # of one trial": "seconds: null  # of one trial",
}
TUNE = ("hyperskin", "tune", "--model", "hscnn_plus", "--pair", "rgb_vis", "--trials")


def make_manifest(*contents: str) -> Manifest:
    """Write the manifest of three captures that hold `contents` into data below this folder."""
    entries = []
    for number, (split, content) in enumerate(zip(("train", "valid", "test"), contents, strict=True), start=1):
        capture, file = CaptureId.parse(f"p00{number}_smile_left"), FileEntry("file", 3, content)
        hashes = {"vis": content, "valid": content}
        entries.append(CaptureEntry(capture, split, file, file, None, (24, 32), hashes, {}))
    write_manifest(Path("data/manifest.json"), source="cave", settings={}, captures=entries)
    return Manifest.read(Path("data/manifest.json"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and a manifest, and no file that it names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYPERSKIN_DATABASE", raising=False)
    Path("params.yaml").write_text(shipped_params())
    make_manifest("a", "b", "c")
    return tmp_path


def plan_of(text: str, manifest: Manifest, model: str = "hrnet") -> Plan:
    return Plan.of(model, "rgb_vis", Params.parse_text(text, "params.yaml"), manifest)


def test_what_makes_values_comparable_names_the_search_and_nothing_else_does(folder: Path) -> None:
    manifest, text = Manifest.read(Path("data/manifest.json")), shipped_params()
    name = plan_of(text, manifest).name
    assert name.startswith("hrnet-rgb_vis-")
    changes = {
        "crop_px: 32": "crop_px: 24",
        "hrnet: {width: 8}": "hrnet: {width: 16}",
        "seconds: 15 ": "seconds: 16 ",
        "final_learning_rate: 1e-6": "final_learning_rate: 2e-4",  # the rates may not fall below it
    }
    others = [plan_of(text.replace(old, new), manifest).name for old, new in changes.items()]
    others += [plan_of(text, make_manifest("x", "b", "c")).name, plan_of(text, manifest, "mst_plus_plus").name]
    assert len({name, *others}) == 1 + len(others)
    same = {
        "trials: 8": "trials: 9", "pruner: median": "pruner: none", "  workers: 2 ": "  workers: 3 ",
        "batch_size: 2": "batch_size: 4", "loss: l1 ": "loss: mrae ", "seconds: 75": "seconds: 100",
        "hscnn_plus: {blocks: 3": "hscnn_plus: {blocks: 9",
    }  # fmt: skip
    for old, new in same.items():
        assert old in text
        assert plan_of(text.replace(old, new), manifest).name == name, new


def test_a_trial_is_a_unit_of_its_own_and_the_same_whoever_tries_it_again(folder: Path) -> None:
    text = shipped_params().replace("seconds: 15 ", "seconds: 75 ")  # as long as a training
    plan = plan_of(text, Manifest.read(Path("data/manifest.json")))
    recipe = {"learning_rate": 2e-3, "batch_size": 2, "loss": "l1"}
    first = plan.trial_unit(0, recipe)
    assert first == plan.trial_unit(0, recipe)
    assert len({plan.unit.key, first.key, plan.trial_unit(1, recipe).key}) == 3
    assert first.recipe["seconds"] == 75
    assert first.facts()["study"] == plan.name


def test_every_network_and_pair_of_params_is_a_search(folder: Path) -> None:
    found = plans(Params.read("params.yaml"), Manifest.read(Path("data/manifest.json")))
    assert [(plan.unit.model, plan.unit.pair.name) for plan in found] == [
        (model, pair) for model in ("hscnn_plus", "hrnet", "mst_plus_plus", "basal") for pair in ("rgb_vis", "msi_nir")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"model": "regression_mean"},
            "a network with a space to search, hscnn_plus, hrnet, mst_plus_plus, basal; got",
        ),
        ({"model": "unet"}, "`model` must be one of regression_mean"),
        ({"pair": "msi_nir"}, "needs the cubes nir"),
        ({"trials": 0}, "`trials` must be at least 1; got 0"),
        ({"expect": "hrnet-rgb_vis-0123456789"}, "must be here what they were .* instead of hrnet-rgb_vis-0123456789"),
        ({"params_file": Path("params.tuned.yaml")}, "must start from params.yaml, not from what it writes"),
        ({}, "data/file must be there, as the manifest says"),
    ],
)
def test_a_slip_ends_in_one_sentence(folder: Path, words: dict[str, object], message: str) -> None:
    with pytest.raises(HyperSkinError, match=message):
        tune(**({"model": "hrnet", "pair": "rgb_vis"} | words))


def test_whoever_asks_it_to_end_before_a_search_has_begun_ends_it_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception may be swallowed by what is being loaded."""
    heard: list[object] = []

    def listen(_: Manifest) -> None:
        heard.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        raise DataError("That must be enough; it is.")

    monkeypatch.setattr(Manifest, "check_files", listen)
    with pytest.raises(DataError, match="enough"):
        tune(model="hrnet", pair="rgb_vis")
    assert heard == [signal.SIG_DFL] * 3
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def fill(plan: Plan, gain: float, *, conclude: bool = True) -> Search:
    """Make two trials, of which the second is better by `gain`."""
    search = plan.open(Path())
    search.choose(pruner="none", total=2, seed=1, worker=0)
    search.run(2, lambda trial: 0.2 - gain * trial.number, should_stop=lambda: False, on_told=lambda trial: None)
    if conclude:
        search.conclude()
    return search


def test_the_profile_holds_the_recipes_of_searches_at_their_end_that_beat_those_of_params(folder: Path) -> None:
    params, manifest = Params.read("params.yaml"), Manifest.read(Path("data/manifest.json"))
    found = {(plan.unit.model, plan.unit.pair.name): plan for plan in plans(params, manifest)}
    better = fill(found["hrnet", "rgb_vis"], 0.1)
    fill(found["hrnet", "msi_nir"], 0.0)
    fill(found["mst_plus_plus", "rgb_vis"], 0.1, conclude=False)

    path = write_profile(folder, Path("params.yaml"), params, manifest)

    assert path == Path("params.tuned.yaml")
    own = {name: network.by_pair for name, network in Params.read(path).train.models.items()}
    assert {name: list(by_pair) for name, by_pair in own.items()} == {
        "hscnn_plus": [], "hrnet": ["rgb_vis"], "mst_plus_plus": [], "basal": [],
    }  # fmt: skip
    best = better.best()
    assert best is not None
    assert Params.read(path).train.models["hrnet"].own_recipe("rgb_vis") == best.recipe
    header, _, rest = path.read_text().partition("\n\n")
    assert header.startswith("# Written by `hyperskin tune` from params.yaml")
    assert [line for line in rest.splitlines() if "by_pair" not in line] == [
        line for line in shipped_params().splitlines() if "hrnet: {" not in line
    ]


def test_the_profile_says_what_the_present_data_say(folder: Path) -> None:
    params, manifest = Params.read("params.yaml"), Manifest.read(Path("data/manifest.json"))
    fill(Plan.of("hrnet", "rgb_vis", params, manifest), 0.1)
    assert "by_pair: {rgb_vis" in write_profile(folder, Path("params.yaml"), params, manifest).read_text()
    other = make_manifest("x", "b", "c")
    assert "by_pair: {rgb_vis" not in write_profile(folder, Path("params.yaml"), params, other).read_text()


def test_a_profile_that_is_right_is_left_alone(folder: Path) -> None:
    params, manifest = Params.read("params.yaml"), Manifest.read(Path("data/manifest.json"))
    path = write_profile(folder, Path("params.yaml"), params, manifest)
    before = path.stat().st_ino
    assert write_profile(folder, Path("params.yaml"), params, manifest).stat().st_ino == before


# From here on real trainings.


@pytest.fixture
def prepared(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("HYPERSKIN_DATABASE", raising=False)
    for old, new in SMALL.items():
        project.edit(old, new)
    return project


def client_of(project: Project) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project.root / 'mlruns/mlflow.db'}")


def runs_of(project: Project) -> tuple[list, list]:
    """Return the runs of searches, and those of trials by number."""
    client = client_of(project)
    experiment = client.get_experiment_by_name("hyperskin-sweeps")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    trials = [run for run in runs if "trial.number" in run.data.tags]
    return [run for run in runs if run not in trials], sorted(
        trials, key=lambda run: int(run.data.tags["trial.number"])
    )


def search_of(project: Project) -> Search:
    params, manifest = Params.read(project.root / "params.yaml"), Manifest.read(project.root / "data/manifest.json")
    return Plan.of("hscnn_plus", "rgb_vis", params, manifest).open(project.root)


def checkpoints(project: Project) -> list[Path]:
    return list((project.root / "mlruns/checkpoints").glob("*/last.pt"))


@pytest.mark.slow
def test_a_search_leaves_its_trials_in_mlflow_and_the_best_recipe_in_the_profile(prepared: Project) -> None:
    said = prepared.run(*TUNE, "3").stderr
    assert "3 trials complete, 0 pruned, 0 failed; the best has a validated SAM of" in said

    (search,), trials = runs_of(prepared)
    client = client_of(prepared)
    assert search.info.status == "FINISHED"
    assert search.info.run_name == "hscnn_plus-rgb_vis search"
    assert [trial.data.tags["mlflow.parentRunId"] for trial in trials] == [search.info.run_id] * 3
    assert [trial.info.status for trial in trials] == ["FINISHED"] * 3
    assert [trial.data.tags["trial.state"] for trial in trials] == ["complete"] * 3
    assert [trial.data.tags["trial.default"] for trial in trials] == ["true", "false", "false"]
    for trial in trials:
        assert len(client.get_metric_history(trial.info.run_id, "val_sam/full")) == 2
        assert not any(name.startswith(("sam/", "ssim/")) for name in trial.data.metrics)  # no test capture was read
        assert [data.dataset.name for data in trial.inputs.dataset_inputs] == ["cave"]
    bests = [trial.data.metrics["val_sam/best"] for trial in trials]
    assert search.data.metrics["best/val_sam"] == min(bests)
    assert search.data.metrics["default/val_sam"] == bests[0]
    assert search.data.params["space.loss"] == "l1, mrae"
    assert "no test capture is read" in search.data.tags["mlflow.note.content"]
    artifacts = {file.path for folder in ("", "figures") for file in client.list_artifacts(search.info.run_id, folder)}
    assert {"trials.json", "figures/history.png", "figures/values.png"} <= artifacts
    table = json.loads(next((prepared.root / "mlruns/artifacts").rglob("trials.json")).read_text())
    assert table["columns"][:6] == ["trial", "state", "val_sam", "learning_rate", "batch_size", "loss"]
    assert len(table["data"]) == 3
    assert client.search_registered_models() == []
    assert not any((prepared.root / "mlruns/checkpoints").iterdir())

    beaten = min(bests) < bests[0]
    assert search.data.tags["beaten"] == str(beaten).lower()
    own = Params.read(prepared.root / "params.tuned.yaml").train.models["hscnn_plus"].own_recipe("rgb_vis")
    best = search_of(prepared).best()
    assert best is not None
    assert own == (best.recipe if beaten else {})

    again = prepared.run(*TUNE, "3").stderr
    assert "searched already, skipped" in again
    assert len(runs_of(prepared)[1]) == 3


@pytest.mark.slow
def test_a_search_whose_first_trial_would_be_refused_leaves_nothing(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared.edit("final_learning_rate: 1e-6", "final_learning_rate: 1")
    monkeypatch.chdir(prepared.root)
    with pytest.raises(HyperSkinError, match=r"`train\.final_learning_rate` must lie between"):
        tune(model="hscnn_plus", pair="rgb_vis")
    assert find_journals(prepared.root) == []
    assert not (prepared.root / "mlruns/checkpoints").exists()
    assert study_names(prepared.root) == set()


def begin(project: Project, epochs: int = 30) -> subprocess.Popen[bytes]:
    """Start a search whose trials are long, and wait until the first has a checkpoint."""
    project.edit("epochs: 2", f"epochs: {epochs}")
    process = subprocess.Popen(
        [*TUNE, "1"], cwd=project.root, env=project_environment(project), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not checkpoints(project):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def project_environment(project: Project) -> dict[str, str]:
    import os

    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project.root)}


@pytest.mark.slow
def test_a_killed_trial_goes_on_from_its_checkpoint_and_tells_no_epoch_twice(prepared: Project) -> None:
    process = begin(prepared)
    process.kill()
    process.wait()
    (checkpoint,) = checkpoints(prepared)

    said = prepared.run(*TUNE, "1").stderr

    assert "its worker is gone, it is tried again" in said
    assert "going on after" in said
    assert checkpoint.parent.name in said
    (trial,) = search_of(prepared).trials()
    assert (trial.number, trial.state, trial.attempts) == (0, "complete", 2)
    _, (run,) = runs_of(prepared)
    steps = [metric.step for metric in client_of(prepared).get_metric_history(run.info.run_id, "val_sam/best")]
    assert steps == list(range(1, 31))
    last = search_of(prepared)._study.get_trials()[-1]
    assert sorted(last.intermediate_values) == list(range(1, 11))  # also of before the kill
    assert not checkpoints(prepared)


@pytest.mark.slow
def test_the_worker_that_is_left_tells_what_came_of_the_search(prepared: Project) -> None:
    process = begin(prepared, epochs=200)
    other = subprocess.Popen(
        [*TUNE, "1", "--worker", "1"], cwd=prepared.root, env=project_environment(prepared), stderr=subprocess.PIPE
    )
    time.sleep(3)  # it waits for the only trial
    assert process.poll() is None
    process.kill()
    process.wait()
    assert other.stderr is not None
    said = other.stderr.read().decode()
    assert other.wait(120) == 0
    other.stderr.close()
    assert "1 trials complete, 0 pruned, 0 failed" in said
    (search,), (trial,) = runs_of(prepared)
    assert (search.info.status, trial.info.status) == ("FINISHED", "FINISHED")
    assert trial.data.tags["mlflow.parentRunId"] == search.info.run_id
    assert search_of(prepared).is_concluded(1)


@pytest.mark.slow
def test_a_stop_takes_seconds_and_leaves_the_trial_to_be_gone_on_with(prepared: Project) -> None:
    process = begin(prepared)
    stopped_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    assert time.monotonic() - stopped_s < 5
    assert search_of(prepared).counts().waiting == 1
    prepared.run("hyperskin", "sync", check=False)
    (search,), (trial,) = runs_of(prepared)
    assert (search.info.status, trial.info.status) == ("KILLED", "KILLED")

    assert "going on after" in prepared.run(*TUNE, "1").stderr
    (search,), (trial,) = runs_of(prepared)
    assert (search.info.status, trial.info.status) == ("FINISHED", "FINISHED")
    assert search_of(prepared).trials()[0].state == "complete"


@pytest.mark.slow
def test_recipes_that_diverge_are_told_and_nothing_is_recommended(prepared: Project) -> None:
    prepared.edit("\n  learning_rate: 2e-3", "\n  learning_rate: 1e30")
    said = prepared.run(*TUNE, "1").stderr
    assert "0 trials complete, 1 pruned, 0 failed" in said
    assert "No recipe was trained to its end, so none is recommended" in said
    (search,), (trial,) = runs_of(prepared)
    assert search.info.status == "FINISHED"
    assert (trial.info.status, trial.data.tags["ended_by"]) == ("FAILED", "DivergedError")
    assert "must stay finite" in search_of(prepared).trials()[0].reason
    assert not checkpoints(prepared)


TRAIN_TUNED = """
from pathlib import Path
from flows.train_all import train_all_units
print("\\n".join(train_all_units(Path.cwd(), models=["hscnn_plus"], profile="tuned")))
"""


@pytest.mark.slow
def test_a_sweep_is_one_command_and_its_best_recipe_is_trained_in_full(prepared: Project) -> None:
    basal = "basal: {learning_rate: 2e-3, batch_size: 4, exposure_jitter: 0.5}"
    for name in ("hrnet: {width: 8}", "mst_plus_plus: {stages: 1}", basal):
        prepared.edit(f"    {name}\n", "")
    prepared.edit("trials: 8", "trials: 3")
    prepared.edit("epochs: null\n", "epochs: 3\n")
    prepared.edit("seconds: 75", "seconds: null  #")
    said = prepared.run(sys.executable, "-m", "flows.sweep").stderr
    assert "| hscnn_plus | rgb_vis |" in said
    assert "Finished in state Completed" in said
    (search,), trials = runs_of(prepared)
    assert (search.info.status, len(trials)) == ("FINISHED", 3)

    assert "| hscnn_plus | rgb_vis |" in prepared.run(sys.executable, "-m", "flows.sweep").stdout  # without a server

    best = search_of(prepared).best()
    assert best is not None
    recipe = best.recipe
    prepared.run(sys.executable, "-c", TRAIN_TUNED)
    client = client_of(prepared)
    experiment = client.get_experiment_by_name("hyperskin")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, float(run.data.params["learning_rate"])) == ("FINISHED", recipe["learning_rate"])
    assert (int(run.data.params["batch_size"]), run.data.params["loss"]) == (recipe["batch_size"], recipe["loss"])
    assert "study" not in run.data.params
    assert run.data.tags["profile"] == "tuned"
    assert "sam/full" in run.data.metrics
    assert client.get_model_version_by_alias("hyperskin-rgb-vis", "champion").run_id == run.info.run_id
