"""The champion comes out of the registry and takes frames of any size."""

import os

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from hyperskin.errors import MissingFileError
from hyperskin.models.baselines import build
from hyperskin.pairs import find_pair
from hyperskin.tracking import champion as champion_module
from hyperskin.tracking.champion import load_champion
from hyperskin.tracking.promotion import promote
from hyperskin.tracking.registry import register
from hyperskin.training.reconstruct import reconstruct

PAIR = find_pair("rgb_vis")


def test_without_a_champion_there_is_none(uri):
    assert load_champion(uri, PAIR, evaluation="test-set-a") is None


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build("hrnet", in_channels=PAIR.in_channels, out_channels=PAIR.out_channels, width=4)


def test_it_reconstructs_as_the_network_does_whatever_the_size(uri, finish, provenance, network):
    version = register(
        uri, network, run_id=finish(model="hrnet", size="width 4"), pair=PAIR, manifest=provenance.manifest,
        parameter_count=1, size_multiple=8,
    )  # fmt: skip
    promote(uri, PAIR.registered_name, version)
    before = dict(os.environ)
    champion = load_champion(uri, PAIR, evaluation=provenance.evaluation)
    assert dict(os.environ) == before, "MLflow's address must not stay behind for whoever comes next"
    assert champion is not None
    assert (champion.version, champion.model, champion.size) == (version, "hrnet", "width 4")
    assert champion.knows(provenance.manifest)
    assert not champion.knows("other data")
    for height, width in ((24, 32), (26, 37)):
        frame = np.random.default_rng(1).random((height, width, 3), dtype=np.float32)
        found = champion.reconstruct(frame)
        assert found.shape == (height, width, 31)
        np.testing.assert_allclose(found, reconstruct(network, frame, device=torch.device("cpu")), atol=1e-4)


def test_a_champion_of_another_test_set_gives_way_to_the_best_of_this_one(uri, add_version, monkeypatch):
    monkeypatch.setattr(champion_module, "open_version", lambda uri, version: None)

    def add(evaluation: str, angle: float) -> str:
        version = add_version({"sam/masked": angle, "sam/full": angle}, evaluation=evaluation)
        promote(uri, PAIR.registered_name, version)
        return version

    older = add("older test set", 0.01)
    worse, better = add("this test set", 0.3), add("this test set", 0.2)
    assert str(MlflowClient(uri).get_model_version_by_alias(PAIR.registered_name, "champion").version) == older
    found = load_champion(uri, PAIR, evaluation="this test set")
    assert found is not None
    assert found.version == better != worse
    assert load_champion(uri, PAIR, evaluation="a third test set") is None


def test_whoever_stands_in_was_examined_by_the_camera_of_champions_and_says_so(uri, add_version, monkeypatch):
    monkeypatch.setattr(champion_module, "open_version", lambda uri, version: None)
    for camera, angle in (("phone", 0.1), ("cie", 0.3), ("cie", 0.2)):
        add_version({"sam/masked": angle}, tags={"test_camera": camera, "champion_camera": "cie"}, evaluation="here")
    found = load_champion(uri, PAIR, evaluation="here")
    assert found is not None
    assert (found.version, found.camera) == ("3", "cie")


def test_a_network_trained_elsewhere_stands_in_only_where_there_is_no_other(uri, add_version, monkeypatch):
    monkeypatch.setattr(champion_module, "open_version", lambda uri, version: None)
    add_version({"sam/masked": 0.01}, tags={"pretrained": "ntire.pth"})
    found = load_champion(uri, PAIR, evaluation="test-set-a")
    assert (found.version, found.knows("manifest-aaaa")) == ("1", False)
    add_version({"sam/masked": 0.2})
    found = load_champion(uri, PAIR, evaluation="test-set-a")
    assert (found.version, found.knows("manifest-aaaa")) == ("2", True)


def test_a_champion_whose_file_is_not_the_registered_one_is_refused(uri, add_version, provenance):
    promote(uri, PAIR.registered_name, add_version({"sam/masked": 0.1}))
    with pytest.raises(MissingFileError, match="Version 1 of hyperskin-rgb-vis must have its file"):
        load_champion(uri, PAIR, evaluation=provenance.evaluation)
