import math

import numpy as np
import pytest

from hyperskin.errors import DataError, ShapeError
from hyperskin.metrics.sam import SamResult, sam, spectral_angle_map


def _pixel(*spectrum):
    return np.array([[spectrum]], dtype=np.float64)


def _angle(estimate, reference):
    return float(spectral_angle_map(estimate, reference)[0, 0])


def _reference_angle(estimated, measured):
    """Return the angle by Gram-Schmidt: how much of one spectrum stands upright on the other."""
    u = [value / math.hypot(*measured) for value in measured]
    along = math.fsum(a * b for a, b in zip(u, estimated, strict=True))
    upright = math.hypot(*(b - along * a for a, b in zip(u, estimated, strict=True)))
    return math.atan2(upright, along)


# Solved by hand


@pytest.mark.parametrize(
    ("estimate", "reference", "angle"),
    [
        ((1, 0), (3, 0), 0.0),
        ((1, 1), (1, 0), math.pi / 4),
        ((0, 2), (5, 0), math.pi / 2),
        ((-1, 1), (1, 0), 3 * math.pi / 4),
        ((-4, 0), (1, 0), math.pi),
        ((1, math.sqrt(3)), (1, 0), math.pi / 3),
        ((1, 1, 1), (1, 0, 0), math.atan(math.sqrt(2))),
    ],
)
def test_known_angles(estimate, reference, angle):
    assert _angle(_pixel(*estimate), _pixel(*reference)) == pytest.approx(angle, abs=4e-16)


@pytest.mark.parametrize("tiny", [1e-5, 1e-9, 1e-15])
def test_tiny_angles_keep_their_digits(tiny):
    assert _angle(_pixel(1, tiny), _pixel(1, 0)) == pytest.approx(tiny, rel=1e-12)
    assert math.pi - _angle(_pixel(-1, tiny), _pixel(1, 0)) == pytest.approx(tiny, abs=5e-16)


def test_a_black_estimate_is_a_right_angle_away():
    assert _angle(_pixel(0, 0, 0), _pixel(0.1, 0.2, 0.3)) == math.pi / 2


def test_a_black_reference_is_left_out_and_counted():
    reference = np.ones((2, 2, 3))
    reference[0, 1] = 0
    estimate = np.ones((2, 2, 3))
    estimate[0, 0] = 0
    assert np.isnan(spectral_angle_map(estimate, reference)[0, 1])
    assert sam(estimate, reference) == SamResult(pytest.approx(math.pi / 6), pixel_count=3, left_out=1)


def test_float_masks_weigh():
    estimate = np.array([[[1.0, 0.0], [1.0, 1.0]]])
    reference = np.array([[[1.0, 0.0], [1.0, 0.0]]])
    mask = np.array([[0.75, 0.25]])
    assert sam(estimate, reference, mask).value == pytest.approx(math.pi / 16)


def test_an_empty_mask_has_no_value():
    result = sam(np.ones((24, 32, 31)), np.ones((24, 32, 31)), np.zeros((24, 32), dtype=bool))
    assert math.isnan(result.value)
    assert (result.pixel_count, result.left_out) == (0, 0)


# Laws


def test_equal_cubes_are_exactly_zero_apart(phantom):
    assert sam(phantom.reference, phantom.reference.copy()).value == 0.0


def test_background_does_not_count_by_a_single_bit(phantom):
    before = sam(phantom.estimate, phantom.reference, phantom.mask)
    for rubbish in (np.nan, np.inf, -np.inf, 1e300, 0.0):
        estimate, reference = phantom.estimate.copy(), phantom.reference.copy()
        estimate[~phantom.mask] = rubbish
        reference[~phantom.mask] = rubbish
        assert sam(estimate, reference, phantom.mask) == before


def test_a_full_mask_is_no_mask(phantom):
    full = np.ones((24, 32), dtype=bool)
    assert sam(phantom.estimate, phantom.reference, full) == sam(phantom.estimate, phantom.reference)


def test_brightness_does_not_matter(phantom):
    gains = 10.0 ** np.random.default_rng(0).uniform(-20, 20, (24, 32, 1))
    bright = spectral_angle_map(gains * phantom.estimate, phantom.reference)
    assert np.allclose(bright, spectral_angle_map(phantom.estimate, phantom.reference), rtol=0, atol=5e-16)


@pytest.mark.parametrize("gain", [1e-308, 1e-200, 1e200, 1e307])
def test_nothing_overflows_or_underflows(phantom, gain):
    expected = sam(phantom.estimate, phantom.reference).value
    assert sam(gain * phantom.estimate, phantom.reference).value == pytest.approx(expected, rel=1e-9)
    assert sam(phantom.estimate, gain * phantom.reference).value == pytest.approx(expected, rel=1e-9)


def test_turning_a_spectrum_round_gives_the_supplement(phantom):
    angles = spectral_angle_map(phantom.estimate, phantom.reference)
    turned = spectral_angle_map(-phantom.estimate, phantom.reference)
    assert np.allclose(turned, math.pi - angles, rtol=0, atol=2e-15)


def test_it_is_symmetric(phantom):
    there = spectral_angle_map(phantom.estimate, phantom.reference)
    assert np.array_equal(there, spectral_angle_map(phantom.reference, phantom.estimate))


def test_order_of_bands_and_pixels_does_not_matter(phantom):
    expected = sam(phantom.estimate, phantom.reference, phantom.mask).value
    order = np.random.default_rng(0).permutation(31)
    assert sam(phantom.estimate[..., order], phantom.reference[..., order], phantom.mask).value == pytest.approx(
        expected, abs=5e-16
    )
    assert sam(phantom.estimate[::-1], phantom.reference[::-1], phantom.mask[::-1]).value == pytest.approx(
        expected, abs=5e-16
    )


def test_a_mask_is_a_weight_up_to_a_constant(phantom):
    soft = np.where(phantom.mask, np.linspace(0.2, 1, 32), 0)
    assert sam(phantom.estimate, phantom.reference, 0.3 * soft).value == pytest.approx(
        sam(phantom.estimate, phantom.reference, soft).value, rel=1e-14
    )


def test_it_obeys_the_triangle_inequality(phantom):
    third = phantom.reference + 0.05 * np.random.default_rng(5).standard_normal(phantom.reference.shape)
    direct = spectral_angle_map(phantom.estimate, phantom.reference)
    detour = spectral_angle_map(phantom.estimate, third) + spectral_angle_map(third, phantom.reference)
    assert np.all(direct <= detour + 1e-15)


def test_more_noise_is_a_larger_angle(phantom):
    noise = np.random.default_rng(1).standard_normal(phantom.reference.shape)
    values = [sam(phantom.reference + level * noise, phantom.reference).value for level in (0.0, 0.01, 0.03, 0.1)]
    assert values == sorted(values)
    assert len(set(values)) == 4


def test_half_precision_is_close_enough(phantom):
    expected = sam(phantom.estimate.astype(np.float32), phantom.reference.astype(np.float32)).value
    assert abs(sam(phantom.estimate.astype(np.float16), phantom.reference.astype(np.float16)).value - expected) < 1e-3


def test_giving_up_does_not_pay(phantom):
    lazy = phantom.estimate.copy()
    lazy[:12] = 0
    assert sam(lazy, phantom.reference).value > sam(phantom.estimate, phantom.reference).value


def test_arguments_stay_as_they_are(phantom):
    estimate, reference = phantom.estimate.copy(), phantom.reference.copy()
    sam(estimate, reference)
    spectral_angle_map(estimate, reference)
    assert np.array_equal(estimate, phantom.estimate)
    assert np.array_equal(reference, phantom.reference)


# A slow second formulation


def test_it_agrees_with_the_slow_formulation(phantom):
    expected = [
        [_reference_angle(estimated, measured) for estimated, measured in zip(*lines, strict=True)]
        for lines in zip(phantom.estimate.tolist(), phantom.reference.tolist(), strict=True)
    ]
    assert np.allclose(spectral_angle_map(phantom.estimate, phantom.reference), expected, rtol=0, atol=1e-15)
    weighted = np.average(expected, weights=phantom.mask)
    assert sam(phantom.estimate, phantom.reference, phantom.mask).value == pytest.approx(weighted, abs=1e-15)


# Refusals


@pytest.mark.parametrize("rubbish", [np.nan, np.inf])
def test_rubbish_under_the_mask_is_refused(phantom, rubbish):
    estimate = phantom.estimate.copy()
    estimate[12, 15, 3] = rubbish
    assert np.isnan(spectral_angle_map(estimate, phantom.reference)[12, 15])
    with pytest.raises(DataError, match="must be finite wherever `mask` selects"):
        sam(estimate, phantom.reference, phantom.mask)


def test_cubes_of_other_shapes_are_refused(phantom):
    with pytest.raises(ShapeError, match="`estimate` must have shape"):
        sam(phantom.estimate[..., :30], phantom.reference)


# Measured data


@pytest.mark.realdata
def test_real_skin_and_printed_skin_have_the_known_angle(real_scene):
    real = real_scene.cube[real_scene.real_skin].mean(axis=0)[np.newaxis, np.newaxis]
    printed = real_scene.cube[real_scene.printed_skin].mean(axis=0)[np.newaxis, np.newaxis]
    assert sam(printed, real).value == pytest.approx(0.123, abs=0.001)
