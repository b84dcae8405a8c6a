"""The regression that inverts the forward model."""

import os
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from hyperskin.bands import FX10, NIR, VIS, Bands, regular_bands
from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.skin import chromophore_regression as regression
from hyperskin.skin import inverse
from hyperskin.skin.chromophore_regression import TARGETS
from hyperskin.skin.indices import water_index
from hyperskin.skin.inverse import can_invert, inverse_model
from hyperskin.skin.optics import skin_reflectance
from hyperskin.skin.sampling import PRIORS, default_noise, draw_skin
from hyperskin.skin.typology import individual_typology_angle

BOTH = Bands((*VIS.wavelength_nm, *NIR.wavelength_nm[1:]))


def draw(count=400, prior="extended", bands=VIS, seed=5, noise=0.0):
    """Return skin of a prior and its spectra, evenly lit."""
    stream = np.random.default_rng(seed)
    skin = draw_skin(prior, count, stream)
    spectra = skin_reflectance(skin, bands.centres_nm())
    return skin, spectra + noise * default_noise(bands.centres_nm()) * stream.standard_normal(spectra.shape)


def _reference_estimate(model, spectrum):
    """One spectrum, term by term in float64; returns what is estimated, and its logarithm for the first two."""
    used = spectrum[model.first : model.first + len(model.weights)].astype(float)
    shape = used / sum(w * r for w, r in zip(model.weights, used, strict=True))
    scores = [
        min(max(float(shape @ axis) - shift, low), high)
        for axis, shift, low, high in zip(model.components.T, model.offset, *model.bounds, strict=True)
    ]
    count = len(scores)
    terms = [1.0, *scores]
    terms += [scores[i] * scores[j] for i in range(count) for j in range(i + 1)]
    for i in range(min(5, count)):
        terms += [scores[i] * scores[j] * scores[k] for j in range(i + 1) for k in range(j + 1)]
    raw = np.clip(np.array(terms) @ model.coefficients, *model.limits)
    return raw, np.where(np.arange(4) < 2, np.exp(raw), raw)


# --- estimates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [VIS, NIR, BOTH], ids=["vis", "nir", "both"])
def test_estimates_are_those_of_the_slow_formulation(bands):
    model = inverse_model(bands)
    _, spectra = draw(30, bands=bands, noise=2.0)
    found = model.estimate(spectra.astype(np.float32))
    expected = np.array([_reference_estimate(model, one)[1] for one in spectra])
    for name, values in found.values.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[:, TARGETS.index(name)], rtol=2e-3)  # float32 against float64


@pytest.mark.parametrize(
    ("prior", "bands", "most"),
    [
        ("basic", VIS, (0.10, 0.13, 0.05)),
        ("basic", BOTH, (0.09, 0.09, 0.05, 0.06)),
        ("extended", VIS, (0.14, 0.16, 0.06)),
        ("extended", BOTH, (0.14, 0.12, 0.06, 0.08)),
    ],
)
def test_skin_without_noise_is_recovered(prior, bands, most):
    """Medians of the relative error of melanin and blood, means of the absolute one of oxygenation and water."""
    skin, spectra = draw(3000, prior, bands)
    found = inverse_model(bands, prior=prior).estimate(spectra).values
    for name, limit in zip(found, most, strict=True):
        truth = getattr(skin, name)
        error = np.abs(found[name] - truth)
        assert (np.median(error / truth) if name in TARGETS[:2] else error.mean()) < limit, name


@pytest.mark.parametrize("bands", [VIS, NIR, BOTH], ids=["vis", "nir", "both"])
def test_shading_changes_nothing(bands):
    model = inverse_model(bands)
    _, spectra = draw(100, bands=bands, noise=1.0)
    spectra = spectra.astype(np.float32)
    lit, dim, shaded = (model.estimate(spectra * np.float32(factor)).values for factor in (1.0, 0.25, 0.3))
    for name, values in lit.items():
        np.testing.assert_array_equal(dim[name], values)  # to the last bit by a power of two
        np.testing.assert_allclose(shaded[name], values, rtol=1e-3)


def test_a_band_without_light_is_no_reason_to_give_up():
    """Dark skin in shade, at 450 nm: noise goes below zero, where a logarithm ends."""
    model = inverse_model(VIS)
    _, spectra = draw(50)
    spectra[:, VIS.index_of(450.0)] = -0.001
    assert all(np.isfinite(values).all() for values in model.estimate(spectra).values.values())


def test_what_has_no_spectrum_is_nan_and_says_nothing():
    model = inverse_model(BOTH)
    _, spectra = draw(6, bands=BOTH)
    spectra[0, 20], spectra[1], spectra[2, 30] = np.nan, 0.0, np.inf
    spectra[3] *= -1
    spectra[4, BOTH.index_of(440.0)] = np.nan  # counts for nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = model.estimate(spectra)
    for columns in (found.values, found.uncertainty):
        assert len(columns) == 4
        for values in columns.values():
            assert np.isnan(values).tolist() == [True, True, True, True, False, False]


def test_estimates_stay_within_the_prior():
    model = inverse_model(VIS)
    noise = np.random.default_rng(0).uniform(0, 1, (500, 31))
    for name, values in model.estimate(noise).values.items():
        low, high = PRIORS["extended"][name][1:]
        assert values.min() >= low * 0.999
        assert values.max() <= high * 1.001


def test_blocks_do_not_matter():
    model = inverse_model(VIS)
    _, spectra = draw(5000)
    whole, part = model.estimate(spectra), model.estimate(spectra[4090:4100])
    for name in whole.values:
        np.testing.assert_allclose(part.values[name], whole.values[name][4090:4100], rtol=1e-4)
        np.testing.assert_allclose(part.uncertainty[name], whole.uncertainty[name][4090:4100], rtol=1e-3)
    assert model.estimate(spectra[:0]).values["oxygenation"].shape == (0,)


# --- which bands ----------------------------------------------------------------------------------------------------


def test_bands_decide_what_is_told():
    three = ("melanin_fraction", "blood_fraction", "oxygenation")
    for bands, names, first_nm, last_nm in (
        (VIS, three, 450, 700),
        (BOTH, (*three, "water_fraction"), 450, 1000),
        (NIR, ("melanin_fraction", "oxygenation", "water_fraction"), 700, 1000),
        (regular_bands(415.0, 950.0, 5.0), three, 450, 950),
        (regular_bands(400.0, 850.0, 10.0), three, 450, 700),
    ):
        model = inverse_model(bands)
        assert model.names == names
        assert model.estimate(np.ones((1, len(bands)))).values.keys() == set(names)
        assert model.used_nm[[0, -1]].tolist() == [first_nm, last_nm]


def test_all_bands_of_a_camera_may_be_used():
    skin, spectra = draw(500, bands=FX10)
    found = inverse_model(FX10).estimate(spectra.astype(np.float32)).values
    assert np.median(np.abs(found["melanin_fraction"] / skin.melanin_fraction - 1)) < 0.14


@pytest.mark.parametrize(
    "bands",
    [
        regular_bands(400.0, 560.0, 10.0),
        regular_bands(550.0, 700.0, 10.0),
        regular_bands(400.0, 700.0, 50.0),
        Bands((450.0, 550.0, 650.0)),
        regular_bands(800.0, 880.0, 10.0),
    ],
)
def test_bands_that_tell_nothing_are_refused(bands):
    assert not can_invert(bands)
    with pytest.raises(
        DataError, match=rf"`bands` must cover 520 to 650 nm or 750 to 900 nm.*; got {len(bands)} bands"
    ):
        inverse_model(bands)


def test_what_cannot_be_used_is_refused():
    assert can_invert(VIS)
    with pytest.raises(UnknownNameError, match="`prior` must be one of basic, extended; got 'flat'"):
        inverse_model(VIS, prior="flat")
    for noise in (np.ones(30), np.zeros(31), np.full(31, np.nan)):
        with pytest.raises(DataError, match="`noise` must be 31 deviations above 0"):
            inverse_model(VIS, noise=noise)
    with pytest.raises(ShapeError, match=r"`spectra` must be \(N, 31\) like the bands; got \(31,\)"):
        inverse_model(VIS).estimate(np.ones(31))


# --- uncertainty ----------------------------------------------------------------------------------------------------


def without_own_error(model):
    return replace(model, error_sd=np.zeros_like(model.error_sd))


@pytest.mark.parametrize("bands", [VIS, BOTH], ids=["vis", "both"])
def test_the_uncertainty_is_the_spread_of_many_noisy_copies(bands):
    """Monte Carlo, at a third of the noise, where the polynomial is as good as its tangent."""
    noise = default_noise(bands.centres_nm()) / 3
    model = without_own_error(inverse_model(bands, noise=noise))
    _, spectra = draw(12, "basic", bands, seed=3)
    spectra = 0.7 * spectra[spectra[:, 15] > 0.12]
    stated = model.estimate(spectra).uncertainty
    stream = np.random.default_rng(0)
    copies = spectra[:, None] + noise * stream.standard_normal((len(spectra), 2000, len(bands)))
    estimates = model.estimate(copies.reshape(-1, len(bands))).values
    for name in model.names:
        ratio = stated[name] / estimates[name].reshape(len(spectra), -1).std(axis=1)
        assert np.abs(ratio - 1).max() < 0.12, (name, ratio)  # 2000 copies alone: 1.6 %


def test_the_gradient_is_that_of_differences():
    """The noise of one band alone, through a difference quotient of the slow formulation."""
    model = inverse_model(VIS)
    _, spectra = draw(5, "basic")
    step = 1e-6
    band = VIS.index_of(560.0)
    quiet = np.full(31, 1e-12)
    quiet[band] = 1e-3
    stated = without_own_error(replace(model, noise_sd=quiet)).estimate(spectra).uncertainty
    for i, spectrum in enumerate(spectra):
        moved = [spectrum.copy(), spectrum.copy()]
        moved[0][band] -= step
        moved[1][band] += step
        less, more = (_reference_estimate(model, one)[1] for one in moved)
        slope = np.abs(more - less) / (2 * step)
        for name, values in stated.items():
            assert values[i] == pytest.approx(1e-3 * slope[TARGETS.index(name)], rel=0.02)


def test_noise_and_shade_add_to_the_uncertainty():
    _, spectra = draw(200, "basic")
    model = inverse_model(VIS)
    louder = replace(model, noise_sd=2 * model.noise_sd)
    lit, dim, loud = model.estimate(spectra), model.estimate(0.5 * spectra), louder.estimate(spectra)
    for name in model.names:
        assert (dim.uncertainty[name] >= lit.uncertainty[name]).all()
        np.testing.assert_allclose(dim.uncertainty[name], loud.uncertainty[name], rtol=1e-3)  # half the light
    own = without_own_error(model).estimate(spectra).uncertainty["oxygenation"]
    assert (own < lit.uncertainty["oxygenation"]).all()


def test_two_of_three_errors_lie_within_the_uncertainty():
    skin, spectra = draw(4000, noise=1.0, seed=9)
    found = inverse_model(VIS).estimate(spectra)
    for name in found.values:
        off = np.abs(found.values[name] - getattr(skin, name)) / found.uncertainty[name]
        assert 0.6 < np.mean(off < 1) < 0.85, name
        assert np.mean(off < 2) > 0.93, name


def test_a_noisy_band_is_trusted_less():
    noise = default_noise(VIS.centres_nm())
    noise[VIS.index_of(560.0)] *= 50
    _, spectra = draw(200)
    spoiled = spectra.copy()
    spoiled[:, VIS.index_of(560.0)] *= 1.1
    shift = {}
    for name, model in (("unaware", inverse_model(VIS)), ("aware", inverse_model(VIS, noise=noise))):
        before, after = (model.estimate(one).values["blood_fraction"] for one in (spectra, spoiled))
        shift[name] = np.median(np.abs(np.log(after / before)))
    assert shift["aware"] < 0.1 * shift["unaware"]


# --- a model is its numbers -----------------------------------------------------------------------------------------


def test_the_same_settings_give_the_same_model():
    first = inverse_model(VIS)
    assert inverse_model(VIS) is first
    inverse._train.cache_clear()
    again = inverse_model(VIS)
    assert again is not first
    assert again.digest() == first.digest()
    np.testing.assert_array_equal(again.coefficients, first.coefficients)
    others = [inverse_model(VIS, seed=1), inverse_model(VIS, prior="basic"), inverse_model(BOTH)]
    assert len({first.digest(), *(model.digest() for model in others)}) == 4


def test_another_seed_gives_nearly_the_same_estimates():
    _, spectra = draw(500)
    one, other = (inverse_model(VIS, seed=seed).estimate(spectra) for seed in (0, 1))
    for name in one.values:
        off = np.abs(one.values[name] - other.values[name]) / one.uncertainty[name]
        assert np.median(off) < 0.25, name


def test_parameters_are_plain_values():
    parameters = inverse_model(BOTH, seed=3).parameters()
    assert all(type(value) in (str, int, float) for value in parameters.values())
    assert parameters["prior"] == "extended"
    assert parameters["seed"] == 3
    assert (parameters["first_nm"], parameters["last_nm"], parameters["band_count"]) == (450.0, 1000.0, 56)
    assert parameters["prior_vessel_radius_cm"] == "lognormal 0.001 0.4"
    assert len(parameters["digest"]) == 16


def test_the_gradient_of_every_monomial():
    """The derivative of each coefficient's monomial against a quotient, at one point."""
    point, step = np.random.default_rng(0).normal(size=6), 1e-6
    monomials = len(regression._index_sets(6))
    for at in range(monomials):
        coefficients = np.zeros((monomials, 1))
        coefficients[at] = 1.0
        table = regression._gradient(coefficients, 6)
        slopes = table @ regression.monomials(point[:, None])[: table.shape[1], 0]
        for k, slope in enumerate(slopes):
            ends = [point + sign * step * (np.arange(6) == k) for sign in (-1, 1)]
            less, more = (regression.monomials(end[:, None])[at, 0] for end in ends)
            assert slope == pytest.approx((more - less) / (2 * step), abs=1e-6)


def test_monomials_are_what_their_index_sets_say():
    scores = np.random.default_rng(1).normal(size=(7, 3))
    rows = regression.monomials(scores)
    sets = regression._index_sets(7)
    assert len({tuple(sorted(one)) for one in sets}) == len(sets) == 1 + 7 + 28 + 35
    for row, one in zip(rows, sets, strict=True):
        np.testing.assert_allclose(row, np.prod(scores[list(one)], axis=0))
    assert {tuple(sorted(one)) for one in sets if len(one) == 3} == {
        tuple(sorted(one)) for one in product(range(5), repeat=3)
    }


# --- measured skin --------------------------------------------------------------------------------------------------


def _read(name):
    folder = os.environ.get("HYPERSKIN_REALDATA")
    if not folder:
        pytest.skip("HYPERSKIN_REALDATA names no folder with measured data")
    if name == "forearms":
        file = np.load(Path(folder) / "skin" / "nist_397_1003.npz", allow_pickle=False)
        return file["wavelength"].astype(np.float64), file["average"].astype(np.float64)
    from scipy.io import loadmat

    file = loadmat(Path(folder) / "skin" / "iset_HyspexSkinReflectance.mat")
    return file["wavelength"].ravel().astype(np.float64), file["data"].T.astype(np.float64)


_PLAUSIBLE = {
    "melanin_fraction": (0.008, 0.43),
    "blood_fraction": (0.003, 0.06),
    "oxygenation": (0.36, 0.95),
    "water_fraction": (0.46, 0.9),
}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "bands", "least_rank", "least_oxygenated"),
    [
        ("forearms", VIS, 0.75, 0.90),
        ("forearms", BOTH, 0.78, 0.70),
        ("cheeks", regular_bands(420.0, 700.0, 10.0), 0.65, 0.98),
        ("cheeks", regular_bands(420.0, 950.0, 10.0), 0.65, 0.98),
    ],
    ids=["forearms, visible", "forearms, all", "cheeks, visible", "cheeks, all"],
)
def test_measured_skin_is_plausible_and_darker_skin_has_more_melanin(name, bands, least_rank, least_oxygenated):
    """100 forearms and 71 cheeks.

    With infrared bands, oxygenation of a quarter of the forearms ends at the low end of the prior, which the model's
    uncertainty does not foresee; perhaps the fat beneath, which the model does not know.
    """
    measured_nm, measured = _read(name)
    spectra = np.array([np.interp(bands.wavelength_nm, measured_nm, one) for one in measured])
    found = inverse_model(bands).estimate(spectra).values
    for key, values in found.items():
        low, high = _PLAUSIBLE[key]
        share = np.mean((values > low) & (values < high))
        assert share >= (least_oxygenated if key == "oxygenation" else 0.90), (key, share)
    angle = individual_typology_angle(spectra, bands)
    assert spearmanr(angle, found["melanin_fraction"]).statistic < -least_rank


@pytest.mark.realdata
def test_measured_skin_has_the_band_of_water():
    measured_nm, measured = _read("forearms")
    spectra = np.array([np.interp(NIR.wavelength_nm, measured_nm, one) for one in measured])
    index = water_index(spectra, NIR)
    assert index.min() > 0.03  # up to 0.092
    water = inverse_model(NIR).estimate(spectra).values["water_fraction"]
    assert np.mean((water > 0.5) & (water < 0.8)) > 0.95
