"""Products are counted as they are made, by a hand's count and by one of every convolution's own."""

import pytest
import torch
from torch import nn

from hyperskin.models.baselines import build, parameter_count
from hyperskin.models.products import products_per_px


def _reference_products(network: nn.Module, in_channels: int, size: int) -> float:
    """Return the products of a network of convolutions, from the shape of each one's answer."""
    made: list[int] = []

    def count(module: nn.Conv2d, inputs: tuple[torch.Tensor], answer: torch.Tensor) -> None:
        made.append(answer.numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.rand(1, in_channels, size, size))
    return sum(made) / size**2


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 31, 1)], 93),
        ([nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 31, 1)], 3 * 8 * 9 + 8 * 31),
        ([nn.Conv2d(3, 8, 2, stride=2)], 3 * 8 * 4 / 4),
        ([nn.ReLU()], 0),
    ],
)
def test_a_hand_counts_the_same(layers: list[nn.Module], expected: float) -> None:
    assert products_per_px(nn.Sequential(*layers), 3) == expected


def test_a_network_of_convolutions_makes_those_of_its_convolutions() -> None:
    network = build("hrnet", in_channels=4, out_channels=31, width=4)
    assert products_per_px(network, 4) == pytest.approx(_reference_products(network, 4, 32), rel=1e-9)


def test_without_strides_and_offsets_every_weight_is_used_once_for_every_pixel() -> None:
    network = build("hscnn_plus", in_channels=4, out_channels=31, blocks=2)
    assert products_per_px(network, 4) == parameter_count(network)


def test_attention_counts_too_and_nothing_is_drawn() -> None:
    network = build("mst_plus_plus", in_channels=3, out_channels=31, stages=1)
    before = torch.get_rng_state()
    counted = products_per_px(network, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert counted > _reference_products(network, 3, 64)
