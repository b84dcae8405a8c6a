from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.errors import DataError, ShapeError
from hyperskin.spectral.calibration import calibrate_counts, inspect_detector, plan_repair

WIDTH, BANDS = 32, 31
FULL_SCALE = 4095


def references(noise: float = 0.0, lines: int = 20) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """White and dark lines of a lamp that is weak at the ends, with a vignette."""
    rng = np.random.default_rng(5)
    lamp = 80 + 3000 * np.exp(-(((np.arange(BANDS) - 15) / 8.0) ** 2))
    white = 270 + (1 - 0.18 * np.linspace(-1, 1, WIDTH) ** 2)[:, None] * lamp
    dark = np.full((WIDTH, BANDS), 270.0)
    return tuple(
        np.rint(plane + rng.normal(0, noise, (lines, WIDTH, BANDS))).astype(np.uint16) for plane in (white, dark)
    )


def inspect(white, dark, **changes):
    return inspect_detector(white, dark, **{"full_scale": FULL_SCALE, "max_bad_fraction": 0.05, **changes})


def _reference_reflectance(counts, white, dark, white_reflectance):
    reflectance = np.zeros(counts.shape)
    for line, column, band in np.ndindex(counts.shape):
        mean_white = sum(float(w) for w in white[:, column, band]) / len(white)
        mean_dark = sum(float(d) for d in dark[:, column, band]) / len(dark)
        above = float(counts[line, column, band]) - mean_dark
        reflectance[line, column, band] = above / (mean_white - mean_dark) * white_reflectance
    return reflectance


def test_reflectance_is_the_share_of_white_above_dark():
    white = np.array([[[1000]], [[1010]]], dtype=np.uint16)
    dark = np.array([[[100]], [[110]]], dtype=np.uint16)
    detector = inspect(white, dark)
    counts = np.array([[[105]], [[1005]], [[555]], [[60]]], dtype=np.uint16)
    np.testing.assert_allclose(calibrate_counts(counts, detector)[:, 0, 0], [0, 1, 0.5, -0.05], rtol=1e-6)


@pytest.mark.parametrize("white_reflectance", [1.0, 0.95])
def test_reflectance_equals_the_formula_element_by_element(white_reflectance):
    white, dark = references(noise=4.0, lines=3)
    counts = np.random.default_rng(6).integers(0, 4095, (2, WIDTH, BANDS), dtype=np.uint16)
    detector = inspect(white, dark, white_reflectance=white_reflectance)
    expected = _reference_reflectance(counts, white, dark, white_reflectance)
    np.testing.assert_allclose(calibrate_counts(counts, detector), expected, rtol=2e-7, atol=1e-7)


def test_a_white_of_another_reflectance_scales_everything():
    white, dark = references(noise=4.0)
    plain, scaled = (calibrate_counts(white, inspect(white, dark, white_reflectance=share)) for share in (1.0, 0.5))
    np.testing.assert_array_equal(scaled, plain * np.float32(0.5))


def test_gain_and_offset_of_the_sensor_do_not_count():
    white, dark = references(noise=4.0)
    one, other = (
        calibrate_counts((white * gain + offset)[:3], inspect(white * gain + offset, dark * gain + offset))
        for gain, offset in ((1.0, 0.0), (0.25, 500.0))
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_counts_below_dark_are_negative_and_do_not_wrap():
    white, dark = references()
    reflectance = calibrate_counts(np.zeros((1, WIDTH, BANDS), dtype=np.uint16), inspect(white, dark))
    assert reflectance.max() < 0


@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_a_good_detector_has_no_bad_elements(noise):
    detector = inspect(*references(noise), max_bad_fraction=0.0)
    assert not detector.bad.any()
    assert set(detector.reasons.values()) == {0}


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize("column", [0, 1, 17, WIDTH - 1])
def test_each_kind_of_bad_element_is_found_and_no_other(noise, column):
    white, dark = (lines.astype(np.float32) for lines in references(noise))
    places = {"dead": (column, 2), "hot": (column, 8), "saturated_white": (column, 15), "not_finite": (column, 29)}
    white[:, column, 2] = dark[:, column, 2] + 5
    white[:, column, 8] += 400
    dark[:, column, 8] += 400
    white[::2, column, 15] = FULL_SCALE
    dark[3, column, 29] = np.nan
    detector = inspect(white, dark)
    assert detector.reasons == {"dead": 1, "hot": 1, "saturated_white": 1, "not_finite": 1}
    assert sorted(zip(*np.nonzero(detector.bad), strict=True)) == sorted(places.values())
    assert not detector.gain[detector.bad].any()
    assert np.isfinite(detector.dark).all()


def test_an_element_stuck_at_full_scale_is_bad_for_every_reason():
    white, dark = references()
    white[:, 4, 4] = dark[:, 4, 4] = FULL_SCALE
    detector = inspect(white, dark)
    assert detector.reasons == {"dead": 1, "hot": 1, "saturated_white": 1, "not_finite": 0}
    assert np.count_nonzero(detector.bad) == 1


@pytest.mark.parametrize("count", [2, 3, 6])
def test_neighbouring_dead_elements_are_all_found(count):
    white, dark = references(noise=4.0)
    white[:, 10 : 10 + count, 12] = dark[:, 10 : 10 + count, 12]
    bad = inspect(white, dark).bad
    assert np.flatnonzero(bad[:, 12]).tolist() == list(range(10, 10 + count))
    assert np.count_nonzero(bad) == count


def test_a_rare_spike_does_not_saturate_a_white_element():
    white, dark = references(lines=100)
    white[7, 3, 3] = FULL_SCALE
    assert not inspect(white, dark).bad.any()


def test_white_not_brighter_than_dark_is_dead_and_never_divides():
    white, dark = references()
    white[:, 3, 3] = dark[:, 3, 3]
    white[:, 9, 9] = dark[:, 9, 9] - 5
    detector = inspect(white, dark)
    assert detector.reasons["dead"] == 2
    assert calibrate_counts(white, detector)[0, 3, 3] == 0


def test_too_many_bad_elements_are_refused_with_their_reasons():
    white, dark = references()
    white[:, :2] = dark[:, :2]
    with pytest.raises(DataError, match=r"At most 1\.00% of .* bad; 6\.25% are \(62 dead\): look at"):
        inspect(white, dark, max_bad_fraction=0.01)


def test_references_of_other_shapes_are_refused():
    white, dark = references()
    with pytest.raises(ShapeError, match=r"`white_lines` must have \(W, C\) = \(32, 30\) like `dark_lines`"):
        inspect(white, dark[..., 1:])
    with pytest.raises(ShapeError, match=r"`dark_lines` must be counts \(L, W, C\); got shape \(32, 31\)"):
        inspect(white, dark[0])
    with pytest.raises(ShapeError, match=r"`counts` must be .* \(W, C\) = \(32, 31\); got \(20, 31, 31\)"):
        calibrate_counts(white[:, 1:], inspect(white, dark))


@pytest.mark.parametrize("white_reflectance", [0.0, -1.0, 1.5, float("nan")])
def test_a_white_reference_reflects_between_nothing_and_all(white_reflectance):
    with pytest.raises(DataError, match=r"`white_reflectance` must lie in \(0, 1\]"):
        inspect(*references(), white_reflectance=white_reflectance)


def test_references_may_have_other_line_counts():
    white, dark = references()
    np.testing.assert_array_equal(inspect(white, dark).gain, inspect(white[:3], dark[:1]).gain)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<u4", "<i2", "<f4"])
def test_references_are_averaged_exactly_whatever_their_number_type(dtype):
    white, dark = references(noise=4.0, lines=30)
    detector = inspect(white.astype(dtype), dark.astype(dtype))
    expected = 1.0 / (white.mean(axis=0, dtype=np.float64) - dark.mean(axis=0, dtype=np.float64))
    np.testing.assert_array_equal(detector.gain, expected)


def test_wide_counts_do_not_overflow_their_sum():
    white, dark = (16 * lines for lines in references(noise=4.0))
    detector = inspect(white, dark, full_scale=65535)
    np.testing.assert_array_equal(detector.dark, dark.mean(axis=0, dtype=np.float64))


def repaired(bad: npt.NDArray[np.bool_], plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    plan = plan_repair(bad)
    result = np.where(bad, np.nan, plane)
    near, far = (result[tuple(side)] for side in (plan.first, plan.second))
    result[plan.column, plan.band] = (1 - plan.share) * near + plan.share * far
    return result


def bad_at(*places: tuple[int, int]) -> npt.NDArray[np.bool_]:
    bad = np.zeros((WIDTH, BANDS), dtype=np.bool_)
    bad[tuple(zip(*places, strict=True))] = True
    return bad


def test_an_element_is_repaired_from_the_same_band_on_either_side():
    columns, bands = np.meshgrid(np.arange(WIDTH), np.arange(BANDS), indexing="ij")
    plane = 3.0 * columns + 1000.0 * (bands % 2)
    bad = bad_at((5, 4), (9, 9), (10, 9), (20, 1), (20, 2), (20, 3))
    np.testing.assert_allclose(repaired(bad, plane), plane, rtol=1e-14)


def test_the_nearer_side_weighs_more():
    plan = plan_repair(bad_at((9, 9), (10, 9), (11, 9)))
    assert plan.share.tolist() == [0.25, 0.5, 0.75]
    assert plan.first[0].tolist() == [8, 8, 8]
    assert plan.second[0].tolist() == [12, 12, 12]


def test_at_the_edge_one_side_serves():
    plan = plan_repair(bad_at((0, 7), (WIDTH - 1, 8)))
    assert plan.first.T.tolist() == plan.second.T.tolist() == [[1, 7], [WIDTH - 2, 8]]


def test_a_band_without_good_columns_is_repaired_from_its_neighbour_bands():
    bad = np.zeros((WIDTH, BANDS), dtype=np.bool_)
    bad[:, 11:13] = True
    columns, bands = np.meshgrid(np.arange(WIDTH), np.arange(BANDS), indexing="ij")
    plane = 100.0 * (columns % 3) + 2.0 * bands
    np.testing.assert_allclose(repaired(bad, plane), plane, rtol=1e-14)


def test_what_has_no_good_neighbour_is_not_made_up():
    bad = np.zeros((WIDTH, BANDS), dtype=np.bool_)
    bad[5:16, 5:16] = True
    result = repaired(bad, np.ones((WIDTH, BANDS)))
    assert np.isnan(result[9:12, 9:12]).all()
    assert np.count_nonzero(np.isnan(result)) == 9


def test_no_bad_elements_need_no_repair():
    assert plan_repair(bad_at((1, 1)) & False).column.size == 0


def test_calibration_with_repair_fills_the_bad_elements_alone():
    white, dark = references(noise=4.0)
    white[:, 7, 15] = dark[:, 7, 15]
    detector = inspect(white, dark)
    plain = calibrate_counts(white, detector)
    filled = calibrate_counts(white, detector, plan_repair(detector.bad))
    expected = (plain[:, 6, 15].astype(np.float64) + plain[:, 8, 15]) / 2
    np.testing.assert_allclose(filled[:, 7, 15], expected, rtol=1e-6)
    filled[:, 7, 15] = plain[:, 7, 15]
    np.testing.assert_array_equal(filled, plain)
