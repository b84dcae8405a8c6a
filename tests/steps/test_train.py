"""One unit from the manifest to the registry, through the command line, on toy scenes."""

import json
import logging
import socket
import sys
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from hyperskin.commands.init import shipped_params
from hyperskin.data.capture import CaptureId
from hyperskin.data.manifest import CaptureEntry, FileEntry, write_manifest
from hyperskin.errors import DataError, HyperSkinError, ServiceError, VersionError
from hyperskin.ledger import Ledger
from hyperskin.models.baselines import NAMES, build, parameter_count
from hyperskin.steps.claim import GOES_ON
from hyperskin.steps.train import train
from hyperskin.steps.unit import Unit
from hyperskin.tracking.journal import find_journals

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Project

SMALL = {
    "hscnn_plus: {blocks: 3, learning_rate: 1e-3}": "hscnn_plus: {blocks: 1}",
    "epochs: null": "epochs: 2",
    "seconds: 75": "seconds: null",
    "steps_per_epoch: 100": "steps_per_epoch: 2",
    "crop_px: 32": "crop_px: 16",
}


@pytest.fixture
def prepared(project: Project) -> Project:
    for old, new in SMALL.items():
        project.edit(old, new)
    return project


def _train(project: Project, model: str, *more: str, check: bool = True) -> str:
    result = project.run("hyperskin", "train", "--model", model, "--pair", "rgb_vis", *more, check=check)
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr


def test_a_unit_is_trained_scored_logged_registered_and_then_skipped(prepared: Project) -> None:
    _train(prepared, "regression_linear")
    said = _train(prepared, "hscnn_plus")
    assert "hyperskin-rgb-vis version 1 registered; Version 1 of hyperskin-rgb-vis is the champion" in said

    client = MlflowClient(f"sqlite:///{prepared.root / 'mlruns/mlflow.db'}")
    experiment = client.get_experiment_by_name("hyperskin")
    assert experiment is not None
    runs = {run.data.params["model"]: run for run in client.search_runs([experiment.experiment_id])}
    network = runs["hscnn_plus"]
    assert network.info.status == "FINISHED"
    scores = ("sam/masked", "sam/full", "ssim/masked", "ssim/full", "ssim/published_masked", "cost/parameters")
    for key in (*scores, "fidelity/melanin_relative_error"):
        assert key in network.data.metrics
    assert len(client.get_metric_history(network.info.run_id, "val_sam/full")) == 2
    manifest = json.loads((prepared.root / "data/manifest.json").read_text())
    assert network.data.tags["manifest"] == manifest["digest"]
    assert {path.path for path in client.list_artifacts(network.info.run_id)} >= {
        "per_image.json",
        "per_band.json",
        "per_subject.json",
        "params.yaml",
        "figures",
    }
    assert not [path.path for path in client.list_artifacts(network.info.run_id) if path.path == "pictures"]
    version = client.get_model_version_by_alias("hyperskin-rgb-vis", "champion")
    assert version.run_id == network.info.run_id

    said = _train(prepared, "hscnn_plus", "--seed", "1", "--seed", "2")
    assert "hscnn_plus on rgb_vis: finished already, skipped" in said
    assert "hscnn_plus on rgb_vis, seed 2: sam/" in said
    assert [version.version for version in client.search_model_versions("name = 'hyperskin-rgb-vis'")] == [1]
    seeds = {
        run.data.params["seed"] for run in client.search_runs([experiment.experiment_id]) if "seed" in run.data.params
    }
    assert seeds == {"1", "2"}
    table = prepared.run("hyperskin", "compare").stdout
    assert "*regression_linear*" in table
    assert "hscnn_plus (blocks 1), seed 2" in table
    assert (prepared.root / "reports/comparison.tex").is_file()


def test_a_publishable_subject_is_pictured(prepared: Project) -> None:
    prepared.edit("publishable_subjects: []", "publishable_subjects: [face_ms]")
    _train(prepared, "regression_linear")
    drawn = {path.name for path in (prepared.root / "mlruns/artifacts").rglob("pictures/*.png")}
    assert drawn == {"sheet_face_ms.png", "skin_face_ms.png"}


def test_data_that_changed_behind_the_manifest_is_refused(prepared: Project) -> None:
    cube = prepared.root / "data/cubes/apple_ms/apple_ms.h5"
    content = bytearray(cube.read_bytes())
    content[-1] ^= 1
    cube.unlink()
    cube.write_bytes(content)
    assert "must be the file the manifest names" in _train(prepared, "regression_linear", check=False)


TRAINED = "cameras: [cie]                          # one"
OTHER = r"`train\.cameras` must name cameras that were rendered \(cie\); got 'other'"
SLIPS = [
    ({"loss: l1": "loss: l3"}, ("hscnn_plus", "rgb_vis"), "`train.loss`"),
    ({"crop_px: 16": "crop_px: 256"}, ("hscnn_plus", "rgb_vis"), "`train.crop_px`"),
    ({}, ("unet", "rgb_vis"), "`model` must be one of regression_mean"),
    ({}, ("regression_linear", "rgb_nir"), "`pair` must be one of rgb_vis"),
    ({}, ("regression_linear", "msi_nir"), "needs the cubes nir"),
    ({TRAINED: "cameras: [sim28_01]  # one"}, ("regression_linear", "rgb_vis"), "`train.cameras` must be among"),
    ({"cameras: [cie]": "cameras: [cie, sim28]", TRAINED: "cameras: [other]  # one"}, ("hscnn_plus", "rgb_vis"), OTHER),
    ({"hrnet: {width: 8}": "unet: {width: 8}"}, ("unet", "rgb_vis"), "each network must be one of hscnn_plus"),
    ({"hrnet: {width: 8}": "hrnet: {width: 6}"}, ("hrnet", "rgb_vis"), "multiple of 4; got 6"),
    ({"hrnet: {width: 8}": "hrnet: {blocks: 3}"}, ("hrnet", "rgb_vis"), "A size of hrnet must be one of width"),
    ({"final_learning_rate: 1e-6": "final_learning_rate: 1"}, ("hscnn_plus", "rgb_vis"), "`train.final_learning_rate`"),
]


def test_a_slip_ends_in_one_sentence_and_leaves_nothing(prepared: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared.root)
    whole = Path("params.yaml").read_text()
    for edits, (model, pair), message in SLIPS:
        slipped = whole
        for old, new in edits.items():
            assert old in whole
            slipped = slipped.replace(old, new, 1)
        Path("params.yaml").write_text(slipped)
        with pytest.raises(HyperSkinError, match=message):
            train(model=[model], pair=pair)
        with pytest.raises(HyperSkinError, match=message):
            train(model=["regression_mean", model], pair=pair)  # what could be trained is not begun either
        assert find_journals(Path()) == []
        assert not Path("mlruns/checkpoints").exists()
        assert Ledger.of(Path()).newest() == []


def test_data_that_dvc_did_not_record_are_refused_before_a_network_is_trained_on_them(
    prepared: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared.root)
    manifest = Path("data/manifest.json")
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(VersionError, match=r"must be what dvc\.lock records"):
        train(model=["hscnn_plus"], pair="rgb_vis")
    assert find_journals(Path()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_any_size_is_built_without_memory_to_see_whether_it_can_be(name: str) -> None:
    with torch.device("meta"):
        network = build(name, in_channels=4, out_channels=61)
    assert parameter_count(network) == parameter_count(build(name, in_channels=4, out_channels=61))


def test_a_split_without_validation_is_told_before_training(prepared: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared.edit('valid: ["daisy_ms"]', "valid: []")
    prepared.repro()
    monkeypatch.chdir(prepared.root)
    with pytest.raises(HyperSkinError, match=r"`split\.valid`"):
        train(model=["hscnn_plus"], pair="rgb_vis")


@pytest.mark.slow
@pytest.mark.parametrize("is_silent", [False, True])
def test_an_mlflow_that_is_away_costs_seconds_and_is_told_of_twice(
    prepared: Project, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if is_silent:
            server.listen(64)  # it takes every connection and never answers
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        started = time.monotonic()
        first, scores, last = _train(prepared, "regression_mean").splitlines()
        took_s = time.monotonic() - started
    assert first == (
        f"MLflow at {address} must answer; it does not: see whether it runs. Runs are kept in mlruns/journal until "
        "`hyperskin sync`."
    )
    assert scores.startswith("regression_mean on rgb_vis: sam/")
    assert last.startswith("MLflow does not have all of the run (it did not answer in time); everything is in mlruns/")
    assert last.endswith(": run `hyperskin sync` when it answers")
    assert took_s < 8 + 4 * is_silent  # of which 7 s are torch's and the machine's


def test_an_mlflow_that_does_not_answer_is_asked_once_what_is_finished(
    tried: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    train(model=["regression_mean", "regression_mean"], pair="rgb_vis")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "MLflow at http://127.0.0.1:9 must answer; it does not: see whether it runs. The ledger tells what is finished."
    ]


REGRESSIONS = ["regression_mean", "regression_linear", "regression_polynomial"]


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder to train in, and the models that training was tried for; linear is singular, polynomial has a bug."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(shipped_params())
    Path("data").mkdir()
    Path("data/file").write_bytes(b"abc")
    file = FileEntry("file", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    contents = {"vis": "v", "valid": "m"}
    entries = [
        CaptureEntry(CaptureId.parse(f"p00{number}_smile_left"), split, file, file, None, (24, 32), contents, {})
        for number, split in enumerate(("train", "valid", "test"), start=1)
    ]
    write_manifest(Path("data/manifest.json"), source="cave", settings={}, captures=entries)
    monkeypatch.setattr("hyperskin.steps.train.reachable_store", lambda root: f"sqlite:///{root}/none.db")
    models: list[str] = []

    def train_unit(unit: Unit, *_: object, **__: object) -> None:
        models.append(unit.model)
        if unit.model == "regression_linear":
            raise DataError("The sums must not be singular; they are.")
        if unit.model == "regression_polynomial":
            raise KeyError("no one thought of this")

    monkeypatch.setattr("hyperskin.steps.train_unit.train_unit", train_unit)
    monkeypatch.setattr("hyperskin.steps.ready.require_trainable", lambda *_: None)
    return models


@pytest.mark.parametrize("models", [REGRESSIONS, REGRESSIONS[::-1]])
def test_a_model_that_fails_costs_no_other_and_is_told_in_the_end(tried: list[str], models: list[str]) -> None:
    with pytest.raises(ServiceError, match=r"trained on rgb_vis; 2 of 3 failed, and the others are kept: ") as caught:
        train(model=models, pair="rgb_vis")
    assert tried == models
    assert "regression_linear (The sums must not be singular; they are)" in str(caught.value)
    assert "regression_polynomial (KeyError: 'no one thought of this')" in str(caught.value)
    assert "regression_mean" not in str(caught.value)


def test_networks_are_trained_by_every_seed_and_regressions_once(
    tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    units: list[str] = []
    monkeypatch.setattr("hyperskin.steps.train_unit.train_unit", lambda unit, *_, **__: units.append(unit.title))
    train(model=["regression_mean", "hrnet"], pair="rgb_vis", seed=[1, 3])
    assert units == ["regression_mean on rgb_vis", "hrnet on rgb_vis", "hrnet on rgb_vis, seed 3"]


def test_a_model_alone_fails_with_its_own_error(tried: list[str]) -> None:
    with pytest.raises(DataError, match=r"^The sums must not be singular; they are\.$"):
        train(model=["regression_linear"], pair="rgb_vis")


@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_ends_all_of_several_models_and_says_that_they_go_on_if_any_was_trained(
    tried: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    def stopped(unit: Unit, *_: object, **__: object) -> None:
        tried.append(unit.model)
        if len(tried) == count:
            raise KeyboardInterrupt

    caplog.set_level(logging.INFO)
    monkeypatch.setattr("hyperskin.steps.train_unit.train_unit", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(model=REGRESSIONS, pair="rgb_vis")
    assert tried == REGRESSIONS[:count]
    assert (GOES_ON in caplog.messages) == (count > 1)
