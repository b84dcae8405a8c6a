"""A network trained elsewhere is examined as ours are, becomes a row and a version of its own, and never champion."""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from hyperskin.data.frames import read_frame
from hyperskin.data.manifest import Manifest
from hyperskin.errors import DataError, HyperSkinError, MissingFileError, ParamsError, UnknownNameError, VersionError
from hyperskin.ledger import Ledger
from hyperskin.metrics.sam import sam
from hyperskin.models.baselines import build
from hyperskin.models.digest import content_digest
from hyperskin.pairs import find_pair
from hyperskin.steps import examine
from hyperskin.steps.import_model import import_model
from hyperskin.tracking.compare import make_tables, read_rows
from hyperskin.tracking.export import export_weights
from hyperskin.tracking.journal import find_journals
from hyperskin.tracking.promotion import CHAMPION
from hyperskin.tracking.registry import CANDIDATE
from hyperskin.tracking.store import prepare_store
from hyperskin.tracking.stored import open_version
from hyperskin.tracking.versions import read_models, to_text

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Project
from test_train import SMALL

NAME = "hyperskin-rgb-vis"
PAIR = find_pair("rgb_vis")


@pytest.fixture
def prepared(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which a test stands."""
    for old, new in SMALL.items():
        project.edit(old, new)
    monkeypatch.chdir(project.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    torch.set_num_threads(1)
    return project


def _network(in_channels: int = 3) -> torch.nn.Module:
    torch.manual_seed(3)
    return build("hscnn_plus", in_channels=in_channels, out_channels=31, blocks=2).eval()


def _write(path: Path, network: torch.nn.Module) -> Path:
    torch.save({"epoch": 1, "state_dict": network.state_dict(), "optimizer": {}}, path)
    return path


def _metrics(client: MlflowClient, run_id: str) -> dict[str, float]:
    """Return what an examination measures; how long and how well it was trained is another matter."""
    found = client.get_run(run_id).data.metrics
    return {key: value for key, value in found.items() if not key.startswith(("train/", "val_", "cost/training"))}


def _runs(client: MlflowClient) -> list[object]:
    experiment = client.get_experiment_by_name("hyperskin")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_an_imported_checkpoint_scores_as_its_training_did_to_the_last_digit(
    prepared: Project, caplog: pytest.LogCaptureFixture
) -> None:
    prepared.run("hyperskin", "train", "--model", "hscnn_plus", "--pair", "rgb_vis")
    (checkpoint,) = Path("mlruns/checkpoints").glob("*/last.pt")
    uri = prepare_store(Path())
    client = MlflowClient(uri)
    trained = client.get_model_version_by_alias(NAME, CHAMPION)
    said = prepared.run("hyperskin", "models", "import", str(checkpoint), "--model", "hscnn_plus", "--pair", "rgb_vis")
    assert f"{NAME} version 2 registered; Version 2 was trained elsewhere" in said.stderr

    imported = client.get_model_version(NAME, "2")
    assert _metrics(client, imported.run_id) == _metrics(client, trained.run_id)
    assert "fidelity/melanin_relative_error" in _metrics(client, imported.run_id)
    paths = [{file.path for file in client.list_artifacts(run_id)} for run_id in (imported.run_id, trained.run_id)]
    assert paths[0] == paths[1] - {"params.yaml"}
    for alias in (CHAMPION, CANDIDATE):
        assert client.get_model_version_by_alias(NAME, alias).version == trained.version

    assert imported.tags["pretrained"] == "last.pt"
    assert len(imported.tags["pretrained.sha256"]) == 64
    run = client.get_run(imported.run_id)
    assert run.data.params == {
        "model": "hscnn_plus",
        "pair": "rgb_vis",
        "size": "blocks 1",
        "origin": "pretrained",
        "weights": imported.tags["pretrained.sha256"][:12],
        "input_scale": "fixed",
        "camera": "cie",
        "test_cameras": "all",
        "test_exposures": "none",
    }
    assert "cameras" not in run.data.tags  # whose pictures it has learned from is not known
    assert run.data.tags["test_camera"] == "cie"
    assert run.info.run_name == "hscnn_plus-rgb_vis (blocks 1, pretrained)"
    assert [[tag.value for tag in use.tags] for use in run.inputs.dataset_inputs] == [["test"]]  # it learned from none

    shutil.copy(checkpoint, "renamed.pt")
    with caplog.at_level(logging.INFO, "hyperskin"):
        import_model(Path("renamed.pt"), model="hscnn_plus", pair="rgb_vis")
    assert caplog.messages == ["renamed.pt: imported already as hscnn_plus on rgb_vis, skipped"]

    (table,) = make_tables(read_rows(uri))
    assert table.labels == ("hscnn_plus (blocks 1, pretrained)", "hscnn_plus (blocks 1)")
    assert "pretrained | " in to_text(read_models(uri), manifest=Manifest.read(Path("data/manifest.json")).digest)

    told = export_weights(uri, NAME, "", Path("out.pt"))
    assert told == (
        f"Version 1 of {NAME} written to out.pt: `hyperskin models import out.pt --model hscnn_plus --pair rgb_vis` "
        "reads it in another project."
    )
    kept = torch.load(checkpoint, weights_only=True)["content"]["best"]
    written = torch.load("out.pt", weights_only=True)
    assert written.keys() == kept.keys()
    assert all(torch.equal(written[key], kept[key]) for key in kept)


def test_a_stretched_network_is_examined_and_registered_with_its_stretching(prepared: Project) -> None:
    network = _network()
    import_model(_write(Path("ntire.pth"), network), model="hscnn_plus", pair="rgb_vis", input_scale="min_max")
    uri = prepare_store(Path())
    version = MlflowClient(uri).get_model_version(NAME, "1")
    assert version.tags["input_scale"] == "min_max"

    (file,) = Manifest.read(Path("data/manifest.json")).pair_files("test", PAIR)
    frame = read_frame(file, PAIR, camera="cie")
    picture = frame.input.transpose(2, 0, 1)
    stretched = torch.from_numpy((picture - picture.min()) / (picture.max() - picture.min()))[None]
    with torch.inference_mode():
        expected = network(stretched)[0].numpy().transpose(1, 2, 0)
    measured = MlflowClient(uri).get_run(version.run_id).data.metrics["sam/full"]
    assert measured == pytest.approx(sam(expected, frame.reference, frame.valid).value, rel=1e-5)
    predicted = open_version(uri, version).predict(picture[None])[0].transpose(1, 2, 0)
    np.testing.assert_allclose(predicted, expected, atol=1e-4)

    told = export_weights(uri, NAME, "1", Path("again.pt"))
    assert "--model hscnn_plus --pair rgb_vis --input-scale min_max` reads it" in told
    written, state = torch.load("again.pt", weights_only=True), network.state_dict()
    assert written.keys() == state.keys()
    assert all(torch.equal(written[key], state[key]) for key in state)


def test_an_import_that_is_broken_off_goes_on_in_its_run(prepared: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write(Path("model.pt"), _network())

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(examine, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            import_model(file, model="hscnn_plus", pair="rgb_vis")
    client = MlflowClient(prepare_store(Path()))
    (broken,) = _runs(client)
    assert broken.info.status == "KILLED"
    import_model(file, model="hscnn_plus", pair="rgb_vis")
    (run,) = _runs(client)
    assert (run.info.run_id, run.info.status) == (broken.info.run_id, "FINISHED")
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_what_cannot_be_imported_is_refused_in_one_sentence_and_leaves_nothing(prepared: Project) -> None:
    three, four = _write(Path("three.pt"), _network()), _write(Path("four.pt"), _network(in_channels=4))
    odd = _write(Path("odd.pt"), _network(in_channels=5))
    slips: list[tuple[type[HyperSkinError], str, Path, dict[str, str]]] = [
        (MissingFileError, r"A file of weights must be at none\.pt; there is none\.", Path("none.pt"), {}),
        (UnknownNameError, r"`pair` must be one of rgb_vis, .*; got 'rgb_nir'", three, {"pair": "rgb_nir"}),
        (UnknownNameError, "must be one of hscnn_plus, .*; got 'regression_mean'", three, {"model": "regression_mean"}),
        (DataError, r"it looks like hscnn_plus \(blocks 2, 3 -> 31\): name that model", three, {"model": "hrnet"}),
        (
            DataError,
            r"of 3 -> 31 channels for the pair rgb_vis; it holds one of 4 -> 31, which fits msi_nir\.",
            four,
            {},
        ),
        (DataError, r"it holds one of 5 -> 31, which fits no pair\.", odd, {}),
        (DataError, "needs the cubes nir", four, {"pair": "msi_nir"}),
        (ParamsError, "must be fixed for msi_nir", four, {"pair": "msi_nir", "input_scale": "min_max"}),
    ]
    for kind, said, file, words in slips:
        with pytest.raises(kind, match=said):
            import_model(file, **{"model": "hscnn_plus", "pair": "rgb_vis"} | words)  # type: ignore[arg-type]
    Path("data/manifest.json").write_text(Path("data/manifest.json").read_text() + "\n")
    with pytest.raises(VersionError, match=r"must be what dvc\.lock records"):
        import_model(three, model="hscnn_plus", pair="rgb_vis")
    assert find_journals(Path()) == []
    assert not Path("mlruns/checkpoints").exists()
    assert Ledger.of(Path()).newest() == []


def test_a_checkpoint_of_ours_is_not_examined_with_another_scale_than_it_was_trained_with(prepared: Project) -> None:
    content = {"network": _network().state_dict(), "best": None, "made_with": {"input_scale": "min_max"}}
    torch.save({"schema": 2, "digest": content_digest([2, content]), "content": content}, "last.pt")
    said = r"must see pictures as it was trained, with the input scale min_max; got fixed: say `--input-scale min_max`"
    with pytest.raises(DataError, match=said):
        import_model(Path("last.pt"), model="hscnn_plus", pair="rgb_vis")
