import math

import numpy as np
import pytest
from scipy import ndimage

from hyperskin.errors import DataError, ShapeError
from hyperskin.metrics.published import published_sam, published_ssim
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim


def _reference_published_ssim(estimate, reference, mask=None):
    """Return the rule as the authors' library carries it out: multiply, pad by reflection, filter in 2-D, crop."""
    factor = np.ones(reference.shape[:2]) if mask is None else mask
    y, x = (np.float32(cube) * np.float32(factor)[..., np.newaxis] for cube in (estimate, reference))
    data_range = max(float(y.max() - y.min()), float(x.max() - x.min()))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / np.outer(axis, axis).sum()
    y, x = y.astype(np.float64), x.astype(np.float64)
    bands = []
    for band in range(x.shape[2]):
        x_mean, y_mean, xx, yy, xy = (
            ndimage.convolve(field, window, mode="mirror")
            for field in (x[..., band], y[..., band], x[..., band] ** 2, y[..., band] ** 2, x[..., band] * y[..., band])
        )
        numerator = (2 * x_mean * y_mean + c1) * (2 * (xy - x_mean * y_mean) + c2)
        denominator = (x_mean**2 + y_mean**2 + c1) * (xx - x_mean**2 + yy - y_mean**2 + c2)
        bands.append((numerator / denominator)[5:-5, 5:-5])
    return float(np.mean(bands))


def _reference_published_sam(estimate, reference, mask=None):
    factor = np.float32(1.0) if mask is None else np.float32(mask)[..., np.newaxis]
    y, x = np.float32(estimate) * factor, np.float32(reference) * factor
    with np.errstate(invalid="ignore"):
        cosine = (x * y).sum(axis=2) / (np.linalg.norm(x, axis=2) * np.linalg.norm(y, axis=2))
        return float(np.nanmean(np.arccos(cosine)))


# Solved by hand


def test_the_range_of_the_frame_makes_the_contrast_constants():
    """One window whose corner is black in one band: the reference spans 0.6, so the constants are those of 0.6."""
    estimate, reference = np.full((11, 11, 2), 0.3), np.full((11, 11, 2), 0.6)
    estimate[0, 0, 0] = reference[0, 0, 0] = 0.0
    tail = math.exp(-(5**2) / 4.5) / sum(math.exp(-(i**2) / 4.5) for i in range(-5, 6))
    rest = 1 - tail**2  # the weight of all pixels but the corner
    spread = rest * tail**2
    c1, c2 = 0.006**2, 0.018**2
    flat = (2 * 0.18 + c1) / (0.45 + c1)
    first = (2 * 0.18 * rest**2 + c1) / (0.45 * rest**2 + c1) * (2 * 0.18 * spread + c2) / (0.45 * spread + c2)
    assert published_ssim(estimate, reference) == pytest.approx((first + flat) / 2, abs=1e-14)


def test_a_window_of_background_counts_as_one():
    """Windows of the left half see constants, of the right half zeros in both: the score is the mean of both kinds."""
    estimate, reference = np.full((11, 61, 1), 0.3), np.full((11, 61, 1), 0.6)
    mask = np.zeros((11, 61))
    mask[:, :31] = 1.0
    everywhere = published_ssim(estimate, reference, mask)
    seen = published_ssim(estimate[:, :41], reference[:, :41], mask[:, :41])
    assert everywhere == pytest.approx((31 * seen + 20) / 51, abs=1e-14)
    assert everywhere > ssim(estimate, reference, mask, data_range=1.0).value


def test_a_right_angle():
    assert published_sam(np.array([[[0.0, 2.0]]]), np.array([[[1.0, 0.0]]])) == pytest.approx(math.pi / 2)


# Laws, that is: what is wrong with it


def test_background_raises_the_published_ssim(phantom):
    true = ssim(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0).value
    rim = ((20, 20), (20, 20))
    wide = [np.pad(cube, (*rim, (0, 0))) for cube in (phantom.estimate, phantom.reference)]
    near = published_ssim(phantom.estimate, phantom.reference, phantom.mask)
    far = published_ssim(*wide, np.pad(phantom.mask, rim))
    assert far > max(near, true)


def test_the_published_ssim_has_no_unit(phantom):
    expected = published_ssim(phantom.estimate, phantom.reference)
    assert published_ssim(0.25 * phantom.estimate, 0.25 * phantom.reference) == pytest.approx(expected, abs=1e-6)


def test_one_bright_pixel_raises_the_published_ssim(phantom):
    estimate, reference = phantom.estimate.copy(), phantom.reference.copy()
    estimate[12, 15] = reference[12, 15] = 5.0
    assert published_ssim(estimate, reference) > published_ssim(phantom.estimate, phantom.reference)


def test_where_the_range_is_one_and_nothing_is_masked_it_is_ours(phantom):
    reference = (phantom.reference - phantom.reference.min()) / np.ptp(phantom.reference)
    estimate = 0.9 * reference
    assert published_ssim(estimate, reference) == pytest.approx(
        ssim(estimate, reference, data_range=1.0).value, abs=1e-14
    )


def test_the_published_sam_rewards_giving_up(phantom):
    lazy = phantom.estimate.copy()
    worst = np.argsort(np.abs(lazy - phantom.reference).mean(axis=2), axis=None)[-300:]
    lazy.reshape(-1, 31)[worst] = 0
    assert published_sam(lazy, phantom.reference) < published_sam(phantom.estimate, phantom.reference)
    assert sam(lazy, phantom.reference).value > sam(phantom.estimate, phantom.reference).value


def test_the_published_sam_of_equal_cubes_is_noise(phantom):
    assert 0 < published_sam(phantom.reference, phantom.reference) < 5e-4


def test_at_ordinary_angles_it_is_ours(phantom):
    ours = sam(phantom.estimate, phantom.reference, phantom.mask).value
    assert published_sam(phantom.estimate, phantom.reference, phantom.mask) == pytest.approx(ours, rel=1e-5)


def test_a_soft_mask_cancels_in_the_published_sam(phantom):
    soft = np.where(phantom.mask, 1 / 255, 0.0)
    assert published_sam(phantom.estimate, phantom.reference, soft) == pytest.approx(
        published_sam(phantom.estimate, phantom.reference, phantom.mask), rel=1e-5
    )


@pytest.mark.parametrize("rubbish", [np.nan, np.inf])
def test_what_is_behind_the_mask_does_not_count(phantom, rubbish):
    estimate = phantom.estimate.copy()
    estimate[~phantom.mask] = rubbish
    for metric in (published_ssim, published_sam):
        assert metric(estimate, phantom.reference, phantom.mask) == metric(
            phantom.estimate, phantom.reference, phantom.mask
        )


# Second formulations


def test_ssim_is_the_plain_restatement(phantom):
    soft = np.where(phantom.mask, np.linspace(0.2, 1, 32), 0)
    small = np.zeros((24, 32), dtype=bool)
    small[9:12, 13:15] = True
    for mask in (None, np.ones((24, 32), dtype=bool), phantom.mask, soft, small):
        expected = _reference_published_ssim(phantom.estimate, phantom.reference, mask)
        assert published_ssim(phantom.estimate, phantom.reference, mask) == pytest.approx(expected, abs=1e-7)


def test_sam_is_the_plain_restatement(phantom):
    for mask in (None, phantom.mask):
        expected = _reference_published_sam(phantom.estimate, phantom.reference, mask)
        assert published_sam(phantom.estimate, phantom.reference, mask) == pytest.approx(expected, rel=1e-5)


# Where there is no value


def test_it_is_nan_where_the_rule_divides_zero_by_zero(phantom):
    empty = np.zeros((24, 32), dtype=bool)
    flat = np.full((24, 32, 31), 0.5)
    assert math.isnan(published_ssim(phantom.estimate, phantom.reference, empty))
    assert math.isnan(published_sam(phantom.estimate, phantom.reference, empty))
    assert math.isnan(published_ssim(flat, flat))
    assert math.isnan(published_sam(0 * flat, flat))
    assert math.isnan(published_ssim(phantom.estimate[:9], phantom.reference[:9]))


def test_rubbish_under_the_mask_is_refused(phantom):
    estimate = phantom.estimate.copy()
    for rubbish in (np.nan, np.inf):
        estimate[12, 15, 3] = rubbish
        with pytest.raises(DataError, match="must be finite wherever `mask` selects"):
            published_ssim(estimate, phantom.reference, phantom.mask)


def test_arrays_that_do_not_fit_are_refused(phantom):
    for metric in (published_ssim, published_sam):
        with pytest.raises(ShapeError, match="`mask` must have shape"):
            metric(phantom.estimate, phantom.reference, phantom.mask.T)
