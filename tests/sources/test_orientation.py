"""A cube that lies another way round than its picture is told, also where the frame is square."""

import numpy as np
import pytest

from hyperskin.bands import VIS
from hyperskin.errors import DataError
from hyperskin.sources.orientation import correlations, green, luma, require_upright

ROWS, COLUMNS = np.mgrid[0:32, 0:32] / 32
SCENE = (1 - COLUMNS) ** 2 + 0.5 * ROWS + np.exp(-((ROWS - 0.3) ** 2 + (COLUMNS - 0.7) ** 2) / 0.02)
TURNS = {
    "transposed": lambda plane: plane.T,
    "mirrored": np.fliplr,
    "upside down": np.flipud,
    "turned by 180 degrees": lambda plane: np.rot90(plane, 2),
    "turned by": np.rot90,
    "transposed and turned by 180 degrees": lambda plane: np.rot90(plane, 2).T,
}


def _require(plane: np.ndarray, picture: np.ndarray = SCENE) -> float:
    return require_upright(plane, picture, what="The cube", like="the picture")


def test_an_upright_cube_passes_whatever_its_scale_and_curve():
    assert _require(SCENE) == pytest.approx(1)
    curved = 0.1 + 0.3 * SCENE**1.4
    plain, root = (np.corrcoef(plane.ravel(), SCENE.ravel())[0, 1] for plane in (curved, np.sqrt(curved)))
    assert root > plain
    assert _require(curved) == pytest.approx(root)


def test_dark_and_bright_things_side_by_side_are_known_through_the_curve_of_a_screen():
    """A white shirt beside a face: brightness that a screen compresses, and a plain correlation does not."""
    reflectance = np.where(ROWS > 0.96, 1.0, 0.002 + 0.03 * SCENE**2)
    assert np.corrcoef(reflectance.ravel(), (reflectance ** (1 / 2.2)).ravel())[0, 1] < 0.97
    assert _require(reflectance, reflectance ** (1 / 2.2)) > 0.99


@pytest.mark.parametrize(("name", "turn"), TURNS.items(), ids=TURNS)
def test_every_other_way_round_is_named(name, turn):
    with pytest.raises(DataError, match=rf"must lie as the picture; it correlates by .* when {name}.*other axes"):
        _require(turn(SCENE))


def test_a_transposed_frame_that_is_not_square_is_named_too():
    with pytest.raises(DataError, match=r"it has another shape, and correlates by 1\.000 when transposed"):
        _require(SCENE[:24].T, SCENE[:24])


@pytest.mark.parametrize("plane", [np.random.default_rng(0).random((32, 32)), np.ones((32, 32)), np.ones((9, 9))])
def test_what_shows_something_else_is_refused(plane):
    with pytest.raises(DataError, match="must show what the picture shows"):
        _require(plane)


def test_all_eight_ways_are_tried_where_they_fit():
    assert len(correlations(SCENE, SCENE)) == 8
    assert len(correlations(SCENE[:24], SCENE[:24])) == 4


def test_green_is_the_mean_of_its_bands():
    cube = np.random.default_rng(0).random((2, 3, 31))
    np.testing.assert_allclose(green(cube, VIS), cube[..., 10:22].mean(axis=2))


def test_luma_of_grey_is_grey():
    np.testing.assert_allclose(luma(np.full((2, 3, 3), 7, np.uint8)), np.full((2, 3), 7.0))
