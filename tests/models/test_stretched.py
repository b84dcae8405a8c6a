"""A stretched network gives on whole frames what it learned on stretched crops, and forgets light and contrast."""

import pytest
import torch
from torch import nn

from hyperskin.models.baselines import NAMES, build, parameter_count
from hyperskin.models.stretched import Stretched

SIZES = {"hscnn_plus": {"blocks": 1}, "hrnet": {"width": 8}, "mst_plus_plus": {"stages": 1}, "basal": {}}


@pytest.fixture
def frames() -> torch.Tensor:
    return 0.2 + 0.5 * torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def test_two_pixels_by_hand() -> None:
    network = nn.Identity()
    frame = torch.tensor([[[[0.25, 0.5]], [[0.75, 0.5]]]])
    assert Stretched(network)(frame).tolist() == [[[[0.0, 0.5]], [[1.0, 0.5]]]]


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_stretched_by_itself(name: str, frames: torch.Tensor) -> None:
    network = build(name, in_channels=3, out_channels=31, **SIZES[name]).eval()
    by_hand = torch.cat([network((x - x.min()) / (x.max() - x.min())) for x in frames.split(1)])
    torch.testing.assert_close(Stretched(network)(frames), by_hand, rtol=1e-4, atol=1e-5)


def test_light_and_contrast_do_not_matter(frames: torch.Tensor) -> None:
    network = Stretched(nn.Conv2d(3, 31, 3, padding=1))
    torch.testing.assert_close(network(0.5 * frames + 0.125), network(frames), rtol=1e-4, atol=1e-5)


def test_a_frame_of_one_value_is_black() -> None:
    assert not Stretched(nn.Identity())(torch.full((1, 3, 4, 5), 0.3)).any()


def test_it_is_its_network_in_all_else() -> None:
    network = build("hrnet", in_channels=3, out_channels=31, width=8)
    stretched = Stretched(network)
    assert stretched.size_multiple == network.size_multiple
    assert parameter_count(stretched) == parameter_count(network)
