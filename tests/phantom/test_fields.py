"""Random fields over the head, and the spots on it."""

import itertools

import numpy as np
import pytest

from hyperskin.phantom.fields import SolidField, Spots, bump, smoothstep

SCALE = 0.25


def draw_field(seed=3, scale=SCALE):
    return SolidField(np.random.default_rng(seed), scale)


def places(count, seed=0, scale=SCALE):
    return np.random.default_rng(seed).uniform(0, 32 * scale, (count, 3)).astype(np.float32)


def test_a_field_has_mean_0_and_variance_1():
    values = np.stack([draw_field(seed)(places(20_000)) for seed in range(4)])
    assert values.dtype == np.float32
    assert np.abs(values.mean(axis=1)).max() < 0.07  # 32^3 numbers, smoothed: their mean strays by 0.017
    np.testing.assert_allclose(values.var(axis=1), 1, atol=0.07)
    assert abs(values.mean()) < 0.03
    assert values.var() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_places_a_scale_apart_are_half_alike_and_four_scales_apart_not_at_all(axis):
    # White noise under cubic B-splines is correlated by the B-spline of degree 7: 2416, 1191, 120, 1, 0 at whole cells.
    field, here = draw_field(), places(30_000)
    for cells, expected in enumerate((1, 1191 / 2416, 120 / 2416, 1 / 2416, 0)):
        there = here.copy()
        there[:, axis] += cells * SCALE
        assert np.mean(field(here) * field(there)) == pytest.approx(expected, abs=0.035)


def test_a_field_may_be_smoother_along_one_axis():
    field, here = draw_field(scale=(0.1, 0.8, 0.1)), places(5000, scale=0.1)
    moved = [np.mean(np.abs(field(here + 0.05 * np.eye(3, dtype=np.float32)[axis]) - field(here))) for axis in range(3)]
    assert moved[1] < 0.3 * min(moved[0], moved[2])


def test_a_field_repeats_after_32_cells():
    field, here = draw_field(), places(500)
    for step in itertools.product((-32 * SCALE, 0, 32 * SCALE), repeat=3):
        np.testing.assert_allclose(field(here + np.float32(step)), field(here), atol=2e-4)


def _reference_field(stream, scale, place):
    """The lattice's 64 numbers around a place, weighed by the cubic B-spline written out."""
    lattice = stream.standard_normal((32, 32, 32), dtype=np.float32)

    def spline(t):
        t = abs(t)
        return 2 / 3 - t**2 + t**3 / 2 if t < 1 else max(2 - t, 0) ** 3 / 6

    cell = np.asarray(place, dtype=np.float64) / scale
    total = 0.0
    for corner in itertools.product(*[range(int(np.floor(c)) - 1, int(np.floor(c)) + 3) for c in cell]):
        weight = np.prod([spline(c - k) for c, k in zip(cell, corner, strict=True)])
        total += weight * lattice[tuple(k % 32 for k in corner)]
    return total / (151 / 315) ** 1.5


@pytest.mark.parametrize("place", [(0.0, 0.0, 0.0), (-0.31, 0.77, 0.69), (0.58, -0.4, -0.02), (7.99, 8.01, -3.3)])
def test_a_field_is_a_spline_written_out(place):
    value = draw_field()(np.array([place], dtype=np.float32))[0]
    assert value == pytest.approx(_reference_field(np.random.default_rng(3), SCALE, place), abs=2e-4)


def test_a_place_has_its_value_whichever_others_are_asked_for():
    field, here = draw_field(), places(300)
    expected = field(here)
    np.testing.assert_array_equal(field(here[::-1])[::-1], expected)
    np.testing.assert_array_equal(np.concatenate([field(here[:7]), field(here[7:])]), expected)


def test_a_spot_has_its_strength_in_the_middle_and_is_gone_at_twice_its_radius():
    centre = np.array([[0.1, -0.2, 0.6]], dtype=np.float32)
    spot = Spots(centre, np.array([0.02], np.float32), np.array([0.3], np.float32))
    away = np.array([[0, 0, 0], [0.02, 0, 0], [0, 0.03, 0], [0, 0, 0.0399], [0, -0.041, 0]], dtype=np.float32)
    np.testing.assert_allclose(
        spot(centre + away), [0.3, 0.3 * np.exp(-1), 0.3 * np.exp(-(1.5**4)), 0, 0], rtol=1e-3, atol=1e-6
    )


def test_spots_that_overlap_add_up():
    stream = np.random.default_rng(1)
    centres = stream.uniform(-0.1, 0.1, (6, 3)).astype(np.float32)
    radii, strengths = stream.uniform(0.05, 0.1, 6).astype(np.float32), stream.uniform(0.1, 1, 6).astype(np.float32)
    here = stream.uniform(-0.2, 0.2, (50, 3)).astype(np.float32)
    expected = [
        sum(
            strength * np.exp(-((np.linalg.norm(place - centre) / radius) ** 4))
            for centre, radius, strength in zip(centres, radii, strengths, strict=True)
        )
        for place in here
    ]
    np.testing.assert_allclose(Spots(centres, radii, strengths)(here), expected, atol=2e-6)


def test_no_spots_are_nothing():
    none = Spots(np.empty((0, 3), np.float32), np.empty(0, np.float32), np.empty(0, np.float32))
    np.testing.assert_array_equal(none(np.zeros((4, 3), dtype=np.float32)), 0)


def test_a_step_rises_smoothly_and_falls_when_its_ends_are_swapped():
    values = np.array([-1, 0, 0.5, 1, 1.5, 2, 9], dtype=np.float32)
    np.testing.assert_allclose(smoothstep(0, 2, values), [0, 0, 5 / 32, 0.5, 27 / 32, 1, 1])
    np.testing.assert_allclose(smoothstep(2, 0, values), 1 - smoothstep(0, 2, values))


def test_a_hill_is_a_gaussian():
    x, y = np.array([0.2, 0.3, 0.2]), np.array([-0.1, -0.1, 0.3])
    np.testing.assert_allclose(bump(x, y, (0.2, -0.1), (0.1, 0.2)), [1, np.exp(-0.5), np.exp(-2)])
