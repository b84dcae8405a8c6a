import math
import tracemalloc

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.metrics.ssim import ssim, ssim_by_centres, ssim_map

CENTRES = ("any", "inside", "coverage")
BORDERS = ("valid", "renormalise")
C1, C2 = 1e-4, 9e-4


def _reference_ssim(estimate, reference, mask, *, centres, border):
    """Return (value, per_band, window_count), window by window, with deviations from the window's own mean."""
    axis = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / np.outer(axis, axis).sum()
    height, width, bands = reference.shape
    margin = 5 if border == "valid" else 0
    sums, weight_sum, window_count = np.zeros(bands), 0.0, 0
    for row in range(margin, height - margin):
        for column in range(margin, width - margin):
            top, bottom, left, right = max(0, row - 5), min(height, row + 6), max(0, column - 5), min(width, column + 6)
            part = window[top - row + 5 : bottom - row + 5, left - column + 5 : right - column + 5]
            seen = mask[top:bottom, left:right] > 0
            weights = (part * mask[top:bottom, left:right])[seen][:, np.newaxis]
            own = {"any": float(seen.any()), "inside": float(mask[row, column]), "coverage": weights.sum()}[centres]
            if own == 0:
                continue
            x, y = reference[top:bottom, left:right][seen], estimate[top:bottom, left:right][seen]
            weights /= weights.sum()
            x_mean, y_mean = (weights * x).sum(0), (weights * y).sum(0)
            x_variance, y_variance = (weights * (x - x_mean) ** 2).sum(0), (weights * (y - y_mean) ** 2).sum(0)
            covariance = (weights * (x - x_mean) * (y - y_mean)).sum(0)
            luminance = (2 * x_mean * y_mean + C1) / (x_mean**2 + y_mean**2 + C1)
            sums += own * luminance * (2 * covariance + C2) / (x_variance + y_variance + C2)
            weight_sum += own
            window_count += 1
    per_band = sums / weight_sum
    return per_band.mean(), per_band, window_count


def _skimage(estimate, reference):
    return structural_similarity(
        estimate.astype(np.float64),
        reference.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=2,
    )


# Solved by hand


def test_constant_cubes_differ_in_luminance_only():
    estimate, reference = np.full((24, 32, 31), 0.3), np.full((24, 32, 31), 0.6)
    expected = (2 * 0.3 * 0.6 + C1) / (0.3**2 + 0.6**2 + C1)
    result = ssim(estimate, reference, data_range=1.0)
    assert result.value == pytest.approx(expected, abs=1e-14)
    assert result.per_band == pytest.approx([expected] * 31, abs=1e-14)
    assert result.window_count == 14 * 22


def test_a_single_pixel_is_seen_by_121_windows_that_know_its_luminance():
    generator = np.random.default_rng(0)
    estimate, reference = generator.random((24, 32, 31)), generator.random((24, 32, 31))
    mask = np.zeros((24, 32), dtype=bool)
    mask[11, 14] = True
    x, y = reference[11, 14], estimate[11, 14]
    result = ssim(estimate, reference, mask, data_range=1.0)
    assert result.window_count == 121
    assert result.per_band == pytest.approx((2 * x * y + C1) / (x**2 + y**2 + C1), abs=1e-13)
    assert ssim(estimate, reference, mask, data_range=1.0, centres="inside").window_count == 1


def test_two_pixels_in_one_window():
    """Both one step from the centre, so of equal weight: means are halves of sums, deviations halves of differences."""
    estimate, reference = np.full((11, 11, 1), np.nan), np.full((11, 11, 1), np.nan)
    mask = np.zeros((11, 11), dtype=bool)
    mask[5, 4] = mask[5, 6] = True
    reference[5, 4], reference[5, 6], estimate[5, 4], estimate[5, 6] = 0.2, 0.4, 0.5, 0.3
    luminance = (2 * 0.3 * 0.4 + C1) / (0.3**2 + 0.4**2 + C1)
    structure = (2 * -0.1 * 0.1 + C2) / (0.1**2 + 0.1**2 + C2)
    result = ssim(estimate, reference, mask, data_range=1.0)
    assert result.value == pytest.approx(luminance * structure, abs=1e-14)
    assert result.window_count == 1


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("centres", CENTRES)
def test_an_empty_mask_has_no_value(phantom, centres, border):
    mask = np.zeros((24, 32), dtype=bool)
    result = ssim(phantom.estimate, phantom.reference, mask, data_range=1.0, centres=centres, border=border)
    assert math.isnan(result.value)
    assert np.isnan(result.per_band).tolist() == [True] * 31
    assert result.window_count == 0


def test_a_frame_smaller_than_a_window_has_no_window_unless_its_border_is_renormalised(phantom):
    estimate, reference = phantom.estimate[:10], phantom.reference[:10]
    assert ssim(estimate, reference, data_range=1.0).window_count == 0
    assert math.isnan(ssim(estimate, reference, data_range=1.0).value)
    assert ssim(estimate, reference, data_range=1.0, border="renormalise").window_count == 320


def test_a_pixel_in_the_corner_is_inside_no_valid_window_but_under_one(phantom):
    mask = np.zeros((24, 32), dtype=bool)
    mask[0, 0] = True
    results = ssim_by_centres(phantom.estimate, phantom.reference, mask, data_range=1.0, centres=CENTRES)
    assert [results[rule].window_count for rule in CENTRES] == [1, 0, 1]
    assert math.isnan(results["inside"].value)
    assert results["any"].value == results["coverage"].value


# Laws


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("centres", CENTRES)
def test_equal_cubes_score_one(phantom, centres, border):
    result = ssim(phantom.reference, phantom.reference, phantom.mask, data_range=1.0, centres=centres, border=border)
    assert result.value == pytest.approx(1.0, abs=2e-14)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("centres", CENTRES)
def test_background_does_not_count_by_a_single_bit(phantom, centres, border):
    soft = np.where(phantom.mask, np.linspace(0.2, 1, 32), 0)
    for mask in (phantom.mask, soft):
        before = ssim(phantom.estimate, phantom.reference, mask, data_range=1.0, centres=centres, border=border)
        for rubbish in (np.nan, np.inf, -np.inf, 1e300, -7.0):
            estimate, reference = phantom.estimate.copy(), phantom.reference.copy()
            estimate[~phantom.mask] = rubbish
            reference[~phantom.mask] = -rubbish
            after = ssim(estimate, reference, mask, data_range=1.0, centres=centres, border=border)
            assert np.array_equal(after.per_band, before.per_band)
            assert after.value == before.value


def test_more_background_around_the_frame_changes_no_bit(phantom):
    rim = ((40, 7), (3, 60))
    wide = [np.pad(cube, (*rim, (0, 0))) for cube in (phantom.estimate, phantom.reference)]
    mask = np.zeros((24, 32), dtype=bool)
    mask[10:14, 10:20] = True
    before = ssim(phantom.estimate, phantom.reference, mask, data_range=1.0)
    after = ssim(*wide, np.pad(mask, rim), data_range=1.0)
    assert np.array_equal(after.per_band, before.per_band)
    assert after.window_count == before.window_count


def test_a_full_mask_is_no_mask(phantom):
    expected = ssim(phantom.estimate, phantom.reference, data_range=1.0)
    for full in (np.ones((24, 32), dtype=bool), np.ones((24, 32), dtype=np.float32)):
        result = ssim(phantom.estimate, phantom.reference, full, data_range=1.0)
        assert np.array_equal(result.per_band, expected.per_band)


@pytest.mark.parametrize("centres", CENTRES)
def test_each_band_stands_for_itself(phantom, centres):
    whole = ssim(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0, centres=centres)
    order = np.random.default_rng(0).permutation(31)
    shuffled = ssim(
        phantom.estimate[..., order], phantom.reference[..., order], phantom.mask, data_range=1.0, centres=centres
    )
    assert np.array_equal(shuffled.per_band, whole.per_band[order])
    assert shuffled.value == pytest.approx(whole.value, abs=5e-16)
    alone = ssim(phantom.estimate[..., 7:8], phantom.reference[..., 7:8], phantom.mask, data_range=1.0, centres=centres)
    assert alone.value == whole.per_band[7]


@pytest.mark.parametrize("centres", CENTRES)
def test_it_is_symmetric_to_the_bit(phantom, centres):
    there = ssim(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0, centres=centres)
    back = ssim(phantom.reference, phantom.estimate, phantom.mask, data_range=1.0, centres=centres)
    assert np.array_equal(there.per_band, back.per_band)


def test_it_stays_within_one(phantom):
    for estimate in (-phantom.reference, 1 - phantom.reference, phantom.reference[::-1], 1e3 * phantom.estimate):
        index = ssim_map(estimate, phantom.reference, phantom.mask, data_range=1.0)
        assert np.nanmax(np.abs(index)) <= 1


def test_a_negative_is_worse_than_unrelated():
    texture = np.random.default_rng(0).uniform(-0.3, 0.3, (24, 32, 31))
    value = ssim(0.5 - texture, 0.5 + texture, data_range=1.0).value
    assert -1 <= value < -0.9


@pytest.mark.parametrize("scale", [0.25, 3.0, 4095.0])
def test_it_depends_on_values_relative_to_the_data_range(phantom, scale):
    expected = ssim(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0).value
    scaled = ssim(scale * phantom.estimate, scale * phantom.reference, phantom.mask, data_range=scale).value
    assert scaled == pytest.approx(expected, abs=2e-14)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("centres", CENTRES)
def test_turning_the_frame_changes_nothing(phantom, centres, border):
    def score(turn):
        arrays = [turn(array) for array in (phantom.estimate, phantom.reference, phantom.mask)]
        return ssim(*arrays, data_range=1.0, centres=centres, border=border).value

    expected = score(lambda array: array)
    for turn in (np.flipud, np.fliplr, lambda array: array.swapaxes(0, 1)):
        assert score(turn) == pytest.approx(expected, abs=2e-14)


@pytest.mark.parametrize("constant", [0.5, 1 / 255, 1e-30, 1e-300])
@pytest.mark.parametrize("centres", CENTRES)
def test_a_mask_is_a_weight_up_to_a_constant(phantom, centres, constant):
    soft = np.where(phantom.mask, np.linspace(0.2, 1, 32), 0)
    expected = ssim(phantom.estimate, phantom.reference, soft, data_range=1.0, centres=centres).value
    result = ssim(phantom.estimate, phantom.reference, constant * soft, data_range=1.0, centres=centres).value
    assert result == pytest.approx(expected, abs=2e-14)


def test_a_rectangular_mask_is_a_crop(phantom):
    mask = np.zeros((24, 32), dtype=bool)
    mask[4:19, 6:27] = True
    masked = ssim(phantom.estimate, phantom.reference, mask, data_range=1.0, centres="inside", border="renormalise")
    cropped = ssim(phantom.estimate[4:19, 6:27], phantom.reference[4:19, 6:27], data_range=1.0, border="renormalise")
    assert masked.per_band == pytest.approx(cropped.per_band, abs=5e-15)
    assert masked.window_count == cropped.window_count == 15 * 21


def test_a_stray_pixel_of_no_weight_moves_any_but_not_inside_nor_coverage(phantom):
    mask = np.zeros((24, 32))
    mask[8:14, 6:12] = 1
    stray = mask.copy()
    stray[18, 25] = 1e-6
    moved = {}
    for centres in CENTRES:
        before = ssim(phantom.estimate, phantom.reference, mask, data_range=1.0, centres=centres).value
        after = ssim(phantom.estimate, phantom.reference, stray, data_range=1.0, centres=centres).value
        moved[centres] = abs(after - before)
    assert moved["any"] > 1e-4
    assert moved["inside"] < 1e-5
    assert moved["coverage"] < 1e-5


def test_more_noise_is_a_lower_score(phantom):
    noise = np.random.default_rng(1).standard_normal(phantom.reference.shape)
    values = [
        ssim(phantom.reference + level * noise, phantom.reference, phantom.mask, data_range=1.0).value
        for level in (0.0, 0.01, 0.03, 0.1)
    ]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def test_memory_layout_and_dtype_do_not_matter(phantom):
    estimate, reference = phantom.estimate.astype(np.float32), phantom.reference.astype(np.float32)
    expected = ssim(estimate, reference, phantom.mask, data_range=1.0).value
    planar = np.ascontiguousarray(estimate.transpose(2, 0, 1)).transpose(1, 2, 0)
    laid_out = ssim(planar, np.asfortranarray(reference), phantom.mask, data_range=1.0).value
    assert laid_out == pytest.approx(expected, abs=1e-15)
    double = ssim(estimate.astype(np.float64), reference.astype(np.float64), phantom.mask, data_range=1.0).value
    assert double == pytest.approx(expected, abs=1e-14)


def test_half_precision_is_close_enough(phantom):
    half = ssim(phantom.estimate.astype(np.float16), phantom.reference.astype(np.float16), data_range=1.0).value
    single = ssim(phantom.estimate.astype(np.float32), phantom.reference.astype(np.float32), data_range=1.0).value
    assert abs(half - single) < 1e-3


@pytest.mark.parametrize("border", BORDERS)
def test_the_mean_of_the_map_is_the_inside_value(phantom, border):
    index = ssim_map(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0, border=border)
    result = ssim(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0, centres="inside", border=border)
    shown = phantom.mask.copy()
    if border == "valid":
        shown[:5] = shown[-5:] = shown[:, :5] = shown[:, -5:] = False
    assert np.array_equal(~np.isnan(index), shown)
    assert np.nanmean(index) == pytest.approx(result.value, abs=1e-14)
    assert result.window_count == shown.sum()


def test_the_map_of_an_empty_mask_is_nan(phantom):
    empty = np.zeros((24, 32), dtype=bool)
    assert np.isnan(ssim_map(phantom.estimate, phantom.reference, empty, data_range=1.0)).all()


def test_arguments_stay_as_they_are(phantom):
    estimate, reference, mask = (array.copy() for array in phantom)
    ssim(estimate, reference, mask, data_range=1.0)
    assert all(np.array_equal(*pair) for pair in zip((estimate, reference, mask), phantom, strict=True))


# Second formulations


@pytest.mark.parametrize(
    "shape", [(11, 11, 3), (11, 40, 2), (24, 32, 31), (34, 34, 2), (35, 35, 2), (58, 59, 2), (60, 23, 2)]
)
def test_without_a_mask_it_is_scikit_image(shape):
    generator = np.random.default_rng(0)
    reference = generator.random(shape)
    estimate = 0.8 * reference + 0.2 * generator.random(shape)
    expected = _skimage(estimate, reference)
    assert ssim(estimate, reference, data_range=1.0).value == pytest.approx(expected, abs=1e-12)
    full = np.ones(shape[:2], dtype=bool)
    for centres in CENTRES:
        value = ssim(estimate, reference, full, data_range=1.0, centres=centres).value
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("centres", CENTRES)
def test_under_a_mask_it_is_the_slow_formulation(phantom, centres, border, soft):
    generator = np.random.default_rng(4)
    mask = phantom.mask & (generator.random((24, 32)) < 0.7)
    mask[0, 0] = mask[23, 31] = True
    mask = np.where(mask, generator.random((24, 32)), 0) if soft else mask
    estimate, reference = phantom.estimate[..., ::10], phantom.reference[..., ::10]
    value, per_band, window_count = _reference_ssim(estimate, reference, mask, centres=centres, border=border)
    result = ssim(estimate, reference, mask, data_range=1.0, centres=centres, border=border)
    assert result.value == pytest.approx(value, abs=1e-13)
    assert result.per_band == pytest.approx(per_band, abs=1e-13)
    assert result.window_count == window_count


def test_a_large_offset_cancels_no_digits(phantom):
    estimate, reference = (100 + cube[..., :2] for cube in (phantom.estimate, phantom.reference))
    expected, _, _ = _reference_ssim(estimate, reference, phantom.mask, centres="any", border="valid")
    assert ssim(estimate, reference, phantom.mask, data_range=1.0).value == pytest.approx(expected, abs=1e-12)


# Costs and refusals


def test_working_memory_is_a_fraction_of_the_cubes():
    cube = np.random.default_rng(0).random((512, 512, 31), dtype=np.float32)
    estimate = cube[::-1]
    mask = np.zeros((512, 512), dtype=bool)
    mask[100:400, 150:350] = True
    tracemalloc.start()
    ssim(estimate, cube, mask, data_range=1.0)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < cube.nbytes


@pytest.mark.parametrize("rubbish", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("centres", CENTRES)
def test_rubbish_under_the_mask_is_refused(phantom, centres, rubbish):
    estimate = phantom.estimate.copy()
    estimate[12, 15, 3] = rubbish
    with pytest.raises(DataError, match="must be finite wherever `mask` selects"):
        ssim(estimate, phantom.reference, phantom.mask, data_range=1.0, centres=centres)
    with pytest.raises(DataError, match="must be finite wherever `mask` selects"):
        ssim(estimate, -estimate, data_range=1.0, centres=centres)


@pytest.mark.parametrize("data_range", [0.0, -1.0, math.nan, math.inf])
def test_a_data_range_that_is_none_is_refused(phantom, data_range):
    with pytest.raises(DataError, match="`data_range` must be positive"):
        ssim(phantom.estimate, phantom.reference, data_range=data_range)


def test_unknown_choices_are_refused(phantom):
    with pytest.raises(UnknownNameError, match="`centres` must be one of any, inside, coverage; got 'all'"):
        ssim(phantom.estimate, phantom.reference, data_range=1.0, centres="all")
    with pytest.raises(UnknownNameError, match="`border` must be one of valid, renormalise; got 'reflect'"):
        ssim(phantom.estimate, phantom.reference, data_range=1.0, border="reflect")


def test_cubes_of_other_shapes_are_refused(phantom):
    with pytest.raises(ShapeError, match="`estimate` must have shape"):
        ssim(phantom.estimate[:, :31], phantom.reference, data_range=1.0)


# Measured data


@pytest.mark.realdata
def test_on_a_measured_scene_it_is_scikit_image(real_scene):
    reference = real_scene.cube[100:300, 100:330]
    estimate = reference + 0.02 * np.random.default_rng(0).standard_normal(reference.shape).astype(np.float32)
    assert ssim(estimate, reference, data_range=1.0).value == pytest.approx(_skimage(estimate, reference), abs=1e-12)
