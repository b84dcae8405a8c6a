"""The champion comes out of the registry and takes frames of any size."""

import os

import numpy as np
import pytest
import torch

from hyperskin.models.baselines import build
from hyperskin.pairs import find_pair
from hyperskin.tracking.champion import load_champion
from hyperskin.tracking.registry import promote, register
from hyperskin.training.reconstruct import reconstruct

PAIR = find_pair("rgb_vis")


def test_without_a_champion_there_is_none(uri):
    assert load_champion(uri, PAIR) is None


@pytest.fixture
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
    champion = load_champion(uri, PAIR)
    assert dict(os.environ) == before, "MLflow's address must not stay behind for whoever comes next"
    assert champion is not None
    assert (champion.version, champion.model, champion.size) == (version, "hrnet", "width 4")
    for height, width in ((24, 32), (26, 37)):
        frame = np.random.default_rng(1).random((height, width, 3), dtype=np.float32)
        found = champion.reconstruct(frame)
        assert found.shape == (height, width, 31)
        np.testing.assert_allclose(found, reconstruct(network, frame, device=torch.device("cpu")), atol=1e-4)
