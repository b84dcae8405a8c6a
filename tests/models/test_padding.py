import numpy as np
import pytest
import torch

from hyperskin.errors import ShapeError
from hyperskin.models.padding import pad_to_multiple


def test_a_frame_is_mirrored_at_the_bottom_and_the_right_only():
    frames = np.random.default_rng(0).random((2, 3, 21, 35))
    expected = np.pad(frames, ((0, 0), (0, 0), (0, 3), (0, 5)), mode="reflect")
    np.testing.assert_array_equal(pad_to_multiple(torch.from_numpy(frames), 8).numpy(), expected)


def test_the_last_row_is_not_repeated():
    column = torch.arange(6.0).reshape(1, 1, 6, 1).expand(1, 1, 6, 8)
    assert pad_to_multiple(column, 8)[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


def test_a_frame_that_eight_divides_comes_back_itself():
    frame = torch.rand(1, 3, 24, 32)
    assert pad_to_multiple(frame, 8) is frame


def test_cropping_undoes_padding():
    frame = torch.rand(1, 3, 5, 13)
    torch.testing.assert_close(pad_to_multiple(frame, 8)[..., :5, :13], frame, rtol=0, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_side_too_short_to_be_mirrored_is_refused(size):
    with pytest.raises(ShapeError, match=f"at least 5 px high and wide .* got {size} x 32 px"):
        pad_to_multiple(torch.zeros(1, 3, size, 32), 8)
    with pytest.raises(ShapeError, match=f"got 24 x {size} px"):
        pad_to_multiple(torch.zeros(1, 3, 24, size), 8)


def test_five_pixels_are_enough():
    assert pad_to_multiple(torch.rand(1, 1, 5, 5), 8).shape == (1, 1, 8, 8)


def test_one_row_is_missing_at_most_to_an_even_size():
    frame = torch.rand(1, 1, 3, 2)
    torch.testing.assert_close(pad_to_multiple(frame, 2)[0, 0, 3], frame[0, 0, 1], rtol=0, atol=0)
    with pytest.raises(ShapeError, match="at least 2 px high and wide to be padded to a multiple of 2; got 1 x 4 px"):
        pad_to_multiple(torch.zeros(1, 1, 1, 4), 2)
