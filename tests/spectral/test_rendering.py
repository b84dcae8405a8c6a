"""Blocked products, exposure and clipping, on operators that can be followed by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.errors import DataError, ShapeError
from hyperskin.spectral.rendering import Exposure, project, render

HEIGHT, WIDTH, BAND_COUNT = 24, 32, 31


@pytest.fixture
def cube() -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).random((HEIGHT, WIDTH, BAND_COUNT), dtype=np.float32)


@pytest.fixture
def operators() -> list[npt.NDArray[np.float64]]:
    rng = np.random.default_rng(2)
    return [rng.normal(0, 0.1, (BAND_COUNT, 3)) for _ in range(5)]


def pick(*bands: int, band_count: int = BAND_COUNT) -> npt.NDArray[np.float64]:
    """An operator whose red, green and blue are three bands as they are."""
    operator = np.zeros((band_count, 3))
    operator[list(bands), [0, 1, 2]] = 1
    return operator


def test_channels_are_the_bands_that_the_operator_picks(cube: npt.NDArray[np.float32]) -> None:
    pictures, valid = project(cube, [pick(20, 10, 3)])
    np.testing.assert_array_equal(pictures[0], cube[..., [20, 10, 3]])
    assert valid.all()


def test_many_operators_give_what_each_gives_alone(
    cube: npt.NDArray[np.float32], operators: list[npt.NDArray[np.float64]]
) -> None:
    together, _ = project(cube, operators)
    for picture, operator in zip(together, operators, strict=True):
        np.testing.assert_allclose(picture, np.einsum("hwc,cr->hwr", cube.astype(np.float64), operator), atol=1e-6)
        assert picture.flags.c_contiguous


@pytest.mark.parametrize(("height", "width"), [(300, 32), (3, 5000), (1, 1), (257, 100)])
def test_frames_of_many_blocks_have_no_seam(height: int, width: int) -> None:
    cube = np.random.default_rng(3).random((height, width, 4), dtype=np.float32)
    pictures, valid = project(cube, [pick(3, 1, 0, band_count=4)])
    np.testing.assert_array_equal(pictures[0], cube[..., [3, 1, 0]])
    assert valid.shape == (height, width)
    assert valid.all()


def test_band_that_no_operator_weighs_may_be_anything(cube: npt.NDArray[np.float32]) -> None:
    cube[..., 25:] = np.nan
    cube[..., :3] = np.inf
    assert project(cube, [pick(20, 10, 3)])[1].all()


def test_bad_pixel_is_bad_in_every_picture(cube: npt.NDArray[np.float32]) -> None:
    cube[4, 9, 3] = np.nan
    pictures, valid = project(cube, [pick(3, 4, 5), pick(20, 21, 22)])
    assert np.argwhere(~valid).tolist() == [[4, 9]]
    assert not pictures[0][4, 9].any()
    assert not pictures[1][4, 9].any()


def test_exposure_none_keeps_the_light(cube: npt.NDArray[np.float32]) -> None:
    rendering = render(cube, {"a": pick(5, 6, 7)}, exposure="none", transfer="linear")
    np.testing.assert_array_equal(rendering.pictures["a"], cube[..., [5, 6, 7]])


def test_exposure_max_brings_the_brightest_value_to_one_and_keeps_hues(cube: npt.NDArray[np.float32]) -> None:
    dark = 0.1 * cube
    picture = render(dark, {"a": pick(5, 6, 7)}, exposure="max", transfer="linear").pictures["a"]
    assert picture.max() == pytest.approx(1)
    np.testing.assert_allclose(picture, cube[..., [5, 6, 7]] / cube[..., [5, 6, 7]].max(), rtol=1e-5)


def test_exposure_by_percentile_clips_a_thousandth(cube: npt.NDArray[np.float32]) -> None:
    rendering = render(cube, {"a": pick(5, 6, 7)}, exposure="p99.9", transfer="linear")
    assert rendering.clipped["a"].above_count == 3  # of 2304
    assert rendering.clipped_counts == {"a": 3}


@pytest.mark.parametrize("exposure", ["max", "p99.9"])
def test_bad_pixel_does_not_set_the_exposure(cube: npt.NDArray[np.float32], exposure: Exposure) -> None:
    cube[0, 0] = 0.001
    expected = render(cube, {"a": pick(5, 6, 7)}, exposure=exposure, transfer="srgb").pictures["a"]
    cube[0, 0] = np.inf
    picture = render(cube, {"a": pick(5, 6, 7)}, exposure=exposure, transfer="srgb").pictures["a"]
    np.testing.assert_allclose(picture[1:], expected[1:], rtol=1e-4)


@pytest.mark.parametrize("exposure", ["max", "p99.9"])
def test_dark_frame_stays_dark(exposure: Exposure) -> None:
    dark = np.zeros((HEIGHT, WIDTH, BAND_COUNT), dtype=np.float32)
    assert not render(dark, {"a": pick(5, 6, 7)}, exposure=exposure, transfer="srgb").pictures["a"].any()


def test_pictures_lie_in_the_unit_interval(cube: npt.NDArray[np.float32]) -> None:
    rendering = render(4 * cube - 1, {"a": pick(5, 6, 7)}, exposure="none", transfer="srgb")
    assert rendering.pictures["a"].min() == 0
    assert 1 - 1e-6 < rendering.pictures["a"].max() <= 1
    light = (4 * cube - 1)[..., [5, 6, 7]]
    assert rendering.clipped["a"].below_count == np.count_nonzero(light < -1e-5)
    assert rendering.clipped["a"].above_count == np.count_nonzero(light > 1 + 1e-5)


def test_operator_of_other_bands_is_refused(cube: npt.NDArray[np.float32]) -> None:
    with pytest.raises(ShapeError, match=r"must have shape \(31, 3\) for a cube \(24, 32, 31\); got \(4, 3\)"):
        project(cube, [pick(0, 1, 2, band_count=4)])


def test_operator_of_zeros_is_refused(cube: npt.NDArray[np.float32]) -> None:
    with pytest.raises(DataError, match="weigh at least one band"):
        project(cube, [np.zeros((BAND_COUNT, 3))])
