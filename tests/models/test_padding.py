import numpy as np
import pytest
import torch

from hyperskin.errors import ShapeError
from hyperskin.models.padding import pad8


def test_a_frame_is_mirrored_at_the_bottom_and_the_right_only():
    frames = np.random.default_rng(0).random((2, 3, 21, 35))
    expected = np.pad(frames, ((0, 0), (0, 0), (0, 3), (0, 5)), mode="reflect")
    np.testing.assert_array_equal(pad8(torch.from_numpy(frames)).numpy(), expected)


def test_the_last_row_is_not_repeated():
    column = torch.arange(6.0).reshape(1, 1, 6, 1).expand(1, 1, 6, 8)
    assert pad8(column)[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


def test_a_frame_that_eight_divides_comes_back_itself():
    frame = torch.rand(1, 3, 24, 32)
    assert pad8(frame) is frame


def test_cropping_undoes_padding():
    frame = torch.rand(1, 3, 5, 13)
    torch.testing.assert_close(pad8(frame)[..., :5, :13], frame, rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_side_too_short_to_be_mirrored_is_refused(size):
    with pytest.raises(ShapeError, match=f"at least 5 px high and wide .* got {size} x 32 px"):
        pad8(torch.zeros(1, 3, size, 32))
    with pytest.raises(ShapeError, match=f"got 24 x {size} px"):
        pad8(torch.zeros(1, 3, 24, size))


def test_five_pixels_are_enough():
    assert pad8(torch.rand(1, 1, 5, 5)).shape == (1, 1, 8, 8)
