"""What `train-all` gives to workers, and what the ledger says of it."""

import pytest

from flows.units import LedgerSigns, TrainJob, choose_units, group_units, open_jobs, silence_of
from hyperskin import ledger as ledger_module
from hyperskin.data.manifest import Manifest
from hyperskin.ledger import Ledger
from hyperskin.params import FILE_NAME, Params
from hyperskin.steps.unit import Unit, UnitName

JOB = TrainJob(("regression_mean", "regression_linear"), "rgb_vis", ("one", "two"))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def claim(ledger, key):
    return ledger.claim(key, about={}, stale_s=60)


def finish(ledger, *keys):
    for key in keys:
        with claim(ledger, key) as attempt:
            attempt.finish()


def test_a_job_elsewhere_says_which_units_it_means():
    assert JOB.words() == [
        "train", "--model", "regression_mean", "--model", "regression_linear", "--pair", "rgb_vis",
        "--expect", "one", "--expect", "two",
    ]  # fmt: skip
    assert TrainJob(**{**JOB.parameters(), "models": JOB.models, "keys": JOB.keys}) == JOB


def test_a_job_is_finished_when_every_unit_is(ledger):
    signs = LedgerSigns(ledger, [JOB])
    assert not signs.is_finished(JOB)
    finish(ledger, "one")
    assert not signs.is_finished(JOB)
    finish(ledger, "two")
    assert signs.is_finished(JOB)


def test_what_was_finished_before_and_is_asked_for_again_was_deleted_meanwhile(ledger):
    finish(ledger, "one", "two")
    signs = LedgerSigns(ledger, [JOB])
    assert not signs.is_finished(JOB)
    finish(ledger, "one", "two")
    assert signs.is_finished(JOB)


def test_a_job_gives_the_signs_of_whichever_unit_is_at_work(ledger):
    signs = LedgerSigns(ledger, [JOB])
    assert signs.silent_s(JOB) is None
    with claim(ledger, "two"):
        assert signs.silent_s(JOB) < 5
    assert signs.silent_s(JOB) is None


def test_a_unit_whose_process_is_gone_is_lost_once(ledger, monkeypatch):
    signs = LedgerSigns(ledger, [JOB])
    claim(ledger, "one")
    claim(ledger, "of another flow")
    assert signs.lost() == []
    monkeypatch.setattr(ledger_module, "is_running", lambda identity: False)
    assert signs.lost() == ["one"]
    assert signs.lost() == []


def test_the_silence_of_a_run_is_that_of_its_units(tmp_path, monkeypatch):
    monkeypatch.delenv("HYPERSKIN_DATABASE", raising=False)
    silent_s = silence_of(tmp_path, lambda of: of["keys"])
    assert silent_s(JOB.parameters()) is None
    ledger = Ledger.of(tmp_path)
    claim(ledger, "one")
    assert silent_s(JOB.parameters()) < 5
    monkeypatch.setattr(ledger_module, "is_running", lambda identity: False)
    assert silent_s(JOB.parameters()) is None


def test_only_what_is_not_finished_goes_to_workers_with_its_keys(with_manifest, monkeypatch):
    root = with_manifest.root
    params = Params.read(root / FILE_NAME)
    manifest = Manifest.read(root / "data" / "manifest.json")
    names = [UnitName(model, "rgb_vis", "cie") for model in ("regression_mean", "regression_linear", "hrnet")]
    keys = {name: Unit.of(name.model, name.pair, params, manifest).key for name in names}
    ledger = Ledger.of(root)

    whole = open_jobs(root, params, names, ledger)
    assert [(job.models, job.keys) for job in whole] == [
        (("regression_mean", "regression_linear"), (keys[names[0]], keys[names[1]])),
        (("hrnet",), (keys[names[2]],)),
    ]
    finished = {keys[names[0]], keys[names[2]]}
    monkeypatch.setattr("flows.units.find_finished_units", lambda root, units, ledger: finished)
    left = open_jobs(root, params, names, ledger)
    assert [(job.models, job.keys) for job in left] == [(("regression_linear",), (keys[names[1]],))]


def test_networks_are_trained_by_every_seed_one_round_after_the_other_and_regressions_once(project):
    params = Params.read(project.root / FILE_NAME)
    names = choose_units(params, ["regression_mean", "hrnet"], None, seeds=[2, 1, 3])
    assert [(name.model, name.pair, name.seed) for name in names] == [
        ("regression_mean", "rgb_vis", None), ("regression_mean", "msi_nir", None),
        ("hrnet", "rgb_vis", 2), ("hrnet", "msi_nir", 2),
        ("hrnet", "rgb_vis", None), ("hrnet", "msi_nir", None),
        ("hrnet", "rgb_vis", 3), ("hrnet", "msi_nir", 3),
    ]  # fmt: skip
    assert choose_units(params, ["hrnet"], None, seeds=[params.train.seed]) == choose_units(params, ["hrnet"], None)


def test_a_job_names_the_seed_only_where_it_is_another(project):
    params = Params.read(project.root / FILE_NAME)
    first, second = group_units(choose_units(params, ["hrnet"], ["rgb_vis"], seeds=[1, 2]), params)
    assert (str(first), first.words()) == ("hrnet on rgb_vis", ["train", "--model", "hrnet", "--pair", "rgb_vis"])
    assert (str(second), second.words()[5:]) == ("hrnet on rgb_vis, seed 2", ["--seed", "2"])
    assert TrainJob(**{**second.parameters(), "models": ("hrnet",), "keys": ()}) == second


def test_what_workers_are_left_with_is_told_apart_by_seed(with_manifest, monkeypatch):
    root = with_manifest.root
    params, manifest = Params.read(root / FILE_NAME), Manifest.read(root / "data" / "manifest.json")
    names = choose_units(params, ["hrnet"], ["rgb_vis"], seeds=[1, 2])
    finished = {Unit.of("hrnet", "rgb_vis", params, manifest).key}
    monkeypatch.setattr("flows.units.find_finished_units", lambda root, units, ledger: finished)
    (job,) = open_jobs(root, params, names, Ledger.of(root))
    assert (job.seed, job.keys) == (2, (Unit.of("hrnet", "rgb_vis", params, manifest, seed=2).key,))


@pytest.fixture
def several(with_manifest):
    """A project whose params train on two cameras, and on both."""
    root = with_manifest.root
    text = (root / FILE_NAME).read_text()
    first, last = text.index("cameras: [cie]"), text.rindex("cameras: [cie]")
    text = f"{text[:first]}cameras: [cie, sim28_01]{text[first + 14 : last]}cameras: [cie, all]{text[last + 14 :]}"
    (root / FILE_NAME).write_text(text)
    return with_manifest


def test_each_camera_has_a_job_and_the_regressions_on_it_share_one(several):
    params = Params.read(several.root / FILE_NAME)
    jobs = group_units(choose_units(params, ["regression_mean", "regression_linear", "hrnet"], ["rgb_vis"]), params)
    assert [(job.models, job.camera) for job in jobs] == [
        (("regression_mean", "regression_linear"), "cie"),
        (("regression_mean", "regression_linear"), "all"),
        (("hrnet",), "cie"),
        (("hrnet",), "all"),
    ]
    assert jobs[3].words() == ["train", "--model", "hrnet", "--pair", "rgb_vis", "--camera", "all"]
    assert str(jobs[3]) == "hrnet on rgb_vis, camera all"
    assert TrainJob(**{**jobs[3].parameters(), "models": ("hrnet",), "keys": ()}) == jobs[3]


def test_a_camera_is_told_even_where_one_is_left_and_all_of_one_goes_once(several, monkeypatch):
    root = several.root
    params = Params.read(root / FILE_NAME)
    monkeypatch.setattr(Manifest, "cameras", ("cie", "sim28_01"))
    names = choose_units(params, ["hrnet"], ["rgb_vis"])
    manifest = Manifest.read(root / "data" / "manifest.json")
    keys = [Unit.of(name.model, name.pair, params, manifest, camera=name.camera).key for name in names]
    monkeypatch.setattr("flows.units.find_finished_units", lambda root, units, ledger: {keys[0]})
    [job] = open_jobs(root, params, names, Ledger.of(root))
    assert (job.camera, job.keys) == ("all", (keys[1],))
    monkeypatch.setattr(Manifest, "cameras", ("cie",))  # then both are the same training
    monkeypatch.setattr("flows.units.find_finished_units", lambda root, units, ledger: set())
    assert [job.camera for job in open_jobs(root, params, names, Ledger.of(root))] == ["cie"]
