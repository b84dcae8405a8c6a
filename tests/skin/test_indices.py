"""Indices: absorbance of a few bands."""

import numpy as np
import pytest

from hyperskin.bands import FX10, NIR, VIS, Bands, regular_bands
from hyperskin.errors import DataError, ShapeError
from hyperskin.skin import indices
from hyperskin.skin.indices import (
    INDICES,
    covers_index,
    erythema_index,
    erythema_index_dawson,
    index_weights,
    melanin_index_655,
    melanin_slope_index,
    water_index,
)
from hyperskin.skin.optics import Skin, skin_reflectance

BOTH = Bands((*VIS.wavelength_nm, *NIR.wavelength_nm[1:]))
EVERY = {
    "melanin_index_655": melanin_index_655,
    "melanin_index": melanin_slope_index,
    "erythema_index": erythema_index,
    "erythema_index_dawson": erythema_index_dawson,
    "water_index": water_index,
}


def spectrum(bands, absorbances):
    """Return reflectance that is 1 but for the bands named, whose absorbance is given."""
    reflectance = np.ones(len(bands))
    for nm, value in absorbances.items():
        reflectance[bands.index_of(nm)] = 10.0**-value
    return reflectance


def skin(**changes):
    typical = {"melanin_fraction": 0.05, "blood_fraction": 0.012, "oxygenation": 0.68, "water_fraction": 0.65}
    return skin_reflectance(Skin(**typical | changes), BOTH.centres_nm())


def test_every_index_has_its_function():
    assert EVERY.keys() == INDICES.keys()


def test_values_solved_by_hand():
    assert melanin_index_655(spectrum(BOTH, {650: 0.3, 660: 0.5}), BOTH) == pytest.approx(40)
    assert erythema_index(spectrum(BOTH, {560: 0.6, 570: 0.8, 650: 0.1, 660: 0.3}), BOTH) == pytest.approx(50)
    assert water_index(spectrum(BOTH, {960: 0.3, 970: 0.4, 980: 0.5, 880: 0.3}), BOTH) == pytest.approx(0.3)
    # 545 nm lies between 540 and 550: 0.6 + 1.5 (0.35 + 0.5) - 2 (0.1 + 0.2)
    bumps = spectrum(BOTH, {510: 0.1, 540: 0.3, 550: 0.4, 560: 0.6, 570: 0.4, 580: 0.6, 610: 0.2})
    assert erythema_index_dawson(bumps, BOTH) == pytest.approx(127.5)


def test_the_slope_is_that_of_a_least_squares_line():
    bands = regular_bands(600.0, 720.0, 7.0)
    reflectance = np.random.default_rng(0).uniform(0.1, 0.9, (5, len(bands)))
    nm = bands.centres_nm()
    inside = (nm >= 620) & (nm <= 700)
    expected = [-1e4 * np.polyfit(nm[inside], -np.log10(one[inside]), 1)[0] for one in reflectance]
    np.testing.assert_allclose(melanin_slope_index(reflectance, bands), expected)


@pytest.mark.parametrize("name", ["melanin_index", "erythema_index", "erythema_index_dawson", "water_index"])
def test_shading_cancels(name):
    spectra = skin(blood_fraction=np.array([0.005, 0.02, 0.05]))
    np.testing.assert_allclose(EVERY[name](0.2 * spectra, BOTH), EVERY[name](spectra, BOTH), atol=1e-9)


def test_at_one_band_shading_is_taken_for_melanin():
    dark, shaded_light = skin(melanin_fraction=0.10), 0.5 * skin(melanin_fraction=0.02)
    assert melanin_index_655(shaded_light, BOTH) > melanin_index_655(dark, BOTH)
    assert melanin_slope_index(shaded_light, BOTH) < melanin_slope_index(dark, BOTH)


def test_more_of_a_chromophore_raises_its_index():
    for function, name, values in (
        (melanin_slope_index, "melanin_fraction", [0.01, 0.05, 0.2, 0.4]),
        (erythema_index, "blood_fraction", [0.003, 0.01, 0.02, 0.05]),
        (erythema_index_dawson, "blood_fraction", [0.003, 0.01, 0.02, 0.05]),
        (water_index, "water_fraction", [0.45, 0.6, 0.7, 0.85]),
    ):
        assert (np.diff(function(skin(**{name: np.array(values)}), BOTH)) > 0).all()


def test_whatever_absorbs_along_a_line_has_no_dawson_index():
    line = 10 ** -(0.2 + 0.003 * (BOTH.centres_nm() - 400))
    assert erythema_index_dawson(line, BOTH) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_finer_bands_give_about_the_same(name):
    finer = skin_reflectance(Skin(0.05, 0.012, 0.68, 0.65), FX10.centres_nm())
    assert EVERY[name](finer, FX10) == pytest.approx(EVERY[name](skin(), BOTH), rel=0.06)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("bad", [np.nan, 0.0, -0.01, -np.inf])
def test_a_band_that_counts_and_has_no_absorbance_gives_nan(name, bad):
    weights = index_weights(name, BOTH)
    cube = np.full((2, 3, len(BOTH)), 0.5, dtype=np.float32)
    cube[0, 1, np.flatnonzero(weights)[0]] = bad
    cube[1, 2, np.flatnonzero(weights == 0)] = bad
    found = EVERY[name](cube, BOTH)
    assert found.dtype == np.float64
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("melanin_index_655", NIR),
        ("melanin_index", regular_bands(400.0, 670.0, 10.0)),
        ("erythema_index", NIR),
        ("erythema_index_dawson", regular_bands(520.0, 700.0, 10.0)),
        ("water_index", VIS),
        ("water_index", regular_bands(700.0, 950.0, 10.0)),
        ("erythema_index", regular_bands(400.0, 700.0, 60.0)),
    ],
)
def test_bands_that_do_not_cover_it_are_refused(name, bands):
    assert not covers_index(name, bands)
    with pytest.raises(DataError, match=rf"`bands` must cover \d+.* for '{name}'.*; got {len(bands)} bands from"):
        EVERY[name](np.ones(len(bands)), bands)


def test_spectra_that_are_not_on_the_bands_are_refused():
    with pytest.raises(ShapeError, match=r"`reflectance` must hold 31 bands in its last axis; got shape \(2, 30\)"):
        erythema_index(np.ones((2, 30)), VIS)


def test_the_absorbance_keeps_its_dtype():
    assert indices.absorbance(np.ones(3, dtype=np.float32)).dtype == np.float32
