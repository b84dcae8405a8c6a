"""A network that went into a journal comes out as it was, with the scaling of its input."""

from pathlib import Path

import pytest
import torch

from hyperskin.errors import DataError
from hyperskin.models.baselines import build
from hyperskin.models.stretched import Stretched
from hyperskin.pairs import find_pair
from hyperskin.tracking.records import Weights, decode, encode
from hyperskin.tracking.weights import _load, keep_weights

PAIR = find_pair("rgb_vis")


@pytest.mark.parametrize("stretched", [False, True])
def test_a_network_is_built_again_with_what_it_does_to_its_input(tmp_path: Path, stretched: bool) -> None:
    network = build("hscnn_plus", in_channels=3, out_channels=31, blocks=1)
    kept = Stretched(network) if stretched else network
    sha256 = keep_weights(kept, tmp_path / "weights")
    record = decode(encode(Weights("hscnn_plus", {"blocks": 1}, "rgb_vis", 1, 1, sha256, stretched)))
    assert isinstance(record, Weights)
    again = _load(tmp_path / "weights", record, PAIR)
    frames = 0.3 + 0.2 * torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(again(frames), kept(frames))
        assert torch.equal(again(frames), network(frames)) is not stretched


def test_a_record_from_before_is_of_a_network_that_does_not_stretch() -> None:
    record = Weights("hrnet", {}, "rgb_vis", 1, 8, "ab")
    assert not record.stretched


def test_other_weights_are_refused(tmp_path: Path) -> None:
    network = build("hscnn_plus", in_channels=3, out_channels=31, blocks=1)
    keep_weights(network, tmp_path / "weights")
    with pytest.raises(DataError, match="must be those it ended with"):
        _load(tmp_path / "weights", Weights("hscnn_plus", {"blocks": 1}, "rgb_vis", 1, 1, "other"), PAIR)
