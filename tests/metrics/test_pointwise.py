import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from hyperskin.errors import DataError, ShapeError
from hyperskin.metrics.pointwise import mae, mrae, pointwise_errors, psnr, rmse


def _reference_errors(estimate, reference, mask):
    """Return (rmse, mae, mrae), value by value."""
    squared, absolute, relative, weights = [], [], [], []
    for index in np.ndindex(reference.shape):
        weight = float(mask[index[:2]])
        error = abs(float(estimate[index]) - float(reference[index])) if weight else 0.0
        weights.append(weight)
        squared.append(weight * error**2)
        absolute.append(weight * error)
        relative.append(weight * error / max(float(reference[index]), 1e-3))
    total = math.fsum(weights)
    return math.sqrt(math.fsum(squared) / total), math.fsum(absolute) / total, math.fsum(relative) / total


# Solved by hand


def test_known_errors():
    reference = np.array([[[0.5, 0.2]], [[0.1, 0.0005]]])
    estimate = reference + np.array([[[0.3, -0.4]], [[0.0, 0.001]]])
    assert rmse(estimate, reference) == pytest.approx(math.sqrt((0.09 + 0.16 + 1e-6) / 4))
    assert mae(estimate, reference) == pytest.approx(0.701 / 4)
    assert mrae(estimate, reference) == pytest.approx((0.6 + 2.0 + 0.0 + 1.0) / 4)
    errors = pointwise_errors(estimate, reference)
    assert errors.floored == 0.25
    assert errors.rmse_per_band == pytest.approx([0.3 / math.sqrt(2), math.sqrt((0.16 + 1e-6) / 2)])


def test_an_error_of_a_tenth_of_the_range_is_20_db():
    reference = np.full((24, 32, 31), 0.4)
    assert psnr(reference + 0.1, reference, data_range=1.0) == pytest.approx(20.0)
    assert psnr(reference + 0.1, reference, data_range=10.0) == pytest.approx(40.0)


def test_equal_cubes_have_no_error_and_an_infinite_psnr(phantom):
    errors = pointwise_errors(phantom.reference, phantom.reference)
    assert (errors.rmse, errors.mae, errors.mrae) == (0.0, 0.0, 0.0)
    assert psnr(phantom.reference, phantom.reference, data_range=1.0) == math.inf


def test_an_empty_mask_has_no_value(phantom):
    empty = np.zeros((24, 32), dtype=bool)
    values = [metric(phantom.estimate, phantom.reference, empty) for metric in (rmse, mae, mrae)]
    assert np.isnan([*values, psnr(phantom.estimate, phantom.reference, empty, data_range=1.0)]).all()


# Laws


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 1e300])
def test_background_does_not_count_by_a_single_bit(phantom, rubbish):
    before = pointwise_errors(phantom.estimate, phantom.reference, phantom.mask)
    estimate, reference = phantom.estimate.copy(), phantom.reference.copy()
    estimate[~phantom.mask] = rubbish
    reference[~phantom.mask] = -rubbish
    after = pointwise_errors(estimate, reference, phantom.mask)
    assert (after.rmse, after.mae, after.mrae) == (before.rmse, before.mae, before.mrae)


def test_errors_scale_with_the_cubes_and_relative_ones_do_not(phantom):
    one = pointwise_errors(phantom.estimate, phantom.reference, phantom.mask)
    three = pointwise_errors(3 * phantom.estimate, 3 * phantom.reference, phantom.mask)
    assert three.rmse == pytest.approx(3 * one.rmse, rel=1e-13)
    assert three.mae == pytest.approx(3 * one.mae, rel=1e-13)
    assert three.mrae == pytest.approx(one.mrae, rel=1e-13)
    assert three.psnr(3.0) == pytest.approx(one.psnr(1.0), rel=1e-13)


def test_a_mask_is_a_weight_up_to_a_constant(phantom):
    soft = np.where(phantom.mask, np.linspace(0.2, 1, 32), 0)
    assert rmse(phantom.estimate, phantom.reference, 0.3 * soft) == pytest.approx(
        rmse(phantom.estimate, phantom.reference, soft), rel=1e-13
    )


def test_bands_pool_by_their_squares(phantom):
    errors = pointwise_errors(phantom.estimate, phantom.reference, phantom.mask)
    assert errors.rmse == pytest.approx(math.sqrt(np.mean(errors.rmse_per_band**2)), rel=1e-13)


def test_the_mean_error_is_at_most_the_root_mean_square(phantom):
    errors = pointwise_errors(phantom.estimate, phantom.reference)
    assert errors.mae <= errors.rmse <= np.abs(phantom.estimate - phantom.reference).max()


# Second formulations


def test_it_is_the_slow_formulation(phantom):
    soft = np.where(phantom.mask, np.linspace(0.2, 1, 32), 0)
    for mask in (np.ones((24, 32)), phantom.mask, soft):
        errors = pointwise_errors(phantom.estimate, phantom.reference, mask)
        expected = _reference_errors(phantom.estimate, phantom.reference, mask)
        assert (errors.rmse, errors.mae, errors.mrae) == pytest.approx(expected, rel=1e-13)


def test_psnr_is_that_of_scikit_image(phantom):
    expected = peak_signal_noise_ratio(phantom.reference, phantom.estimate, data_range=1.0)
    assert psnr(phantom.estimate, phantom.reference, data_range=1.0) == pytest.approx(expected, rel=1e-13)


# Refusals


def test_rubbish_under_the_mask_is_refused(phantom):
    estimate = phantom.estimate.copy()
    estimate[12, 15, 3] = np.nan
    with pytest.raises(DataError, match="must be finite wherever `mask` selects"):
        rmse(estimate, phantom.reference, phantom.mask)
    estimate[12, 15, 3] = np.inf
    with pytest.raises(DataError, match="must be finite wherever `mask` selects"):
        rmse(estimate, estimate, phantom.mask)


def test_bad_arguments_are_refused(phantom):
    with pytest.raises(ShapeError, match="`estimate` must have shape"):
        mae(phantom.estimate[:3], phantom.reference)
    with pytest.raises(DataError, match="`data_range` must be positive"):
        psnr(phantom.estimate, phantom.reference, data_range=0.0)
