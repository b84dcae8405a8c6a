"""Eight bits and the archive's JPEG."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, JpegImagePlugin

from hyperskin.data.encoding import encode, through_jpeg, to_8bit, to_jpeg
from hyperskin.errors import DataError, ShapeError, UnknownNameError


@pytest.fixture
def picture() -> npt.NDArray[np.float32]:
    """Smooth colours of 24 x 32 px with a little noise."""
    rows, columns = np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 1, 32), indexing="ij")
    smooth = np.stack([0.2 + 0.6 * rows, 0.1 + 0.7 * columns, 0.5 * (rows + columns)], axis=2)
    return (smooth * 0.95 + 0.02 * np.random.default_rng(0).random(smooth.shape)).astype(np.float32)


def test_half_is_rounded_up() -> None:
    steps = np.array([0, 0.49, 0.5, 1.5, 2.5, 254.49, 254.5, 255]) / 255
    assert to_8bit(steps).tolist() == [0, 0, 1, 2, 3, 254, 255, 255]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_level_survives_the_way_there_and_back(dtype: type) -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_8bit(levels.astype(dtype) / dtype(255)), levels)


def test_input_is_left_as_it_was(picture: npt.NDArray[np.float32]) -> None:
    before = picture.copy()
    encode(picture, "jpeg")
    np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan, np.inf])
def test_values_outside_the_unit_interval_are_refused(picture: npt.NDArray[np.float32], bad: float) -> None:
    picture[3, 4, 1] = bad
    with pytest.raises(DataError, match=r"`rgb` must lie in \[0, 1\]"):
        to_8bit(picture)


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="got dtype uint8"):
        to_8bit(np.zeros((2, 2, 3), dtype=np.uint8))  # type: ignore[arg-type]  # that is the point


def test_lossless_is_eight_bits_and_no_more(picture: npt.NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(encode(picture, "lossless"), np.floor(picture * 255.0 + 0.5).astype(np.uint8))


def test_jpeg_halves_colour_and_quantises_by_one(picture: npt.NDArray[np.float32]) -> None:
    with Image.open(io.BytesIO(to_jpeg(to_8bit(picture)))) as image:
        assert image.format == "JPEG"
        assert JpegImagePlugin.get_sampling(image) == 2  # 4:2:0
        assert [(component[1], component[2]) for component in image.layer] == [(2, 2), (1, 1), (1, 1)]
        assert image.quantization
        assert all(set(table) == {1} for table in image.quantization.values())


def test_jpeg_keeps_red_first_and_the_frame(picture: npt.NDArray[np.float32]) -> None:
    red = np.zeros((24, 32, 3), dtype=np.float32)
    red[..., 0] = 1
    stored = encode(red, "jpeg")
    assert stored.shape == (24, 32, 3)
    assert stored[12, 16].tolist() == [254, 0, 0]


def test_jpeg_changes_smooth_pictures_little_and_fine_colour_much(picture: npt.NDArray[np.float32]) -> None:
    smooth = to_8bit(picture)
    assert np.abs(through_jpeg(smooth).astype(int) - smooth).mean() < 1.5
    checkered = np.zeros((24, 32, 3), dtype=np.uint8)
    checkered[::2, ::2, 0] = checkered[1::2, 1::2, 0] = 255
    assert np.abs(through_jpeg(checkered).astype(int) - checkered).mean() > 20  # colour of single pixels is lost


def test_greys_pass_jpeg_unharmed() -> None:
    levels = np.repeat(np.arange(0, 256, 8, dtype=np.uint8), 24).reshape(32, 24).T
    grey = np.repeat(levels[..., None], 3, axis=2)
    assert np.abs(through_jpeg(grey).astype(int) - grey).max() <= 2


def test_same_picture_gives_the_same_bytes(picture: npt.NDArray[np.float32]) -> None:
    assert to_jpeg(to_8bit(picture)) == to_jpeg(to_8bit(picture))


def test_result_may_be_written_to(picture: npt.NDArray[np.float32]) -> None:
    encode(picture, "jpeg")[0, 0] = 0


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 4), (3, 24, 32)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"must be a picture \(H, W, 3\)"):
        to_jpeg(np.zeros(shape, dtype=np.uint8))


def test_unknown_encoding_lists_the_known_ones(picture: npt.NDArray[np.float32]) -> None:
    with pytest.raises(UnknownNameError, match="one of jpeg, lossless; got 'png'"):
        encode(picture, "png")  # type: ignore[arg-type]  # that is the point
