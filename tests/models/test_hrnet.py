import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from hyperskin.errors import ParamsError, ShapeError
from hyperskin.models.hrnet import Hrnet, HrnetConfig


class _ReferenceHrnet:
    """The equations one after the other in float64, on one frame (C, H, W)."""

    def __init__(self, state):
        self.weights = {key: value.numpy().astype(np.float64) for key, value in state.items()}

    def __call__(self, x):
        _, height, width = x.shape
        x = np.pad(x, ((0, 0), (0, -height % 8), (0, -width % 8)), mode="reflect")
        t = self.layer("top1", _reference_unshuffle(x, 8))
        t = self.layer("top3", self.block("top22", self.dense("top21", t)))
        m = np.concatenate([self.layer("mid1", _reference_unshuffle(x, 4)), _reference_shuffle(t)])
        m = self.layer("mid4", self.block("mid32", self.dense("mid31", self.layer("mid2", m))))
        q = np.concatenate([self.layer("bot1", _reference_unshuffle(x, 2)), _reference_shuffle(m)])
        q = self.dense("bot32", self.dense("bot31", self.layer("bot2", q)))
        q = self.layer("bot4", self.block("bot33", q))
        y = np.concatenate([self.layer("main1", x), _reference_shuffle(q)])
        y = self.layer("main2", y)
        for name in ("main31", "main32", "main33", "main34"):
            y = self.dense(name, y)
        y = self.layer("main4", self.block("main35", y))
        return y[:, :height, :width]

    def layer(self, key, x):
        weight, bias = self.weights[f"{key}.conv2d.weight"], self.weights[f"{key}.conv2d.bias"]
        size = weight.shape[-1]
        padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        windows = sliding_window_view(padded, (size, size), axis=(1, 2))
        y = np.einsum("ihwyx,oiyx->ohw", windows, weight, optimize=True) + bias[:, None, None]
        return np.where(y > 0, y, 0.2 * y)

    def dense(self, key, x):
        x1 = self.layer(f"{key}.conv1", x)
        x2 = self.layer(f"{key}.conv2", np.concatenate([x, x1]))
        x3 = self.layer(f"{key}.conv3", np.concatenate([x, x1, x2]))
        x4 = self.layer(f"{key}.conv4", np.concatenate([x, x1, x2, x3]))
        x5 = self.layer(f"{key}.conv5", np.concatenate([x, x1, x2, x3, x4]))
        return x + 0.1 * x5

    def block(self, key, x):
        return x + 0.1 * self.layer(f"{key}.conv2", self.layer(f"{key}.conv1", x))


def _reference_unshuffle(x, r):
    """Channel c r r + dy r + dx at (y, x) is channel c at (y r + dy, x r + dx)."""
    return np.stack([channel[dy::r, dx::r] for channel in x for dy in range(r) for dx in range(r)])


def _reference_shuffle(x):
    channels, height, width = x.shape
    result = np.empty((channels // 4, 2 * height, 2 * width))
    for channel in range(channels):
        result[channel // 4, channel // 2 % 2 :: 2, channel % 2 :: 2] = x[channel]
    return result


@pytest.fixture
def network(shake):
    return shake(Hrnet(HrnetConfig(3, 31, width=8)))


@pytest.mark.parametrize("size", [(24, 32), (21, 35), (5, 8)])
@torch.no_grad()
def test_outputs_are_those_of_the_equations(network, size):
    x = torch.rand(1, 3, *size)
    expected = _ReferenceHrnet(network.state_dict())(x[0].numpy().astype(np.float64))
    np.testing.assert_allclose(network(x)[0].numpy(), expected, atol=3e-6 * np.abs(expected).max(), rtol=0)


def test_keys_and_shapes_are_those_of_published_checkpoints():
    c, s, bands = 4, 64, 31
    with torch.device("meta"):
        state = Hrnet(HrnetConfig(c, bands)).state_dict()
    layers = {
        "top1": (8 * s, 64 * c, 3),
        "top3": (8 * s, 8 * s, 1),
        "mid1": (4 * s, 16 * c, 3),
        "mid2": (4 * s, 6 * s, 3),
        "mid4": (4 * s, 4 * s, 3),
        "bot1": (2 * s, 4 * c, 3),
        "bot2": (2 * s, 3 * s, 3),
        "bot4": (2 * s, 2 * s, 3),
        "main1": (s, c, 3),
        "main2": (s, 3 * s // 2, 3),
        "main4": (bands, s, 3),
    }
    dense = {"top21": 8 * s, "mid31": 4 * s, "bot31": 2 * s, "bot32": 2 * s} | {f"main3{i}": s for i in (1, 2, 3, 4)}
    for key, k in dense.items():
        layers |= {f"{key}.conv{i}": (k // 2, k + (i - 1) * k // 2, 3) for i in (1, 2, 3, 4)}
        layers[f"{key}.conv5"] = (k, 3 * k, 3)
    expected = {}
    for key, k in {"top22": 8 * s, "mid32": 4 * s, "bot33": 2 * s, "main35": s}.items():
        layers |= {f"{key}.conv1": (k, k, 3), f"{key}.conv2": (k, k, 3)}
        expected |= {
            f"{key}.fc.0.weight": (k // 4, k),
            f"{key}.fc.2.weight": (k // 4, k // 4),
            f"{key}.fc.4.weight": (k, k // 4),
        }
    for key, (out_channels, in_channels, size) in layers.items():
        expected[f"{key}.conv2d.weight"] = (out_channels, in_channels, size, size)
        expected[f"{key}.conv2d.bias"] = (out_channels,)
    assert {key: tuple(value.shape) for key, value in state.items()} == expected
    assert len(state) == 130


def test_the_unused_gates_are_frozen():
    with torch.device("meta"):
        network = Hrnet(HrnetConfig(3, 31))
    frozen = {key: value.numel() for key, value in network.named_parameters() if not value.requires_grad}
    assert all(".fc." in key for key in frozen)
    assert sum(frozen.values()) == 195_840


@torch.no_grad()
def test_the_unused_gates_have_no_part_in_the_output(network):
    x = torch.rand(1, 3, 24, 32)
    before = network(x)
    for key, parameter in network.named_parameters():
        if ".fc." in key:
            parameter.fill_(9.0)
    torch.testing.assert_close(network(x), before, rtol=0, atol=0)


@torch.no_grad()
def test_negative_outputs_are_a_fifth_not_clipped():
    network = Hrnet(HrnetConfig(3, 31, width=8))
    for parameter in network.parameters():
        parameter.zero_()
    network.main4.conv2d.bias.copy_(torch.linspace(-1, 1, 31))
    expected = torch.where(torch.linspace(-1, 1, 31) < 0, 0.2, 1.0) * torch.linspace(-1, 1, 31)
    bands = network(torch.rand(1, 3, 24, 32))
    torch.testing.assert_close(bands, expected[None, :, None, None].expand(1, 31, 24, 32))


@torch.no_grad()
def test_without_biases_twice_the_light_gives_twice_the_reflectance(network):
    for key, parameter in network.named_parameters():
        if key.endswith("bias"):
            parameter.zero_()
    x = torch.rand(1, 3, 21, 35)
    torch.testing.assert_close(network(2 * x), 2 * network(x))


@torch.no_grad()
def test_frames_of_a_batch_do_not_meet(network):
    batch = torch.rand(2, 3, 24, 32)
    apart = torch.cat([network(frame[None]) for frame in batch])
    torch.testing.assert_close(network(batch), apart, rtol=1e-5, atol=1e-5)


def test_every_used_weight_gets_a_gradient(network):
    network(torch.rand(1, 3, 24, 32)).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert (parameter.grad is None) == (".fc." in key)


def test_a_frame_too_small_to_pad_is_refused(network):
    with pytest.raises(ShapeError, match="got 4 x 32 px"):
        network(torch.rand(1, 3, 4, 32))


@pytest.mark.parametrize("width", [0, 6])
def test_a_width_that_four_does_not_divide_is_refused(width):
    with pytest.raises(ParamsError, match=f"positive multiple of 4; got {width}"):
        HrnetConfig(3, 31, width=width)
