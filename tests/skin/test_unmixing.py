"""Linear unmixing of absorbance."""

import numpy as np
import pytest
from scipy.optimize import nnls

from hyperskin.bands import NIR, VIS, regular_bands
from hyperskin.errors import DataError, ShapeError
from hyperskin.skin import unmixing
from hyperskin.skin.chromophores import deoxyhaemoglobin_absorption, melanin_absorption, oxyhaemoglobin_absorption
from hyperskin.skin.optics import Skin, skin_reflectance
from hyperskin.skin.sampling import default_noise
from hyperskin.skin.unmixing import can_unmix, diffuse_path, unmix, unmixing_noise


def reflect(nm=None, **changes):
    typical = {"melanin_fraction": 0.05, "blood_fraction": 0.012, "oxygenation": 0.68, "water_fraction": 0.65}
    return skin_reflectance(Skin(**typical | changes), VIS.centres_nm() if nm is None else nm)


def test_a_sum_made_by_hand_is_taken_apart():
    """The law itself: melanin along 0.018 cm, blood of two sorts along the diffuse path, a factor for the light."""
    nm = VIS.centres_nm()
    packaged = [
        (1 - np.exp(-0.002 * absorption(nm))) / 0.002
        for absorption in (oxyhaemoglobin_absorption, deoxyhaemoglobin_absorption)
    ]
    bloodless = 0.244 + 85.3 * np.exp(-(nm - 154) / 66.2)
    melanin = 3 * 60e-4 * (melanin_absorption(nm) - bloodless)
    absorbance = 0.08 * melanin + diffuse_path(nm) * (0.015 * packaged[0] + 0.005 * packaged[1]) + 0.7
    found = unmix(np.exp(-absorbance), VIS)
    assert found.melanin == pytest.approx(0.08)
    assert found.blood == pytest.approx(0.02)
    assert found.oxygenation == pytest.approx(0.75)
    assert found.residual_rmse == pytest.approx(0, abs=1e-12)


def test_the_path_is_that_of_more_or_less_absorption_of_any_kind():
    """Water in the dermis meets the same path as blood: a second difference quotient, where blood absorbs little."""
    nm = np.array([640.0, 670.0, 700.0])
    bright, dim = (reflect(nm, bloodless_factor=f, surface_reflectance=0.0, blood_fraction=0.01)[0] for f in (1.0, 1.1))
    absorbed = 0.1 * (0.244 + 85.3 * np.exp(-(nm - 154) / 66.2))
    through_epidermis = 3 * 60e-4 * 0.95
    quotient = np.log(bright / dim) / absorbed - through_epidermis
    np.testing.assert_allclose(diffuse_path(nm), quotient, rtol=0.12)


def test_light_goes_further_where_less_is_absorbed():
    path = diffuse_path(np.array([420.0, 500.0, 650.0]))
    assert 0 < path[0] < path[1] < path[2] < 1


def test_shading_cancels():
    spectra = reflect(blood_fraction=np.array([0.004, 0.012, 0.04]), melanin_fraction=np.array([0.02, 0.05, 0.09]))
    bright, dim = unmix(spectra, VIS), unmix(0.3 * spectra, VIS)
    for name in ("melanin", "blood", "oxygenation", "residual_rmse"):
        np.testing.assert_allclose(getattr(dim, name), getattr(bright, name), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "field", "values"),
    [
        ("melanin", "melanin_fraction", [0.01, 0.03, 0.06, 0.1]),
        ("blood", "blood_fraction", [0.004, 0.01, 0.02, 0.04]),
        ("oxygenation", "oxygenation", [0.45, 0.6, 0.75, 0.9]),
    ],
)
def test_what_there_is_more_of_is_found_to_be_more(name, field, values):
    assert (np.diff(getattr(unmix(reflect(**{field: np.array(values)}), VIS), name)) > 0).all()


def test_one_path_for_all_wavelengths_would_miss_oxygenation_by_more():
    oxygenation = np.linspace(0.5, 0.85, 8)
    spectra = reflect(oxygenation=oxygenation)
    used, columns = unmixing._columns(VIS.wavelength_nm)
    flat = columns.copy()
    flat[:, 1:3] /= diffuse_path(VIS.centres_nm()[used])[:, None]
    oxy, deoxy = np.array([nnls(np.hstack([flat, -flat[:, 3:]]), -np.log(one[used]))[0][1:3] for one in spectra]).T
    error = np.abs(unmix(spectra, VIS).oxygenation - oxygenation).mean()
    assert error < 0.5 * np.abs(oxy / (oxy + deoxy) - oxygenation).mean()
    assert error < 0.06


def test_the_noise_is_the_spread_of_many_noisy_copies():
    spectra = reflect(melanin_fraction=np.array([0.02, 0.05, 0.1]), blood_fraction=np.array([0.02, 0.012, 0.03]))
    noise = default_noise(VIS.centres_nm()) / 3
    found = unmix(spectra, VIS)
    stated = unmixing_noise(found, spectra, VIS, noise)
    stream = np.random.default_rng(0)
    copies = unmix(spectra[:, None] + noise * stream.standard_normal((3, 4000, 31)), VIS)
    for name, values in stated.items():
        np.testing.assert_allclose(values, getattr(copies, name).std(axis=1), rtol=0.06, err_msg=name)


def test_twice_the_noise_and_half_the_light_move_it_twice_as_far():
    spectra = reflect(blood_fraction=np.array([0.004, 0.012, 0.04])).reshape(1, 3, 31)
    noise = default_noise(VIS.centres_nm())
    found = unmix(spectra, VIS)
    once, louder = (unmixing_noise(found, spectra, VIS, factor * noise) for factor in (1, 2))
    dimmer = unmixing_noise(unmix(0.5 * spectra, VIS), 0.5 * spectra, VIS, noise)
    for name, values in once.items():
        assert values.shape == (1, 3)
        np.testing.assert_allclose(louder[name], 2 * values)
        np.testing.assert_allclose(dimmer[name], 2 * values, rtol=1e-6)


def test_a_share_held_at_0_moves_less_than_is_said():
    used, columns = unmixing._columns(VIS.wavelength_nm)
    spectra = reflect()
    spectra[:, used] *= np.exp(unmix(spectra, VIS).melanin * columns[:, 0])  # just without melanin
    noise = default_noise(VIS.centres_nm())
    stated = unmixing_noise(unmix(spectra, VIS), spectra, VIS, noise)["melanin"][0]
    copies = unmix(spectra + noise * np.random.default_rng(0).standard_normal((4000, 31)), VIS).melanin
    assert (copies == 0).mean() > 0.2
    assert copies.std() < stated


def test_where_there_is_no_blood_its_oxygenation_is_nan():
    """A spectrum that is brighter where blood absorbs would need less than none."""
    nm = VIS.centres_nm()
    absorbance = 1.0 - 0.01 * diffuse_path(nm) * (1 - np.exp(-0.002 * oxyhaemoglobin_absorption(nm))) / 0.002
    found = unmix(np.exp(-absorbance), VIS)
    assert found.blood == 0
    assert np.isnan(found.oxygenation)
    assert found.residual_rmse > 0.01


def test_axes_are_kept_and_bad_pixels_are_nan():
    cube = reflect(blood_fraction=np.linspace(0.004, 0.04, 6)).reshape(2, 3, 31).astype(np.float32)
    cube[0, 1, 10], cube[1, 2, 20], cube[1, 0, 2] = np.nan, -0.01, np.nan  # the last is at 420 nm
    found = unmix(cube, VIS)
    assert np.argwhere(np.isnan(found.melanin)).tolist() == [[0, 1], [1, 2]]
    assert np.isnan(found.residual_rmse).sum() == 2
    np.testing.assert_allclose(unmix(cube[1, 0], VIS).blood, found.blood[1, 0], rtol=1e-9)


def test_bands_that_cannot_be_used_are_refused():
    assert can_unmix(VIS)
    assert not can_unmix(NIR)
    with pytest.raises(DataError, match=r"must cover 520 to 600 nm .* within 450 to 700 nm.*; got 31 bands from 700"):
        unmix(np.ones((1, 31)), NIR)
    with pytest.raises(DataError, match="got 6 bands from 400 to 700 nm"):
        unmix(np.ones((1, 6)), regular_bands(400.0, 700.0, 60.0))
    with pytest.raises(ShapeError, match=r"`reflectance` must hold 31 bands in its last axis; got shape \(2, 30\)"):
        unmix(np.ones((2, 30)), VIS)
