from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline, interp1d

from hyperskin.bands import FX10, NIR, VIS, Bands, regular_bands
from hyperskin.errors import DataError, ShapeError
from hyperskin.spectral.resampling import resample_bands, resampling_operator

KINDS = ["linear", "cubic", "gaussian"]
UNEVEN = Bands((398.0, 401.5, 409.0, 413.0, 421.0, 428.5, 431.0, 440.0))
WANTED = Bands((398.0, 400.0, 409.0, 425.25, 440.0))


def _reference_gaussian(source: Bands, target: Bands, fwhm_nm: float) -> np.ndarray:
    weights = np.zeros((len(target), len(source)))
    for row, centre in enumerate(target.wavelength_nm):
        response = [2.0 ** -((2 * (band - centre) / fwhm_nm) ** 2) for band in source.wavelength_nm]
        weights[row] = np.array(response) / sum(response)
    return weights


@pytest.mark.parametrize("target", [VIS, NIR])
def test_linear_equals_scipy(target):
    expected = interp1d(FX10.centres_nm(), np.eye(448), kind="linear", axis=0)(target.centres_nm())
    np.testing.assert_allclose(resampling_operator(FX10, target, kind="linear"), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("source", "target"), [(FX10, VIS), (FX10, NIR), (UNEVEN, WANTED)])
def test_cubic_equals_the_not_a_knot_spline_of_scipy(source, target):
    spectra = np.random.default_rng(1).random((5, len(source)))
    expected = CubicSpline(source.centres_nm(), spectra, axis=1)(target.centres_nm())
    operator = resampling_operator(source, target, kind="cubic")
    np.testing.assert_allclose(spectra @ operator.T, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fwhm_nm", [4.0, 10.0, 25.0])
def test_gaussian_equals_its_formula(fwhm_nm):
    operator = resampling_operator(FX10, VIS, kind="gaussian", fwhm_nm=fwhm_nm)
    np.testing.assert_allclose(operator, _reference_gaussian(FX10, VIS, fwhm_nm), rtol=0, atol=1e-12)


def test_two_bands_are_weighted_by_hand():
    source = Bands((400.0, 410.0, 420.0))
    weights = resampling_operator(source, Bands((400.0, 407.5, 420.0)), kind="linear")
    assert weights.tolist() == [[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]


def test_half_the_width_away_a_gaussian_weighs_half():
    weights = resampling_operator(Bands((395.0, 400.0, 405.0)), Bands((400.0,)), kind="gaussian", fwhm_nm=10.0)
    np.testing.assert_allclose(weights, [[0.25, 0.5, 0.25]], rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_spectrum_stays_flat(kind):
    operator = resampling_operator(FX10, VIS, kind=kind, fwhm_nm=10.0)
    np.testing.assert_allclose(operator.sum(axis=1), 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "degree"), [("linear", 1), ("cubic", 3)])
def test_a_polynomial_of_its_degree_is_kept(kind, degree):
    def curve(centres_nm):
        return ((centres_nm - 650.0) / 350.0) ** degree

    resampled = resample_bands(curve(FX10.centres_nm()), FX10, NIR, kind=kind)
    np.testing.assert_allclose(resampled, curve(NIR.centres_nm()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_weight_becomes_a_subnormal_number(kind):
    weights = resampling_operator(FX10, VIS, kind=kind, fwhm_nm=10.0).astype(np.float32)
    assert np.all((weights == 0) | (np.abs(weights) > np.finfo(np.float32).tiny))
    assert np.count_nonzero(weights, axis=1).max() <= {"linear": 2, "cubic": 50, "gaussian": 50}[kind]


def test_a_gaussian_narrower_than_the_grid_takes_the_nearest_band():
    weights = resampling_operator(regular_bands(400, 430, 10), Bands((411.0,)), kind="gaussian", fwhm_nm=1e-3)
    assert weights.tolist() == [[0.0, 1.0, 0.0, 0.0]]


@pytest.mark.parametrize("kind", ["linear", "cubic"])
def test_half_a_band_beyond_the_end_is_what_the_end_measured(kind):
    source = regular_bands(400, 700, 10)
    weights = resampling_operator(source, Bands((395.0, 705.0)), kind=kind)
    assert weights[0, 0] == weights[1, -1] == 1.0
    assert np.count_nonzero(weights) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", [(394.9, 500.0), (500.0, 705.1)])
def test_nothing_is_extrapolated(kind, wanted):
    with pytest.raises(DataError, match=r"must cover 394\.9 to 500 nm|must cover 500 to 705\.1 nm"):
        resampling_operator(regular_bands(400, 700, 10), Bands(wanted), kind=kind, fwhm_nm=10.0)


@pytest.mark.parametrize("fwhm_nm", [None, 0.0, -1.0, float("nan"), float("inf")])
def test_a_gaussian_needs_a_width(fwhm_nm):
    with pytest.raises(DataError, match="`fwhm_nm` must be a positive width in nm"):
        resampling_operator(FX10, VIS, kind="gaussian", fwhm_nm=fwhm_nm)


def test_too_few_bands_are_refused():
    with pytest.raises(DataError, match="at least 4 bands for 'cubic' resampling; got 3"):
        resampling_operator(regular_bands(400, 420, 10), Bands((410.0,)), kind="cubic")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cube_is_resampled_along_its_last_axis(dtype):
    cube = np.random.default_rng(2).random((24, 32, 8)).astype(dtype)
    expected = interp1d(UNEVEN.centres_nm(), cube.astype(np.float64), axis=2)(WANTED.centres_nm())
    resampled = resample_bands(cube, UNEVEN, WANTED, kind="linear")
    assert resampled.dtype == dtype
    np.testing.assert_allclose(resampled, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cube", [np.ones((3, 4, 7)), np.ones((3, 4, 8), dtype=np.uint16), np.float64(1.0)])
def test_a_cube_on_other_bands_or_of_counts_is_refused(cube):
    with pytest.raises(ShapeError, match=r"must be floating, \(\.\.\., 8\) like its bands; got"):
        resample_bands(cube, UNEVEN, WANTED, kind="linear")
