"""Axes turn once, and only here."""

import numpy as np
import pytest
import torch

from hyperskin.data.tensors import cube_to_tensor, cubes_to_batch, tensor_to_cube
from hyperskin.errors import ShapeError


@pytest.fixture
def cube() -> np.ndarray:
    return np.random.default_rng(0).random((24, 32, 31), dtype=np.float32)


def test_a_band_of_the_cube_is_a_channel_of_the_tensor(cube: np.ndarray) -> None:
    tensor = cube_to_tensor(cube)
    assert tensor.shape == (31, 24, 32)
    assert tensor[7, 3, 5].item() == cube[3, 5, 7]


def test_there_and_back_is_the_same_cube(cube: np.ndarray) -> None:
    back = tensor_to_cube(cube_to_tensor(cube))
    assert back.dtype == np.float32
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, cube)


@pytest.mark.parametrize("band_count", [1, 31])
def test_the_tensor_does_not_share_the_cubes_memory(cube: np.ndarray, band_count: int) -> None:
    before = cube[..., :band_count].copy()
    tensor = cube_to_tensor(cube[..., :band_count])
    tensor.zero_()
    np.testing.assert_array_equal(cube[..., :band_count], before)
    back = tensor_to_cube(tensor)
    back += 1
    assert tensor.abs().max() == 0


def test_a_turned_or_read_only_cube_is_welcome(cube: np.ndarray) -> None:
    cube.flags.writeable = False
    np.testing.assert_array_equal(tensor_to_cube(cube_to_tensor(np.rot90(cube))), np.rot90(cube))


def test_a_tensor_that_carries_gradients_becomes_a_cube() -> None:
    assert tensor_to_cube(torch.ones(3, 2, 4, requires_grad=True)).shape == (2, 4, 3)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_batch_holds_the_cubes_in_order(cube: np.ndarray, channels_last: bool) -> None:
    cubes = np.stack([cube, 2 * cube])
    batch = cubes_to_batch(cubes, channels_last=channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert batch.is_contiguous(memory_format=layout)
    torch.testing.assert_close(batch[1], cube_to_tensor(2 * cube))
    assert np.shares_memory(cubes, batch.numpy()) is channels_last


def test_other_numbers_of_axes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"`cube` must be \(H, W, C\); got shape \(24, 32\)"):
        cube_to_tensor(np.zeros((24, 32)))
    with pytest.raises(ShapeError, match=r"`tensor` must be \(C, H, W\); got shape \(1, 3, 2, 4\)"):
        tensor_to_cube(torch.zeros(1, 3, 2, 4))
    with pytest.raises(ShapeError, match=r"`cubes` must be \(N, H, W, C\)"):
        cubes_to_batch(np.zeros((24, 32, 3)))
