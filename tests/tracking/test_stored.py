"""Only the file that was registered is opened: a changed, missing or foreign one is refused before it is loaded."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from hyperskin.errors import MissingFileError, VersionError
from hyperskin.pairs import find_pair
from hyperskin.tracking.registry import register
from hyperskin.tracking.stored import SHA256, open_version, require_intact

PAIR = find_pair("rgb_vis")
NAME = PAIR.registered_name


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def version(uri, finish, provenance, small_network):
    """Return the one version in the store."""
    torch.manual_seed(0)
    fields = {"manifest": provenance.manifest, "parameter_count": 1, "size_multiple": 1}
    number = register(uri, small_network(3, 31), run_id=finish(), pair=PAIR, **fields)
    return MlflowClient(uri).get_model_version(NAME, number)


@pytest.fixture
def files(root, version):
    """Return the folder that holds the version's files."""
    [path] = (root / "mlruns" / "artifacts").rglob("MLmodel")
    return path.parent


def test_intact_version_is_opened_and_computes(uri, version, small_network):
    frames = np.random.default_rng(0).random((1, 3, 20, 30), dtype=np.float32)
    require_intact(uri, version)
    torch.manual_seed(0)
    with torch.inference_mode():
        expected = small_network(3, 31)(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(open_version(uri, version).predict(frames), expected, atol=1e-6)


def test_file_that_is_gone_is_missed(uri, version, files):
    (files / "data" / "model.pt2").unlink()
    with pytest.raises(MissingFileError, match="Version 1 of hyperskin-rgb-vis must have its file in the store"):
        open_version(uri, version)
    shutil.rmtree(files)
    with pytest.raises(MissingFileError, match="bring mlruns/artifacts back"):
        require_intact(uri, version)


def test_file_that_changed_is_refused_though_it_would_load(uri, version, files):
    with (files / "data" / "model.pt2").open("ab") as file:
        file.write(b"x")
    for use in (open_version, require_intact):
        with pytest.raises(VersionError, match="must be the file that was registered"):
            use(uri, version)


def _other_code(files, mark):
    """Let MLflow's own description load another module."""
    (files / "code").mkdir()
    (files / "code" / "evil.py").write_text(f"open({str(mark)!r}, 'w')\ndef _load_pyfunc(*_): return None\n")
    path = files / "MLmodel"
    path.write_text(path.read_text().replace("loader_module: mlflow.pytorch", "loader_module: evil\n    code: code"))


def _pickle_beside(files, mark):
    """MLflow prefers model.pth where there is one."""
    (files / "data" / "model.pth").write_bytes(pickle.dumps(Evil(mark)))
    (files / "data" / "pickle_module_info.txt").write_text("pickle")


def _pickled_function(files, mark):
    """Describe a pickled Python function, as MLflow's own pyfunc models are."""
    (files / "python_model.pkl").write_bytes(pickle.dumps(Evil(mark)))
    (files / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n"
        "    cloudpickle_version: 3.0.0\n    python_version: 3.11.7\n    env: {}\n"
    )


def _no_description(files, mark):
    (files / "MLmodel").write_text("- no\n- model\n")


@pytest.mark.parametrize("harm", [_other_code, _pickle_beside, _pickled_function, _no_description])
def test_what_would_run_other_code_is_refused_and_does_not_run(uri, version, files, tmp_path, harm):
    harm(files, tmp_path / "mark")
    with pytest.raises(VersionError, match=r"must be a traced graph and nothing else|cannot be read"):
        open_version(uri, version)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("source", ["file:///etc", "models:/m-1/../../..", "http://127.0.0.1:1/model", "../model"])
def test_version_from_another_place_is_refused_and_nothing_is_fetched(uri, version, source):
    version._source = source
    with pytest.raises(VersionError, match=r"must come from a model in this store \(models:/m-\.\.\.\)"):
        open_version(uri, version)


def test_version_that_names_no_hash_is_refused(uri, version):
    MlflowClient(uri).delete_model_version_tag(NAME, version.version, SHA256)
    with pytest.raises(VersionError, match="must name the SHA-256 of its file"):
        open_version(uri, MlflowClient(uri).get_model_version(NAME, version.version))
