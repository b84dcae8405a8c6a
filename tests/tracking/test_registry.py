import dataclasses
import itertools
import json
import os
import subprocess
import sys

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from hyperskin.errors import DataError, VersionError
from hyperskin.pairs import find_pair
from hyperskin.tracking import registry
from hyperskin.tracking.registry import CANDIDATE, CHAMPION, promote, register

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
    frames = np.random.default_rng(1).random(shape, dtype=np.float32)
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


@pytest.fixture
def add_version(uri, finish, provenance, monkeypatch):
    """Register a finished run without the cost of an export; each is a unit of its own."""
    numbers = itertools.count()
    monkeypatch.setattr(registry, "_export", lambda network, *, run_id, pair: _store_nothing(uri, run_id))

    def make(scores, **fields):
        own = dataclasses.replace(provenance, unit_key=f"unit-{next(numbers)}", **fields)
        return _register_nothing(uri, finish(scores, provenance=own), provenance)

    return make


def _register_nothing(uri, run_id, provenance):
    fields = {"manifest": provenance.manifest, "parameter_count": 1, "size_multiple": 1}
    return register(uri, None, run_id=run_id, pair=PAIR, **fields)


def _store_nothing(uri, run_id):
    client = MlflowClient(uri)
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY).model_uri


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
        frames = np.random.default_rng(1).random(shape, dtype=np.float32)
        with torch.inference_mode():
            answer = network.eval()(torch.from_numpy(frames)).double()
        sums.append([list(answer.shape), float(answer.sum())])
    return sums


def test_version_is_loaded_by_stock_mlflow_without_us_and_without_pickle_at_any_size(
    uri, network, finish, register_run, scores, provenance
):
    run_id = finish()
    version = register_run(run_id)
    shapes = [[1, 3, 64, 64], [2, 3, 48, 80]]
    loaded = _load_as_stranger(uri, f"models:/{NAME}@{CANDIDATE}", shapes)
    for (shape, total), (expected_shape, expected_total) in zip(loaded, _compute(network, shapes), strict=True):
        assert shape == expected_shape
        assert total == pytest.approx(expected_total, rel=1e-6)
    stored = MlflowClient(uri).get_model_version(NAME, version)
    assert stored.tags == {
        "model": "mst_plus_plus",
        "pair": "rgb_vis",
        "size": "full",
        **{key: f"{scores[key]:.6g}" for key in registry.SCORES},
        "manifest": provenance.manifest,
        "evaluation": provenance.evaluation,
        "code": provenance.code,
        "run_id": run_id,
        "parameter_count": "868",
        "size_multiple": "1",
    }
    assert stored.run_id == run_id
    assert (
        stored.description == "sam/masked 0.1000, sam/full 0.1200, ssim/masked 0.9500, ssim/full 0.9200; mst_plus_plus"
    )
    assert "31 bands from 400 to 700 nm" in MlflowClient(uri).get_registered_model(NAME).description


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

    def load_changed(model_uri):
        loaded = real(model_uri)
        return type("Changed", (), {"predict": staticmethod(lambda frames: loaded.predict(frames) + 0.01)})

    monkeypatch.setattr(mlflow.pyfunc, "load_model", load_changed)
    with pytest.raises(DataError, match=r"differs by 0\.01"):
        register_run(finish())
    assert MlflowClient(uri).search_model_versions(f"name = '{NAME}'") == []


def test_run_that_has_a_version_keeps_it(uri, add_version, provenance):
    version = add_version({"sam/masked": 0.1})
    run_id = MlflowClient(uri).get_model_version(NAME, version).run_id
    assert _register_nothing(uri, run_id, provenance) == version
    assert len(MlflowClient(uri).search_model_versions(f"name = '{NAME}'")) == 1


def test_data_that_changed_since_the_training_are_refused(uri, finish, register_run):
    with pytest.raises(VersionError, match=r"manifest-a.*now other"):
        register_run(finish(), manifest="other")
    assert MlflowClient(uri).search_registered_models() == []


@pytest.mark.parametrize("missing", ["manifest", "evaluation", "code"])
def test_run_that_does_not_say_what_it_was_made_from_is_refused(finish, register_run, provenance, missing):
    run_id = finish(provenance=dataclasses.replace(provenance, **{missing: ""}))
    with pytest.raises(VersionError, match=f"lacks {missing}"):
        register_run(run_id)


# who is champion


def _champion(uri):
    return str(MlflowClient(uri).get_model_version_by_alias(NAME, CHAMPION).version)


def test_better_version_becomes_champion_and_a_worse_or_equal_one_does_not(uri, add_version):
    assert promote(uri, NAME, add_version({"sam/masked": 0.10})).reason.endswith("0.1000, there was none.")
    worse = promote(uri, NAME, add_version({"sam/masked": 0.11, "ssim/masked": 0.99}))
    assert not worse.is_champion
    assert "0.1100, not below the 0.1000 of the champion, version 1 (mst_plus_plus)" in worse.reason
    assert not promote(uri, NAME, add_version({"sam/masked": 0.10})).is_champion
    assert _champion(uri) == "1"
    better = add_version({"sam/masked": 0.09, "ssim/masked": 0.10})
    assert promote(uri, NAME, better).is_champion
    assert _champion(uri) == better == "4"
    assert promote(uri, NAME, better).reason.endswith("is the champion already.")


def test_score_on_another_test_set_moves_nothing(uri, add_version):
    promote(uri, NAME, add_version({"sam/masked": 0.10}))
    other = promote(uri, NAME, add_version({"sam/masked": 0.01}, evaluation="test-set-b"))
    assert not other.is_champion
    assert "different test sets" in other.reason
    assert _champion(uri) == "1"


def test_angle_over_everything_decides_where_there_is_no_mask(uri, add_version):
    promote(uri, NAME, add_version({"sam/full": 0.10}))
    assert promote(uri, NAME, add_version({"sam/full": 0.09})).is_champion


def test_version_without_a_score_is_never_champion(uri, add_version):
    result = promote(uri, NAME, add_version({"ssim/full": 0.9}))
    assert not result.is_champion
    assert "has no sam/full" in result.reason


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
