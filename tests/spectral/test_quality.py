"""Noise is told from the cube alone: structure does not count, unmeasured pixels neither."""

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.spectral.quality import band_snr_db, estimate_noise

Array = npt.NDArray[np.float64]


def _reference_noise(band: Array, valid: npt.NDArray[np.bool_]) -> float:
    """Immerkaer's sum, pixel by pixel."""
    kernel = [[1, -2, 1], [-2, 4, -2], [1, -2, 1]]
    responses = []
    for row in range(1, band.shape[0] - 1):
        for column in range(1, band.shape[1] - 1):
            window = (slice(row - 1, row + 2), slice(column - 1, column + 2))
            if valid[window].all():
                responses.append(abs(sum(k * v for k, v in zip(np.ravel(kernel), band[window].ravel(), strict=True))))
    return float(np.sqrt(np.pi / 2) * np.sum(responses) / (6 * len(responses)))


def test_a_single_speck_by_hand() -> None:
    """One pixel of height 1 in a 5 x 5 frame answers 4, 2, 2, 2, 2, 1, 1, 1, 1 in the nine neighbourhoods."""
    cube = np.zeros((5, 5, 1))
    cube[2, 2, 0] = 1.0
    noise = estimate_noise(cube, np.ones((5, 5), dtype=bool))
    assert noise[0] == pytest.approx(np.sqrt(np.pi / 2) * 16 / (6 * 9))


def test_a_plane_and_a_straight_edge_are_no_noise() -> None:
    rows, columns = np.mgrid[0:24, 0:32]
    plane = (0.3 + 0.01 * rows - 0.02 * columns)[..., None]
    edge = np.repeat((columns > 11).astype(float)[..., None], 1, axis=2)
    valid = np.ones((24, 32), dtype=bool)
    assert estimate_noise(plane, valid)[0] < 1e-15
    assert estimate_noise(edge, valid)[0] == 0.0


def test_white_noise_is_measured() -> None:
    cube = 0.5 + np.random.default_rng(1).normal(0, [0.01, 0.03], (200, 160, 2))
    assert estimate_noise(cube, np.ones((200, 160), dtype=bool)) == pytest.approx([0.01, 0.03], rel=0.02)


def test_it_equals_the_slow_sum_and_skips_unmeasured_pixels() -> None:
    generator = np.random.default_rng(2)
    cube = generator.random((24, 32, 3))
    valid = generator.random((24, 32)) > 0.05
    cube[~valid] = np.nan
    expected = [_reference_noise(cube[..., band], valid) for band in range(3)]
    assert estimate_noise(cube, valid) == pytest.approx(expected, rel=1e-12)


def test_blocks_of_lines_do_not_show() -> None:
    cube = np.random.default_rng(3).random((71, 8, 1))
    valid = np.ones((71, 8), dtype=bool)
    assert estimate_noise(cube, valid)[0] == pytest.approx(_reference_noise(cube[..., 0], valid), rel=1e-12)


def test_too_small_a_frame_has_no_noise_figure() -> None:
    assert np.isnan(estimate_noise(np.ones((2, 8, 4)), np.ones((2, 8), dtype=bool))).all()


def test_signal_to_noise_in_decibels_by_hand() -> None:
    cube = np.full((5, 5, 1), 1.0)
    cube[2, 2, 0] += 1.0
    noise = np.sqrt(np.pi / 2) * 16 / 54
    snr_db = band_snr_db(cube, np.ones((5, 5), dtype=bool))
    assert snr_db[0] == pytest.approx(20 * np.log10(26 / 25 / noise))


def test_without_noise_or_light_there_is_no_ratio() -> None:
    cube = np.zeros((5, 5, 2))
    cube[..., 0] = 0.5
    assert np.isnan(band_snr_db(cube, np.ones((5, 5), dtype=bool))).all()
