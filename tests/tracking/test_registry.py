"""A version is created last, after its file, and says where it comes from."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from hyperskin.errors import DataError, VersionError
from hyperskin.models.stretched import Stretched
from hyperskin.pairs import find_pair
from hyperskin.tracking import stored
from hyperskin.tracking.notes import SCORES
from hyperskin.tracking.registry import CANDIDATE, register

PAIR = find_pair("rgb_vis")
NAME = PAIR.registered_name

# Loads as a stranger would: stock MLflow, no module of ours, no pickle.
STRANGER = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hyperskin", "flows"):
            raise ImportError("a stranger has no " + name)

sys.meta_path.insert(0, Blocker())
import mlflow, numpy as np

model = mlflow.pyfunc.load_model(sys.argv[1])
sums = []
for shape in json.loads(sys.argv[2]):
    frames = np.float32(0.5) * np.random.default_rng(1).random(shape, dtype=np.float32)
    answer = model.predict(frames)
    sums.append([list(answer.shape), float(answer.astype(np.float64).sum())])
print(json.dumps(sums))
"""


@pytest.fixture
def network(small_network):
    torch.manual_seed(0)
    return small_network(PAIR.in_channels, PAIR.out_channels)


@pytest.fixture
def register_run(uri, network, provenance):
    def make(run_id, **fields):
        given = {"manifest": provenance.manifest, "parameter_count": 868, "size_multiple": 1} | fields
        return register(uri, network, run_id=run_id, pair=PAIR, **given)

    return make


def _load_as_stranger(uri, model_uri, shapes):
    environment = {
        "PATH": os.environ["PATH"],
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-I", "-c", STRANGER, model_uri, json.dumps(shapes)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def _compute(network, shapes):
    sums = []
    for shape in shapes:
        frames = np.float32(0.5) * np.random.default_rng(1).random(shape, dtype=np.float32)
        with torch.inference_mode():
            answer = network.eval()(torch.from_numpy(frames)).double()
        sums.append([list(answer.shape), float(answer.sum())])
    return sums


def test_version_is_loaded_by_stock_mlflow_without_us_and_without_pickle_at_any_size(
    root, uri, network, finish, register_run, scores, provenance
):
    run_id = finish()
    version = register_run(run_id)
    shapes = [[1, 3, 64, 64], [2, 3, 48, 80]]
    loaded = _load_as_stranger(uri, f"models:/{NAME}@{CANDIDATE}", shapes)
    for (shape, total), (expected_shape, expected_total) in zip(loaded, _compute(network, shapes), strict=True):
        assert shape == expected_shape
        assert total == pytest.approx(expected_total, rel=1e-6)
    [file] = (root / "mlruns" / "artifacts" / "models").rglob("model.pt2")
    found = MlflowClient(uri).get_model_version(NAME, version)
    git = {key: value for key, value in MlflowClient(uri).get_run(run_id).data.tags.items() if key.startswith("git.")}
    assert {"git.commit"} <= git.keys() <= {"git.commit", "git.dirty", "git.diff"}
    assert found.tags == {
        "model": "mst_plus_plus",
        "size": "full",
        **{key: f"{scores[key]:.6g}" for key in SCORES},
        "parameter_count": "868",
        "size_multiple": "1",
        **git,
        **dataclasses.asdict(provenance),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    assert found.run_id == run_id
    assert found.description.startswith("sam/masked 0.1000, sam/full 0.1200, ssim/masked 0.9500, ssim/full 0.9200; mst")
    assert MlflowClient(uri).get_registered_model(NAME).description == (
        "Networks that reconstruct 31 bands from 400 to 700 nm from rgb."
    )


def test_model_lies_below_the_root_and_its_example_is_noise(root, uri, finish, register_run):
    register_run(finish())
    files = {path.name: path for path in (root / "mlruns" / "artifacts" / "models").rglob("*") if path.is_file()}
    assert "model.pt2" in files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pth"))]
    example = np.asarray(json.loads(files["input_example.json"].read_text()))
    assert np.allclose(example, np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32))
    needed = [f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.split('+')[0]}"]
    assert files["requirements.txt"].read_text().split() == needed


def test_network_and_environment_stay_as_they_were(network, finish, register_run):
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    register_run(finish())
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_file_that_computes_something_else_gets_no_version(uri, finish, register_run, monkeypatch):
    real = mlflow.pyfunc.load_model

    def load_changed(folder):
        loaded = real(folder)
        return type("Changed", (), {"predict": staticmethod(lambda frames: loaded.predict(frames) + 0.01)})

    monkeypatch.setattr(mlflow.pyfunc, "load_model", load_changed)
    with pytest.raises(DataError, match=r"differs by 0\.01"):
        register_run(finish())
    assert MlflowClient(uri).search_model_versions(f"name = '{NAME}'") == []


def test_file_that_comes_back_changed_gets_no_version(uri, finish, register_run, monkeypatch):
    real = stored._download

    def damage(address, folder):
        real(address, folder)
        with (Path(folder) / "data" / "model.pt2").open("ab") as file:
            file.write(b"x")

    monkeypatch.setattr(stored, "_download", damage)
    with pytest.raises(DataError, match="must give back what it was sent"):
        register_run(finish())
    assert MlflowClient(uri).search_model_versions(f"name = '{NAME}'") == []


def test_what_stops_before_the_version_leaves_none_and_the_next_call_makes_it(uri, finish, register_run, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    run_id = finish()
    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "register_model", stop)
        with pytest.raises(KeyboardInterrupt):
            register_run(run_id)
    assert MlflowClient(uri).search_registered_models() == []
    assert register_run(run_id) == "1"


def test_run_that_has_a_version_keeps_it(uri, add_version, network, provenance):
    version = add_version({"sam/masked": 0.1})
    client = MlflowClient(uri)
    fields = {"manifest": provenance.manifest, "parameter_count": 1, "size_multiple": 1}
    run_id = client.get_model_version(NAME, version).run_id
    assert register(uri, network, run_id=run_id, pair=PAIR, **fields) == version
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1


def test_a_network_trained_elsewhere_says_so_and_is_no_candidate(uri, add_version):
    ours = add_version({"sam/masked": 0.2})
    elsewhere = {"pretrained": "ntire.pth", "pretrained.sha256": "ab" * 32}
    version = MlflowClient(uri).get_model_version(NAME, add_version({"sam/masked": 0.1}, tags=elsewhere))
    assert elsewhere.items() <= version.tags.items()
    assert str(MlflowClient(uri).get_model_version_by_alias(NAME, CANDIDATE).version) == ours
    assert "trained elsewhere, from ntire.pth" in version.description


def test_data_that_changed_since_the_training_are_refused(uri, finish, register_run):
    with pytest.raises(VersionError, match=r"manifest-a.*now other"):
        register_run(finish(), manifest="other")
    assert MlflowClient(uri).search_registered_models() == []


@pytest.mark.parametrize("missing", ["unit_key", "manifest", "split", "evaluation", "code", "params"])
def test_run_that_does_not_say_what_it_was_made_from_is_refused(finish, register_run, provenance, missing):
    run_id = finish(provenance=dataclasses.replace(provenance, **{missing: ""}))
    with pytest.raises(VersionError, match=f"lacks {missing}"):
        register_run(run_id)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hscnn_plus", "hrnet", "mst_plus_plus"])
def test_every_baseline_is_loaded_by_stock_mlflow_at_two_sizes(uri, finish, provenance, name):
    from hyperskin.models.baselines import build, parameter_count

    torch.manual_seed(0)
    network = build(name, in_channels=PAIR.in_channels, out_channels=PAIR.out_channels)
    register(
        uri,
        network,
        run_id=finish(model=name),
        pair=PAIR,
        manifest=provenance.manifest,
        parameter_count=parameter_count(network),
        size_multiple=network.size_multiple,
    )
    shapes = [[1, 3, 64, 64], [2, 3, 48, 40]]
    loaded = _load_as_stranger(uri, f"models:/{NAME}@{CANDIDATE}", shapes)
    for (shape, total), (expected_shape, expected_total) in zip(loaded, _compute(network, shapes), strict=True):
        assert shape == expected_shape
        assert total == pytest.approx(expected_total, rel=1e-4)


def test_a_stretched_network_stretches_wherever_it_is_loaded(uri, network, finish, provenance):
    stretched = Stretched(network)
    fields = {"manifest": provenance.manifest, "parameter_count": 868, "size_multiple": 1}
    register(uri, stretched, run_id=finish(), pair=PAIR, **fields)
    shapes = [[1, 3, 48, 40], [2, 3, 64, 64]]
    loaded = _load_as_stranger(uri, f"models:/{NAME}@{CANDIDATE}", shapes)
    for (shape, total), (expected_shape, expected_total) in zip(loaded, _compute(stretched, shapes), strict=True):
        assert shape == expected_shape
        assert total == pytest.approx(expected_total, rel=1e-4)
    assert loaded[0][1] != pytest.approx(_compute(network, shapes)[0][1], rel=1e-2)
