"""The study's body without Prefect, and the flow on a temporary server."""

import asyncio
import itertools

import pytest

import flows.study
import flows.train_all
from flows.study import CostJob, study, study_models
from hyperskin.data.manifest import Manifest
from hyperskin.errors import ServiceError, UnknownNameError
from hyperskin.params import FILE_NAME, Params
from hyperskin.steps.unit import Unit
from tests.flows.test_train_all import NETWORKS, PAIRS, REGRESSIONS, TOGETHER, Workers


@pytest.fixture
def two_seeds(project):
    """The project with two seeds, 1 being that of train-all."""
    params = project.root / FILE_NAME
    params.write_text(params.read_text().replace("seeds: [1, 2, 3]", "seeds: [1, 7]"))
    return project


def _measured(project):
    """Return the costs that were measured, in the order of their start."""
    notes = sorted(project.notes.glob("cost.*.start"), key=lambda path: float(path.read_text()))
    return [path.stem.removeprefix("cost.") for path in notes]


def _span(project, name):
    return project.time_of(f"{name}.start"), project.time_of(f"{name}.end")


def test_every_network_is_trained_by_every_seed_and_regressions_once(two_seeds):
    models = [*REGRESSIONS, "hrnet", "basal"]
    lines = study_models(two_seeds.root, models=models, command=two_seeds.command)

    networks = {f"{model}.{pair}{seed}" for model in ("hrnet", "basal") for pair in PAIRS for seed in ("", ".7")}
    assert set(two_seeds.trained()) == {f"{TOGETHER}.{pair}" for pair in PAIRS} | networks
    assert two_seeds.time_of("prepare.end") < two_seeds.time_of(f"train.{two_seeds.trained()[0]}.start")
    assert lines == ["study begins"]
    times = [two_seeds.time_of(f"{verb}.end") for verb in ("compare", "report", "study")]
    assert times == sorted(times)


@pytest.mark.parametrize(("seeds", "is_told"), [("[2, 7]", True), ("[7, 1]", False)])
def test_a_study_that_registers_no_network_says_so(two_seeds, seeds, is_told, caplog):
    params = two_seeds.root / FILE_NAME
    params.write_text(params.read_text().replace("seeds: [1, 7]", f"seeds: {seeds}"))
    study_models(two_seeds.root, models=["hrnet"], pairs=["rgb_vis"], command=two_seeds.command)
    assert ("no network of this study is registered: `study.seeds` lacks `train.seed`, 1" in caplog.text) == is_told


def test_costs_are_measured_one_by_one_when_no_training_runs_and_before_the_report(two_seeds):
    study_models(two_seeds.root, pairs=["rgb_vis"], command=two_seeds.command)

    measured = _measured(two_seeds)
    assert sorted(measured) == sorted(f"{model}.rgb_vis" for model in [*REGRESSIONS, *NETWORKS])
    spans = [_span(two_seeds, f"cost.{name}") for name in measured]
    assert max(_span(two_seeds, f"train.{name}")[1] for name in two_seeds.trained()) < spans[0][0]
    assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert spans[-1][1] < two_seeds.time_of(f"{flows.study._ENDING[0]}.start")
    environment = two_seeds.environment_of(f"cost.{measured[0]}")
    assert (environment["OMP_NUM_THREADS"], environment["CUDA_VISIBLE_DEVICES"]) == ("1", "")


def test_models_and_pairs_can_be_restricted(two_seeds):
    study_models(two_seeds.root, models=["hrnet", "regression_mean"], pairs=["msi_nir"], command=two_seeds.command)

    assert sorted(two_seeds.trained()) == ["hrnet.msi_nir", "hrnet.msi_nir.7", "regression_mean.msi_nir"]
    assert sorted(_measured(two_seeds)) == ["hrnet.msi_nir", "regression_mean.msi_nir"]


def test_an_unknown_name_is_refused_before_anything_runs(two_seeds):
    with pytest.raises(UnknownNameError, match=r"`models` must be among regression_mean, .*got 'unet'"):
        study_models(two_seeds.root, models=["unet"], command=two_seeds.command)
    assert not (two_seeds.notes / "prepare.start").exists()


def test_what_fails_costs_nothing_else_and_is_told_in_the_end(two_seeds):
    two_seeds.break_down("7")
    with pytest.raises(ServiceError) as caught:
        study_models(two_seeds.root, models=["hrnet", "basal"], pairs=["rgb_vis"], command=two_seeds.command)

    assert str(caught.value) == (
        "All 4 trainings, 2 costs and the report must end well, and these did not: hrnet on rgb_vis, seed 7, "
        "basal on rgb_vis, seed 7 (the loss must be finite; it is nan). Mend it and run study again: what is finished "
        "is skipped."
    )
    assert len(_measured(two_seeds)) == 2
    assert (two_seeds.notes / f"{flows.study._ENDING[-1]}.end").exists()


@pytest.mark.parametrize("verb", ["cost", flows.study._ENDING[-1]])
def test_a_cost_or_report_that_fails_is_told_beside_the_rest(two_seeds, verb):
    two_seeds.break_down(verb)
    told = {"cost": "the cost of hrnet on rgb_vis"}.get(verb, "the report")
    with pytest.raises(ServiceError, match=rf"did not: {told} \(the loss"):
        study_models(two_seeds.root, models=["hrnet"], pairs=["rgb_vis"], command=two_seeds.command)
    assert (two_seeds.notes / f"{flows.study._ENDING[-1]}.start").exists()


def test_nothing_is_reported_where_nothing_was_trained(two_seeds):
    two_seeds.break_down("train")
    with pytest.raises(ServiceError, match="the loss must be finite"):
        study_models(two_seeds.root, models=["hrnet"], command=two_seeds.command)
    assert not [verb for verb in flows.study._ENDING if (two_seeds.notes / f"{verb}.start").exists()]


def test_workers_train_and_this_machine_measures(on_workers, two_seeds, monkeypatch):
    monkeypatch.setattr("flows.follow.POLL_S", 0.05)
    workers = Workers(on_workers)
    study_models(on_workers.root, models=["hrnet"], pairs=["rgb_vis"], command=on_workers.command, workers=workers)

    assert len(set(on_workers.told("end"))) == 2
    assert workers.asked == [("hrnet on rgb_vis", 1), ("hrnet on rgb_vis, seed 7", 1)]
    assert on_workers.story()[-1 - len(flows.study._ENDING)] == ["cost"]


def test_a_job_says_what_it_measures():
    job = CostJob("hrnet", "rgb_vis")
    assert job.words() == ["cost", "--model", "hrnet", "--pair", "rgb_vis"]
    assert CostJob(**job.parameters()) == job


def test_the_server_starts_only_where_a_seed_is_left_to_train(with_manifest, monkeypatch):
    root = with_manifest.root
    params, manifest = Params.read(root / FILE_NAME), Manifest.read(root / "data" / "manifest.json")
    finished = {
        Unit.of(model, pair, params, manifest, seed=seed).key
        for model in [*REGRESSIONS, *NETWORKS]
        for pair in PAIRS
        for seed in params.study.seeds
    }
    monkeypatch.setattr("flows.units.find_finished_units", lambda root, units, ledger: finished)
    assert flows.study._left(root) == []
    finished.remove(Unit.of("basal", "msi_nir", params, manifest, seed=3).key)
    assert flows.study._left(root) == ["msi_nir"]
    (root / "data" / "manifest.json").unlink()
    assert set(flows.study._left(root)) == set(PAIRS)


def test_without_a_server_of_its_own_it_does_not_wait_for_workers(on_workers, monkeypatch):
    monkeypatch.chdir(on_workers.root)
    monkeypatch.setattr(flows.train_all, "apply_closed_settings", lambda root: None)
    with pytest.raises(SystemExit, match=r"^hyperskin: `execution.training` .* run `prefect deployment run study`"):
        flows.study.main()


@pytest.mark.slow
def test_the_flow_completes_and_leaves_an_artifact(two_seeds, prefect_server, monkeypatch):
    from prefect.artifacts import Artifact

    monkeypatch.chdir(two_seeds.root)
    monkeypatch.setattr(flows.study, "hyperskin_command", two_seeds.command)
    state = study(models=["hrnet"], pairs=["rgb_vis"], return_state=True)

    assert state.is_completed(), state.message
    assert sorted(two_seeds.trained()) == ["hrnet.rgb_vis", "hrnet.rgb_vis.7"]
    assert "study begins" in asyncio.run(Artifact.aget("study")).data
