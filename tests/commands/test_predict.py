"""`hyperskin predict` writes what a registered champion sees, where a picture of that person may lie, and scores it."""

import logging
import re

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from PIL import Image
from torch import nn

from hyperskin.bands import NIR, VIS
from hyperskin.cli import main
from hyperskin.commands.predict import predict
from hyperskin.data.cubefile import HIGHEST, LOWEST, CubeReader, read_cube, write_cubes
from hyperskin.data.frames import read_input
from hyperskin.data.manifest import Manifest
from hyperskin.errors import ConsentError, DataError
from hyperskin.metrics.sam import sam
from hyperskin.pairs import find_pair
from hyperskin.skin.subject_gain import PriorSums
from hyperskin.steps.skin_input import read_face
from hyperskin.steps.skin_maps import read_skin
from hyperskin.tracking import champion, photo, registry
from hyperskin.tracking.champion import Champion
from hyperskin.tracking.gain_prior import log_prior
from hyperskin.tracking.promotion import promote
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import prepare_store
from hyperskin.tracking.stored import StoredFile
from tests.faces import draw, make_repository, measure, photograph, subject_of
from tests.stores import copy_store

NAME, SMILE, OTHER = "p004_neutral_front", "p004_smile_front", "p001_neutral_front"
STEP = 1 / 28672
CAMERAS = {"test_camera": "cie", "champion_camera": "cie"}
PAIR = find_pair("rgb_vis")


class Linear(nn.Module):
    """A pixel's spectrum as a linear function of its input."""

    size_multiple = 1

    def __init__(self, weights, offset):
        super().__init__()
        self.convolution = nn.Conv2d(len(weights), len(offset), 1)
        with torch.no_grad():
            self.convolution.weight[:] = torch.from_numpy(weights.T[..., None, None].astype(np.float32))
            self.convolution.bias[:] = torch.from_numpy(offset.astype(np.float32))

    def forward(self, frames):
        return self.convolution(frames)

    def see(self, frame):
        """Return what it must reconstruct, by another way: (H, W, C_in) to (H, W, C_out)."""
        weights = self.convolution.weight.detach().numpy()[..., 0, 0]
        return (frame @ weights.T + self.convolution.bias.detach().numpy()).astype(np.float32)


class Opened:
    """A network as it comes out of the store."""

    def __init__(self, network):
        self.network = network

    def predict(self, frames):
        with torch.inference_mode():
            return self.network(torch.from_numpy(frames)).numpy()


def fit(root, pair, target):
    """Return a network fitted to one person."""
    inputs = root / "data" / "inputs" / "p001" / f"{OTHER}.h5"
    seen = read_input(inputs, pair, camera="cie").reshape(-1, pair.in_channels)
    rows = np.column_stack([seen, np.ones(len(seen))])
    solved = np.linalg.lstsq(rows, target.reshape(len(seen), -1), rcond=None)[0]
    return Linear(solved[:-1], solved[-1])


def errors_of(network):
    """Return the prior of a network's errors on three people."""
    people = PriorSums(VIS)
    for who in ("p001", "p002", "p003"):
        lines = draw(f"{who}_neutral_front")
        skin = subject_of(lines)
        people.add(lines.vis[skin], network.see(photograph(lines).astype(np.float32) / 255)[skin])
    return people.prior()


def store_nothing(network, *, run_id, pair):
    """Do as `store_network` without the seconds of an export."""
    client = MlflowClient()
    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, name="model", source_run_id=run_id)
    return StoredFile(client.finalize_logged_model(model.model_id, LoggedModelStatus.READY).model_uri, "0" * 64)


@pytest.fixture(scope="module")
def repository(tmp_path_factory, empty_store):
    """Three captures and a registered champion of rgb_vis, in a store of SQLite."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = make_repository(tmp_path_factory.mktemp("repository"), [NAME, SMILE, OTHER])
        copy_store(empty_store, root)
        uri, manifest = prepare_store(root), Manifest.read(root / "data" / "manifest.json").digest
        network = fit(root, PAIR, draw(OTHER).vis)
        provenance = Provenance(
            unit_key="unit", manifest=manifest, split="split", evaluation="here", code="code", params="params"
        )
        about = {"model": "hrnet", "pair": PAIR.name, "params": {"camera": "cie"}, "provenance": provenance}
        with RunLog(uri, **about, data_name="phantom", root=root, tags=CAMERAS) as run:
            run.log_summary({"sam/masked": 0.1})
            log_prior(run, errors_of(network))
        patch.setattr(registry, "store_network", store_nothing)
        version = registry.register(
            uri, network, run_id=run.run_id, pair=PAIR, manifest=manifest, parameter_count=1, size_multiple=1
        )
        assert promote(uri, PAIR.registered_name, version).is_champion
    return root, network


@pytest.fixture
def root(repository, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(repository[0])
    monkeypatch.setattr(champion, "open_version", lambda uri, version: Opened(repository[1]))
    return repository[0]


@pytest.fixture
def network(repository):
    return repository[1]


def attributes_of(path):
    with CubeReader(path) as reader:
        return reader.header.attributes["reconstruction"]


def test_a_capture_is_reconstructed_from_its_inputs_and_scored(root, network, capsys):
    predict(NAME)
    path = root / "data" / "predictions" / f"{NAME}-rgb_vis.h5"
    inputs = root / "data" / "inputs" / "p004" / f"{NAME}.h5"
    expected = network.see(read_input(inputs, find_pair("rgb_vis"), camera="cie"))
    np.testing.assert_allclose(read_cube(path, "vis"), np.clip(expected, LOWEST, HIGHEST), atol=STEP)
    measured = read_cube(root / "data" / "cubes" / "p004" / f"{NAME}.h5", "vis")
    masked, full = sam(expected, measured, subject_of(draw(NAME))).value, sam(expected, measured).value
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"data/predictions/{NAME}-rgb_vis.h5: 64 x 64 px, 31 bands from 400 to 700 nm"
    found = re.fullmatch(r"SAM to the measured cube: ([\d.]+) masked, ([\d.]+) full rad", second)
    assert [float(value) for value in found.groups()] == pytest.approx([masked, full], abs=1e-4)
    made = attributes_of(path)
    assert (made["pair"], made["version"], made["calibration"]) == ("rgb_vis", "1", None)
    assert made["input"] == f"data/inputs/p004/{NAME}.h5"
    assert len(made["run_id"]) == 32
    assert len(made["input_sha256"]) == 64


def test_both_cubes_of_a_pair_are_kept_and_read_back_as_one(root, monkeypatch):
    pair, cubes = find_pair("msi_visnir"), measure(draw(OTHER))
    fitted = fit(root, pair, np.concatenate([cubes["vis"], cubes["nir"][..., 1:]], axis=2))
    model = photo.PhotoModel(Champion("1", "hrnet", "", "", "cie", fitted.see), "cie")
    monkeypatch.setattr(photo, "load_photo_model", lambda uri, pair: model)
    predict(NAME, pair="msi_visnir")
    path = root / "data" / "predictions" / f"{NAME}-msi_visnir.h5"
    with CubeReader(path) as reader:
        assert reader.header.bands == {"vis": VIS, "nir": NIR}
    inputs = root / "data" / "inputs" / "p004" / f"{NAME}.h5"
    expected = np.clip(fitted.see(read_input(inputs, pair, camera="cie")), LOWEST, HIGHEST)
    np.testing.assert_allclose(read_face(root, str(path)).cube, expected, atol=STEP)


def test_a_photo_of_nobody_known_stays_below_data(root, network, tmp_path, capsys):
    Image.fromarray(photograph(draw(NAME))).save(tmp_path / "selfie.png")
    predict(str(tmp_path / "selfie.png"))
    path = root / "data" / "predictions" / "selfie-rgb_vis.h5"
    expected = network.see(photograph(draw(NAME)).astype(np.float32) / 255)
    np.testing.assert_allclose(read_cube(path, "vis"), np.clip(expected, LOWEST, HIGHEST), atol=STEP)
    assert "SAM" not in capsys.readouterr().out, "nothing was measured"
    for out in (tmp_path / "mine.h5", root / "data" / "cubes" / "mine.h5"):
        with pytest.raises(
            ConsentError, match=r"A reconstruction of selfie, who is not in .* stay below data/predictions"
        ):
            predict(str(tmp_path / "selfie.png"), out=out)
        assert not out.exists()


def test_whoever_may_be_shown_may_go_elsewhere_but_not_among_the_stages_files(root, tmp_path):
    predict(NAME, out=tmp_path / "mine.h5")
    assert (tmp_path / "mine.h5").is_file()
    with pytest.raises(DataError, match=r"`--out` must leave data/ to the stages .* but for data/predictions"):
        predict(NAME, out=root / "data" / "cubes" / "p004" / "mine.h5")
    with pytest.raises(DataError, match=r"`--out` must be a cube file, NAME\.h5"):
        predict(NAME, out=tmp_path / "mine.tif")


def test_nothing_but_its_own_is_overwritten(root, tmp_path):
    path = tmp_path / "mine.h5"
    predict(NAME, out=path)
    predict(NAME, out=path)
    with pytest.raises(
        DataError, match=f"holds rgb_vis of data/inputs/p004/{NAME}.h5; rgb_vis of .*{SMILE}.* elsewhere"
    ):
        predict(SMILE, out=path)
    for stranger in (tmp_path / "text.h5", tmp_path / "cube.h5"):
        if stranger.name == "text.h5":
            stranger.write_text("mine")
        else:
            with write_cubes(stranger, height=1, width=1, bands={"vis": VIS}, attributes={}) as writer:
                writer.append({"vis": np.ones((1, 1, 31))}, np.ones((1, 1), dtype=np.bool_))
        kept = stranger.read_bytes()
        with pytest.raises(DataError, match="must be free, or an earlier prediction; it is another file"):
            predict(NAME, out=stranger)
        assert stranger.read_bytes() == kept


def test_calibration_changes_bare_skin_alone_and_brings_it_nearer(root, tmp_path, capsys):
    predict(SMILE, out=tmp_path / "plain.h5")
    predict(SMILE, calibrate=NAME, out=tmp_path / "better.h5")
    plain, better = (read_cube(tmp_path / f"{name}.h5", "vis") for name in ("plain", "better"))
    made = attributes_of(tmp_path / "better.h5")["calibration"]
    is_changed = (np.abs(plain - better) > 2 * STEP).any(axis=2)
    assert is_changed.any()
    assert not is_changed[~subject_of(draw(SMILE))].any()
    np.testing.assert_allclose(better[is_changed], plain[is_changed] * made["gain"], atol=3 * STEP)
    measured = read_cube(root / "data" / "cubes" / "p004" / f"{SMILE}.h5", "vis")
    assert sam(better, measured, is_changed).value < sam(plain, measured, is_changed).value
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.search(r"masked \([\d.]+ before calibration\), .* full \([\d.]+ before calibration\) rad", last)
    with pytest.raises(DataError, match=f"must be calibrated by another capture than its own; got {NAME} for both"):
        predict(NAME, calibrate=NAME)


def test_skin_maps_know_a_reconstruction_from_a_measurement(root, tmp_path):
    Image.fromarray(photograph(draw(NAME))).save(tmp_path / "holiday.png")
    predict(str(tmp_path / "holiday.png"), subject="p004")
    face = read_face(root, "data/predictions/holiday-rgb_vis.h5")
    assert (face.origin, face.subject, face.may_be_shown) == ("reconstruction", "p004", False)
    assert "oxygenation" not in read_skin(face, method="inverse", binning=1).maps
    from hyperskin.steps.skin_calibration import calibrate_face

    with pytest.raises(DataError, match="is a finished reconstruction: give `--calibrate` to `hyperskin predict`"):
        calibrate_face(root, face, SMILE)


def test_what_does_not_fit_the_file_is_clipped_and_counted(root, tmp_path, caplog):
    from hyperskin.steps import predict as step

    made = step.predict(root, NAME, "rgb_vis")
    np.clip(made.face.cube, 0, 1, out=made.face.cube)
    made.face.cube[0, 0, :3] = (9, -9, 2.14)
    with caplog.at_level(logging.INFO, logger="hyperskin"):
        assert step.write_prediction(made, tmp_path / "mine.h5") == 2
    assert f"2 of {64 * 64 * 31} values clipped to -0.143 .. 2.143" in caplog.text
    np.testing.assert_allclose(read_cube(tmp_path / "mine.h5", "vis")[0, 0, :2], [2.1428, -0.1429], atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("nobody",),
            1,
            "hyperskin: A prediction needs a photo (.png, .jpg, .jpeg) or a capture in data/manifest.json",
        ),
        (("nobody.jpg",), 1, "hyperskin: A photo must be at nobody.jpg; there is none."),
        ((NAME[:-1],), 1, f"did you mean {NAME}?"),
        ((NAME, "--pair", "msi_nir"), 1, "hyperskin: A reconstruction needs a champion of hyperskin-msi-nir"),
        (("photo.png", "--pair", "msi_nir"), 1, "hyperskin: A photo must be reconstructed as rgb_vis; got msi_nir"),
        ((NAME, "--mask", "a.png"), 1, "hyperskin: `--mask` must come with `--calibrate`"),
        ((NAME, "--calibrate-photo", "a.png"), 1, "hyperskin: `--calibrate-photo` must come with `--calibrate`"),
        ((NAME, "--pair", "rgb_nir"), 2, "msi_visnir"),
    ],
)
def test_a_slip_is_one_sentence_and_an_exit_code(root, capsys, arguments, code, message):
    Image.fromarray(photograph(draw(NAME))).save(root / "photo.png")
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments])
    assert ended.value.code == code
    told = capsys.readouterr()
    assert message in told.err + told.out


def test_help_teaches(root, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for words in ("takes the champion of rgb_vis", "is clipped and counted", "must be as that model's camera"):
        assert words in told
