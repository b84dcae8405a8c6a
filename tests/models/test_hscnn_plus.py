import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from hyperskin.errors import ParamsError
from hyperskin.models.hscnn_plus import HscnnPlus, HscnnPlusConfig


def _reference_hscnn_plus(state, x, blocks):
    """The equations one after the other in float64, on one frame (C, H, W)."""
    weights = {key: value.numpy().astype(np.float64) for key, value in state.items()}

    def rectified(key, x):
        return np.maximum(_reference_convolve(x, weights[f"ddfn.{key}.weight"]), 0)

    up1 = rectified("conv_up1", x)
    up2 = rectified("conv_up2", up1)
    down1 = rectified("conv_down1", x)
    down2 = rectified("conv_down2", down1)
    features = np.concatenate([up1, up2, down1, down2])
    for i in range(blocks):
        key = f"dfus_blocks.{i}"
        squeezed = rectified(f"{key}.conv1", features)
        up1 = rectified(f"{key}.conv_up1", squeezed)
        up2 = rectified(f"{key}.conv_up2", up1)
        down1 = rectified(f"{key}.conv_down1", squeezed)
        down2 = rectified(f"{key}.conv_down2", down1)
        fused = rectified(f"{key}.conv_fution", np.concatenate([up1, up2, down1, down2]))
        features = np.concatenate([features, fused])
    return _reference_convolve(features, weights["conv_out.weight"])


def _reference_convolve(x, weight):
    size = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    return np.einsum("ihwyx,oiyx->ohw", sliding_window_view(padded, (size, size), axis=(1, 2)), weight, optimize=True)


@pytest.fixture
def network(shake):
    return shake(HscnnPlus(HscnnPlusConfig(3, 31, blocks=3)))


@pytest.mark.parametrize("size", [(24, 32), (13, 21), (1, 1), (2, 9)])
def test_outputs_are_those_of_the_equations(network, size):
    x = torch.rand(1, 3, *size)
    expected = _reference_hscnn_plus(network.state_dict(), x[0].numpy().astype(np.float64), 3)
    for recording in (False, True):
        with torch.set_grad_enabled(recording):
            found = network(x)[0].detach().numpy()
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(("blocks", "count"), [(30, 185), (20, 125)])
def test_keys_and_shapes_are_those_of_published_checkpoints(blocks, count):
    with torch.device("meta"):
        state = HscnnPlus(HscnnPlusConfig(4, 31, blocks)).state_dict()
    expected = {
        "ddfn.conv_up1.weight": (32, 4, 3, 3),
        "ddfn.conv_up2.weight": (32, 32, 1, 1),
        "ddfn.conv_down1.weight": (32, 4, 3, 3),
        "ddfn.conv_down2.weight": (32, 32, 1, 1),
        "conv_out.weight": (31, 128 + 32 * blocks, 1, 1),
    }
    for i in range(blocks):
        prefix = f"ddfn.dfus_blocks.{i}"
        expected |= {
            f"{prefix}.conv1.weight": (128, 128 + 32 * i, 1, 1),
            f"{prefix}.conv_up1.weight": (32, 128, 3, 3),
            f"{prefix}.conv_up2.weight": (16, 32, 1, 1),
            f"{prefix}.conv_down1.weight": (32, 128, 3, 3),
            f"{prefix}.conv_down2.weight": (16, 32, 1, 1),
            f"{prefix}.conv_fution.weight": (32, 96, 1, 1),
        }
    assert {key: tuple(value.shape) for key, value in state.items()} == expected
    assert len(state) == count


@torch.no_grad()
def test_one_path_solved_by_hand():
    network = HscnnPlus(HscnnPlusConfig(3, 31, blocks=1))
    for parameter in network.parameters():
        parameter.zero_()
    network.ddfn.conv_up1.weight[5, 2, 1, 1] = 2.0  # feature 5 is twice the blue
    network.ddfn.dfus_blocks[0].conv1.weight[9, 5] = 3.0
    network.ddfn.dfus_blocks[0].conv_down1.weight[4, 9, 1, 2] = 1.0  # of the pixel to the right
    network.ddfn.dfus_blocks[0].conv_fution.weight[7, 32 + 16 + 4] = 1.0  # behind up 1 and up 2
    network.conv_out.weight[11, 128 + 7] = 0.5
    network.conv_out.weight[12, 5] = -1.0
    x = torch.rand(1, 3, 24, 32)
    bands = network(x)
    right = torch.nn.functional.pad(x[:, 2], (0, 1))[..., 1:]
    torch.testing.assert_close(bands[:, 11], 3.0 * right)
    torch.testing.assert_close(bands[:, 12], -2.0 * x[:, 2])
    assert bands[:, 13].abs().max() == 0


@torch.no_grad()
def test_twice_the_light_gives_twice_the_reflectance(network):
    x = torch.rand(1, 3, 24, 32)
    torch.testing.assert_close(network(2 * x), 2 * network(x))


@torch.no_grad()
def test_a_pixel_reaches_one_more_pixel_than_there_are_blocks(network):
    x = torch.rand(1, 3, 24, 32)
    changed = x.clone()
    changed[0, :, 12, 16] += 1
    rows, columns = (network(changed) - network(x)).abs().amax(dim=(0, 1)).nonzero().unbind(dim=1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12 - 4, 12 + 4, 16 - 4, 16 + 4)


@torch.no_grad()
def test_frames_of_a_batch_do_not_meet(network):
    batch = torch.rand(2, 3, 24, 32)
    apart = torch.cat([network(frame[None]) for frame in batch])
    torch.testing.assert_close(network(batch), apart, rtol=1e-5, atol=1e-5)


def test_every_weight_gets_a_gradient(network):
    network(torch.rand(1, 3, 24, 32)).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in network.parameters())


def test_a_network_without_blocks_is_refused():
    with pytest.raises(ParamsError, match="`blocks` of hscnn_plus must be 1 or more; got 0"):
        HscnnPlusConfig(3, 31, blocks=0)
