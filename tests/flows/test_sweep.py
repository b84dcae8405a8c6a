"""The sweep's body without Prefect on searches whose trials take moments, and the flow on a temporary server."""

import contextlib
import logging
import subprocess

import pytest

import flows.sweep
from flows.follow import Run
from flows.searches import TuneJob, choose_networks
from flows.sweep import sweep, sweep_networks
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest, write_manifest
from hyperskin.errors import ServiceError, UnknownNameError
from hyperskin.params import FILE_NAME, Params
from hyperskin.steps.search import Plan

# What `hyperskin tune` does, with trials that take moments; dies in its first trial as often as `die` says.
CHILD = """
import os, pathlib, signal, sys

from hyperskin.data.manifest import Manifest
from hyperskin.params import Params
from hyperskin.steps.search import Plan

verb, words = sys.argv[1], sys.argv[2:]
given = dict(zip(words[::2], words[1::2]))
here = pathlib.Path(os.environ["FAKE_FOLDER"])
with (here / "calls").open("a") as calls:
    calls.write(" ".join([verb, *words]) + "\\n")
if verb == "prepare":
    sys.exit()
root = pathlib.Path.cwd()
manifest = Manifest.read(root / "data" / "manifest.json")
plan = Plan.of(given["--model"], given["--pair"], Params.read(root / "params.yaml"), manifest)
assert given.get("--expect", plan.name) == plan.name
search = plan.open(root)
total = int(given["--trials"])

def objective(trial):
    die = here / f"die.{given['--model']}.{given['--worker']}"
    if die.exists() and (left := int(die.read_text())):
        die.write_text(str(left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
    print(f"trial {trial.number}", flush=True)
    return abs(trial.recipe["learning_rate"] - 1.23e-3) + (0.0 if trial.recipe["loss"] == "l1" else 1.0)

search.choose(pruner="none", total=total, seed=1, worker=int(given["--worker"]))
search.run(total, objective, should_stop=lambda: False, on_told=lambda trial: None)
if not (here / "silent").exists() and not search.is_concluded(total):
    search.conclude()
"""


@pytest.fixture
def sweeps(project, monkeypatch):
    """The project with data, searches of four trials and no database but its own."""
    monkeypatch.delenv("HYPERSKIN_DATABASE", raising=False)
    (project.notes / "child.py").write_text(CHILD)
    file = FileEntry("file", 1, "0" * 64)
    contents = {"vis": "v", "nir": "n", "valid": "m"}
    entries = [
        CaptureEntry(CaptureId.parse(f"p00{number}_smile_left"), split, file, file, None, (24, 32), contents, {})
        for number, split in enumerate(("train", "valid", "test"), start=1)
    ]
    write_manifest(project.root / "data" / "manifest.json", source="phantom", settings={}, captures=entries)
    edit(project, "trials: 8", "trials: 4")
    return project


def edit(project, old, new):
    path = project.root / FILE_NAME
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def calls(project):
    return (project.notes / "calls").read_text().splitlines()


def search_of(project, model, pair="rgb_vis"):
    root = project.root
    return Plan.of(model, pair, Params.read(root / FILE_NAME), Manifest.read(root / "data/manifest.json")).open(root)


def test_every_network_is_searched_on_every_pair_by_its_workers(sweeps):
    lines = sweep_networks(sweeps.root, models=["hrnet"], command=sweeps.command)

    names = [("hrnet", "rgb_vis"), ("hrnet", "msi_nir")]
    assert calls(sweeps)[0] == "prepare"
    assert sorted(calls(sweeps)[1:]) == sorted(
        f"tune --model {model} --pair {pair} --trials 4 --worker {worker}" for model, pair in names for worker in (0, 1)
    )
    assert [search_of(sweeps, *name).counts().finished for name in names] == [4, 4]
    assert [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in lines[2:4]] == names
    assert lines[-1] == "validated SAM in rad; the recipes that beat those of params.yaml are in params.tuned.yaml"


def test_the_best_recipe_is_in_the_profile_and_its_gain_in_the_table(sweeps):
    lines = sweep_networks(sweeps.root, models=["hrnet"], pairs=["rgb_vis"], trials=8, command=sweeps.command)

    search = search_of(sweeps, "hrnet")
    best, default = search.best(), search.default()
    tuned = Params.read(sweeps.root / "params.tuned.yaml")
    assert tuned.train.models["hrnet"].own_recipe("rgb_vis") == best.recipe
    assert tuned.train.models["hrnet"].own_recipe("msi_nir") == {}
    assert tuned.train.models["mst_plus_plus"].by_pair == {}
    row = [cell.strip() for cell in lines[2].strip("| ").split("|")]
    assert row[:2] == ["hrnet", "rgb_vis"]
    assert row[2].startswith("learning_rate 0.00")
    assert row[3:6] == ["8", "0", "0"]
    assert row[6:] == [f"{default.value:.4f}", f"{best.value:.4f}", f"{1 - best.value / default.value:.1%}"]


def test_what_is_searched_already_is_not_started_again(sweeps):
    first = sweep_networks(sweeps.root, models=["hrnet"], pairs=["rgb_vis"], command=sweeps.command)
    count = len(calls(sweeps))
    (sweeps.root / "params.tuned.yaml").unlink()

    assert sweep_networks(sweeps.root, models=["hrnet"], pairs=["rgb_vis"], command=sweeps.command) == first
    assert calls(sweeps)[count:] == ["prepare"]
    assert (sweeps.root / "params.tuned.yaml").is_file()


def test_a_worker_that_dies_is_started_again_and_its_trial_gone_on_with(sweeps, caplog):
    caplog.set_level(logging.WARNING, "flows")
    edit(sweeps, "  workers: 2", "  workers: 1")
    (sweeps.notes / "die.hrnet.0").write_text("1")

    sweep_networks(sweeps.root, models=["hrnet"], pairs=["rgb_vis"], command=sweeps.command)

    assert "hrnet on rgb_vis, worker 0: ended by SIGKILL, perhaps for want of memory" in caplog.text
    trials = search_of(sweeps, "hrnet").trials()
    assert [trial.state for trial in trials] == ["complete"] * 4
    assert max(trial.attempts for trial in trials) == 2


@pytest.mark.slow
def test_workers_that_die_again_and_again_are_told_and_cost_no_other_search(sweeps):
    edit(sweeps, "  workers: 2", "  workers: 1")
    (sweeps.notes / "die.hrnet.0").write_text("99")

    with pytest.raises(ServiceError) as caught:
        sweep_networks(sweeps.root, models=["hrnet", "mst_plus_plus"], pairs=["rgb_vis"], command=sweeps.command)

    assert str(caught.value) == (
        "All 2 searches must end well, and these did not: hrnet on rgb_vis, worker 0 "
        "(ended by SIGKILL, perhaps for want of memory). Mend it and run sweep again: what is finished is skipped."
    )
    assert sum("--model hrnet" in call for call in calls(sweeps)) == 4
    assert search_of(sweeps, "mst_plus_plus").is_concluded(4)


@pytest.mark.slow
def test_a_search_whose_last_worker_could_not_tell_is_told_in_the_end(sweeps):
    edit(sweeps, "  workers: 2", "  workers: 1")
    (sweeps.notes / "silent").touch()
    sweep_networks(sweeps.root, models=["hrnet"], pairs=["rgb_vis"], command=sweeps.command)
    assert len(calls(sweeps)) == 3
    (sweeps.notes / "silent").unlink()
    sweep_networks(sweeps.root, models=["hrnet"], pairs=["rgb_vis"], command=sweeps.command)
    assert search_of(sweeps, "hrnet").is_concluded(4)


def test_regressions_have_nothing_to_search(sweeps):
    params = Params.read(sweeps.root / FILE_NAME)
    networks = ("hscnn_plus", "hrnet", "mst_plus_plus", "basal")
    names = [(model, pair) for model in networks for pair in ("rgb_vis", "msi_nir")]
    assert choose_networks(params, None, None) == names
    assert choose_networks(params, ["hrnet", "regression_mean"], ["msi_nir"]) == [("hrnet", "msi_nir")]
    with pytest.raises(UnknownNameError, match="`models` must name a network; regression_mean has no recipe"):
        sweep_networks(sweeps.root, models=["regression_mean"], command=sweeps.command)
    with pytest.raises(UnknownNameError, match="got 'unet'"):
        sweep_networks(sweeps.root, models=["unet"], command=sweeps.command)
    assert not (sweeps.notes / "calls").exists()


class InTurn:
    """Workers that do a job when they are given it, as `tune-unit` would, and never ran anything before."""

    def __init__(self, project):
        self.project = project
        self.given = []

    @contextlib.contextmanager
    def __call__(self, deployment):
        assert deployment == "tune-unit/tune-unit"
        yield self

    def start(self, job, attempt):
        again = TuneJob(**job.parameters())
        assert again == job
        self.given.append((str(job), attempt))
        subprocess.run(self.project.command(*again.words()), cwd=self.project.root, check=True, capture_output=True)
        return Run(f"{job}-{attempt}", "running")

    def read(self, ids):
        return {one: Run(one, "completed") for one in ids}


def test_workers_elsewhere_are_told_which_search_is_meant(sweeps, monkeypatch):
    edit(sweeps, "training: here", "training: workers")
    monkeypatch.setattr("flows.follow.POLL_S", 0.0)
    workers = InTurn(sweeps)

    sweep_networks(sweeps.root, models=["hrnet"], pairs=["rgb_vis"], command=sweeps.command, workers=workers)

    name = search_of(sweeps, "hrnet").name
    assert workers.given[0] == ("hrnet on rgb_vis, worker 0", 1)
    assert f"--worker 0 --expect {name}" in calls(sweeps)[1]
    assert search_of(sweeps, "hrnet").is_concluded(4)


def test_jobs_of_other_totals_and_searches_have_other_keys():
    jobs = [
        TuneJob("hrnet", "rgb_vis", worker, total, name)
        for worker in (0, 1) for total in (4, 8) for name in ("search-a", "search-b")
    ]  # fmt: skip
    assert len({job.keys for job in jobs}) == len(jobs)


@pytest.mark.slow
def test_the_flow_completes_and_leaves_the_table_as_an_artifact(sweeps, prefect_server, monkeypatch):
    import asyncio

    from prefect.artifacts import Artifact

    monkeypatch.chdir(sweeps.root)
    monkeypatch.setattr(flows.sweep, "hyperskin_command", sweeps.command)
    state = sweep(models=["hrnet"], pairs=["rgb_vis"], return_state=True)

    assert state.is_completed(), state.message
    assert "params.tuned.yaml" in asyncio.run(Artifact.aget("sweep")).data
    assert not list((sweeps.root / ".prefect" / "alive").glob("*.lock"))


def test_a_finished_sweep_is_told_without_a_server(sweeps, monkeypatch, capsys):
    monkeypatch.chdir(sweeps.root)
    monkeypatch.setattr(flows.sweep, "apply_closed_settings", lambda root: None)
    monkeypatch.setattr(flows.sweep, "sweep", lambda: pytest.fail("the server started"))
    monkeypatch.setattr(sweep_networks, "__kwdefaults__", {**sweep_networks.__kwdefaults__, "command": sweeps.command})
    text = (sweeps.root / FILE_NAME).read_text()
    models = text[text.index("    hscnn_plus") : text.index("  cameras: [cie]  ", text.index("    hscnn_plus"))]
    text = text.replace(models, "    hrnet: {width: 8}\n").replace("[rgb_vis, msi_nir]", "[rgb_vis]")
    (sweeps.root / FILE_NAME).write_text(text)
    sweep_networks(sweeps.root)

    flows.sweep.main()

    assert "| hrnet | rgb_vis |" in capsys.readouterr().out
    assert sum(call.startswith("tune") for call in calls(sweeps)) == 2
