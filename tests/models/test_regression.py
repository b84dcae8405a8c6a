import io
import math
import os
import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.models.regression import KINDS, Regression, RegressionSums, feature_count, fit_regression
from hyperskin.spectral.rendering import encode_srgb


def _reference_features(kind, pixel):
    """One pixel's features from powers, in whatever order."""
    exponents = [e for e in product(range(4), repeat=len(pixel)) if sum(e) <= 3]
    if kind == "mean":
        return [1.0]
    if kind == "linear":
        return [1.0, *pixel]
    if kind == "polynomial":
        return [math.prod(x**power for x, power in zip(pixel, e, strict=True)) for e in exponents]
    roots = {tuple(power / sum(e) for power in e) for e in exponents if sum(e) > 0}  # equal functions fall together
    return [math.prod(max(x, 0.0) ** power for x, power in zip(pixel, e, strict=True)) for e in sorted(roots)]


def _reference_decode(pixel):
    decoded = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in pixel[:3]]
    return [*decoded, *pixel[3:]]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("transfer", ["srgb", "linear"])
def test_estimates_are_those_of_least_squares_over_listed_features(rng, kind, channels, transfer):
    inputs, targets, fresh = rng.random((400, channels)), rng.random((400, 31)), rng.random((24, 32, channels))
    decode = _reference_decode if transfer == "srgb" else list
    design = np.array([_reference_features(kind, decode(pixel)) for pixel in inputs])
    weights = np.linalg.lstsq(design, targets, rcond=None)[0]
    rows = np.array([_reference_features(kind, decode(pixel)) for pixel in fresh.reshape(-1, channels)])
    cube = fit_regression(kind, inputs, targets, ridge=0.0, transfer=transfer).reconstruct(fresh)
    np.testing.assert_allclose(cube.reshape(-1, 31), rows @ weights, atol=1e-5)
    assert cube.dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "rgb", "msi"), [("mean", 1, 1), ("linear", 4, 5), ("polynomial", 20, 35), ("root_polynomial", 13, 26)]
)
def test_the_number_of_features_is_that_of_the_literature(kind, rgb, msi):
    assert (feature_count(kind, 3), feature_count(kind, 4)) == (rgb, msi)


def test_the_mean_is_the_mean_spectrum(rng):
    inputs, targets = rng.random((50, 3)), rng.random((50, 31))
    regression = fit_regression("mean", inputs, targets, ridge=0.0)
    cube = regression.reconstruct(rng.random((24, 32, 3)))
    np.testing.assert_allclose(cube, np.broadcast_to(targets.mean(axis=0), (24, 32, 31)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "polynomial", "root_polynomial"])
@pytest.mark.parametrize("channels", [3, 4])
def test_an_exactly_linear_map_is_recovered(rng, kind, channels):
    light, true_map = rng.random((2000, channels)), rng.random((channels, 31))
    regression = fit_regression(kind, light, light @ true_map, ridge=1e-12, transfer="linear")
    fresh = rng.random((24, 32, channels))
    np.testing.assert_allclose(regression.reconstruct(fresh), fresh @ true_map, atol=1e-4)


def test_encoded_rgb_is_decoded_and_infrared_is_not(rng):
    light, true_map = rng.random((2000, 4)), rng.random((4, 31))
    encoded = np.column_stack([encode_srgb(light[:, :3]), light[:, 3]])
    regression = fit_regression("linear", encoded, light @ true_map, ridge=0.0)
    np.testing.assert_allclose(regression.reconstruct(encoded[None])[0], light @ true_map, atol=1e-6)
    mistaken = fit_regression("linear", encoded, light @ true_map, ridge=0.0, transfer="linear")
    assert np.abs(mistaken.reconstruct(encoded[None])[0] - light @ true_map).max() > 0.05


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("gain", [0.25, 0.5, 2.0])
def test_root_polynomials_scale_with_the_light(rng, channels, gain):
    inputs, targets = rng.random((500, channels)), rng.random((500, 31))
    regression = fit_regression("root_polynomial", inputs, targets, ridge=1e-6, transfer="linear")
    frame = rng.random((24, 32, channels))
    frame[0, 0] = 0
    frame[0, 1] = -0.01
    scaled, cube = regression.reconstruct(gain * frame), regression.reconstruct(frame)
    np.testing.assert_allclose(scaled, gain * cube, rtol=1e-5, atol=1e-6)
    assert cube[0, 0].tolist() == [0.0] * 31


def test_root_polynomials_scale_with_the_light_behind_the_transfer_curve(rng):
    regression = fit_regression("root_polynomial", rng.random((500, 3)), rng.random((500, 31)), ridge=1e-6)
    light = 0.5 * rng.random((24, 32, 3))
    bright, dim = regression.reconstruct(encode_srgb(light)), regression.reconstruct(encode_srgb(0.3 * light))
    np.testing.assert_allclose(dim, 0.3 * bright, rtol=1e-3, atol=1e-5)  # the curve's two ends meet to 1e-5 only


def test_polynomials_do_not_scale_with_the_light(rng):
    regression = fit_regression("polynomial", rng.random((500, 3)), rng.random((500, 31)), ridge=1e-6)
    frame = rng.random((24, 32, 3))
    assert np.abs(regression.reconstruct(0.5 * frame) - 0.5 * regression.reconstruct(frame)).max() > 0.01


def test_a_polynomial_beats_a_line_on_a_curved_map_and_a_line_beats_the_mean(rng):
    def curve(light):
        return np.stack([light[..., 0] * light[..., 1], light[..., 2] ** 3, light.mean(axis=-1)], axis=-1)

    light, fresh = rng.random((3000, 3)), rng.random((24, 32, 3))
    errors = {}
    for kind in ("mean", "linear", "polynomial"):
        regression = fit_regression(kind, light, curve(light), ridge=1e-9, transfer="linear")
        errors[kind] = float(np.sqrt(np.mean((regression.reconstruct(fresh) - curve(fresh)) ** 2)))
    assert errors["polynomial"] < 1e-4 < 0.05 < errors["linear"] < 0.7 * errors["mean"]


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_added_in_parts_count_like_pixels_added_at_once(rng, kind):
    inputs, targets = rng.random((20_000, 4)), rng.random((20_000, 31))
    sums = RegressionSums(kind, 4, 31)
    sums.add(inputs[:7], targets[:7])
    sums.add(inputs[7:7], targets[7:7])
    sums.add(inputs[7:], targets[7:])
    at_once = fit_regression(kind, inputs, targets, ridge=1e-6)
    np.testing.assert_allclose(sums.solve(ridge=1e-6).weights, at_once.weights, rtol=1e-7, atol=1e-9)
    assert sums.count == 20_000


def test_a_ridge_pulls_the_weights_towards_zero(rng):
    inputs, targets = rng.random((500, 3)), rng.random((500, 31))
    sums = RegressionSums("polynomial", 3, 31)
    sums.add(inputs, targets)
    sizes = [float(np.abs(sums.solve(ridge=ridge).weights).sum()) for ridge in (0.0, 1e-6, 1e-3, 1e3)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 1


@pytest.mark.parametrize("ridge", [0.0, 1e-6])
def test_grey_pixels_that_leave_weights_open_still_give_a_sane_answer(ridge):
    grey = np.repeat(np.linspace(0.1, 0.9, 50)[:, None], 3, axis=1)
    regression = fit_regression("linear", grey, grey[:, :1] * np.ones(31), ridge=ridge, transfer="linear")
    np.testing.assert_allclose(regression.reconstruct(grey[None])[0], grey[:, :1] * np.ones(31), atol=1e-4)
    assert np.abs(regression.weights).max() < 1.1


def test_a_regression_survives_a_file_of_plain_arrays(rng):
    regression = fit_regression("root_polynomial", rng.random((90, 4)), rng.random((90, 61)), ridge=1e-6)
    file = io.BytesIO()
    np.savez(file, **regression.arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = Regression.from_arrays(arrays)
    assert (again.kind, again.transfer, again.in_channels) == ("root_polynomial", "srgb", 4)
    frame = rng.random((24, 32, 4))
    np.testing.assert_array_equal(again.reconstruct(frame), regression.reconstruct(frame))
    assert again.parameter_count == 26 * 61


def test_a_frame_needs_little_memory_beside_its_cube(rng):
    regression = fit_regression("polynomial", rng.random((90, 4)), rng.random((90, 31)), ridge=1e-6)
    frame = rng.random((256, 512, 4)).astype(np.float32)
    tracemalloc.start()
    cube = regression.reconstruct(frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - cube.nbytes < 10e6  # all features at once would be 37 MB


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"mean, linear, polynomial, root_polynomial; got 'cubic'"):
        RegressionSums("cubic", 3, 31)
    with pytest.raises(UnknownNameError, match=r"`transfer` must be one of srgb, linear; got 'gamma'"):
        RegressionSums("linear", 3, 31, "gamma")


def test_pixels_of_the_wrong_shape_are_refused(rng):
    sums = RegressionSums("linear", 3, 31)
    with pytest.raises(ShapeError, match=r"`inputs` must have 3 channels; got shape \(5, 4\)"):
        sums.add(rng.random((5, 4)), rng.random((5, 31)))
    with pytest.raises(ShapeError, match=r"`inputs` must be pixels \(P, C\); got shape \(24, 32, 3\)"):
        sums.add(rng.random((24, 32, 3)), rng.random((24, 32, 31)))
    with pytest.raises(ShapeError, match="`targets` must have 5 pixels like `inputs`; got 4"):
        sums.add(rng.random((5, 3)), rng.random((4, 31)))
    with pytest.raises(ShapeError, match=r"`inputs` must be pixels"):
        fit_regression("linear", rng.random(5), rng.random((5, 31)), ridge=0.0)


def test_values_that_are_not_numbers_are_refused_and_leave_nothing_behind(rng):
    sums = RegressionSums("linear", 3, 31)
    targets = rng.random((20_000, 31))
    targets[19_999, 30] = np.nan
    with pytest.raises(DataError, match="`targets` must be finite; 1 of 20000 pixels are not"):
        sums.add(rng.random((20_000, 3)), targets)
    with pytest.raises(DataError, match="must see at least one pixel; got none"):
        sums.solve(ridge=1e-6)


def test_a_negative_ridge_is_refused(rng):
    with pytest.raises(DataError, match="`ridge` must be 0 or more; got -1"):
        fit_regression("linear", rng.random((9, 3)), rng.random((9, 31)), ridge=-1)


def test_a_frame_of_other_channels_is_refused(rng):
    regression = fit_regression("linear", rng.random((9, 3)), rng.random((9, 31)), ridge=1e-6)
    with pytest.raises(ShapeError, match=r"`input` must have 3 channels; got shape \(24, 32, 4\)"):
        regression.reconstruct(rng.random((24, 32, 4)))


def test_weights_that_do_not_fit_their_kind_are_refused(rng):
    arrays = fit_regression("linear", rng.random((9, 3)), rng.random((9, 31)), ridge=1e-6).arrays()
    with pytest.raises(ShapeError, match=r"`weights` of 'polynomial' must be \(20, C_out\); got shape \(4, 31\)"):
        Regression.from_arrays({**arrays, "kind": np.array("polynomial")})


@pytest.mark.realdata
@pytest.mark.skipif("HYPERSKIN_REALDATA" not in os.environ, reason="the measured spectra are not here")
def test_measured_cheeks_are_reconstructed_far_better_than_their_mean():
    """71 cheeks seen by three broad Gaussian sensors; every cheek is estimated from the other 70."""
    from scipy.io import loadmat

    from hyperskin.metrics.sam import sam

    file = loadmat(Path(os.environ["HYPERSKIN_REALDATA"]) / "skin" / "iset_HyspexSkinReflectance.mat")
    measured_nm, wavelength_nm = file["wavelength"].ravel(), np.arange(420.0, 701.0, 10.0)
    spectra = np.array([np.interp(wavelength_nm, measured_nm, spectrum) for spectrum in file["data"].T])
    sensors = np.exp(-0.5 * ((wavelength_nm[:, None] - [600.0, 540.0, 450.0]) / 35.0) ** 2)
    rgb = spectra @ (sensors / sensors.sum(axis=0))
    angles = {}
    for kind in ("mean", "linear"):
        estimates = np.empty_like(spectra)
        for left_out in range(len(spectra)):
            others = np.arange(len(spectra)) != left_out
            regression = fit_regression(kind, rgb[others], spectra[others], ridge=1e-6, transfer="linear")
            estimates[left_out] = regression.reconstruct(rgb[None, left_out : left_out + 1])[0, 0]
        angles[kind] = sam(estimates[None], spectra[None]).value
    assert angles["linear"] < 0.03
    assert angles["linear"] < 0.5 * angles["mean"]
