"""What hair, eyes, teeth, cloth and walls reflect."""

import numpy as np
import pytest

from hyperskin.bands import FX10
from hyperskin.phantom import materials
from hyperskin.skin.chromophores import lipid_absorption, water_absorption

NM = FX10.centres_nm()


def at(spectrum, *wavelengths_nm):
    return np.interp(wavelengths_nm, NM, spectrum)


def hair(eumelanin=3.0, phaeomelanin=0.0, grey=0.0, oil_cm=0.0):
    return materials.hair(eumelanin, phaeomelanin, grey, oil_cm, NM)


@pytest.fixture(scope="module")
def cloths():
    return np.stack([materials.fabric(np.random.default_rng(seed), NM) for seed in range(300)])


@pytest.fixture(scope="module")
def walls():
    return np.stack([materials.wall(np.random.default_rng(seed), NM) for seed in range(300)])


def test_everything_reflects_between_nothing_and_all(cloths, walls):
    others = [hair(0), hair(9), hair(grey=1), materials.sclera(NM), materials.teeth(NM), materials.iris(3.0, 0.05, NM)]
    for spectra in (cloths, walls, np.stack(others)):
        assert np.isfinite(spectra).all()
        assert spectra.min() > 0
        assert spectra.max() < 0.9


def test_spectra_are_smooth_between_neighbouring_bands(cloths, walls):
    others = np.stack([hair(), materials.sclera(NM), materials.teeth(NM), materials.iris(0.2, 0.8, NM)])
    for spectra in (cloths, walls, others):
        assert np.abs(np.diff(spectra, axis=1)).max() < 0.03


def test_hair_without_pigment_solved_by_hand():
    bare = np.exp(-0.02 * water_absorption(NM))
    np.testing.assert_allclose(hair(eumelanin=0), 0.478 * bare, rtol=1e-12)
    np.testing.assert_allclose(hair(eumelanin=0, oil_cm=0.5), 0.478 * bare * np.exp(-0.5 * lipid_absorption(NM)))
    expected = 0.018 + 0.46 * np.exp(-1.15 * 2.0)
    assert at(hair(eumelanin=2.0), 550.0)[0] == pytest.approx(expected, rel=1e-3)


def test_more_pigment_is_darker_and_fades_into_the_infrared():
    amounts = np.stack([hair(eumelanin) for eumelanin in (0.3, 1, 3, 9)])
    assert (np.diff(amounts, axis=0) <= 1e-12).all()
    assert at(amounts[0], 550)[0] > 0.25  # blond
    assert at(amounts[3], 550)[0] < 0.03  # black
    assert at(amounts[3], 950)[0] > 2 * at(amounts[3], 550)[0]
    for spectrum in amounts:
        visible = at(spectrum, *np.arange(420, 700, 20))
        assert (np.diff(visible) > -1e-6).all()


def test_red_pigment_takes_the_blue_and_leaves_the_red():
    brown, red = hair(0.8), hair(0.8, phaeomelanin=1.0)
    ratio = red / brown
    assert at(ratio, 450)[0] < 0.45
    assert at(ratio, 700)[0] > 0.7
    assert (np.diff(at(ratio, *np.arange(420, 1000, 20))) > 0).all()


def test_grey_hair_lies_between_its_own_colour_and_white():
    np.testing.assert_allclose(hair(grey=0.25), 0.75 * hair() + 0.25 * hair(grey=1), rtol=1e-12)
    white = at(hair(grey=1), 450, 550, 650)
    assert white.min() > 0.4
    assert np.ptp(white) < 0.1


def test_a_blue_iris_is_blue_and_a_brown_one_dark_and_warm():
    blue, brown = at(materials.iris(0.1, 0.9, NM), 450, 650), at(materials.iris(3.0, 0.05, NM), 450, 650)
    assert blue[0] > 1.1 * blue[1]
    assert brown[0] < 0.5 * brown[1]
    assert brown.mean() < 0.6 * blue.mean()


def test_teeth_and_the_white_of_the_eye_are_light_and_hardly_coloured():
    for spectrum, yellowest in ((materials.teeth(NM), 0.55), (materials.sclera(NM), 0.75)):
        blue, green, red = at(spectrum, 450, 550, 650)
        assert yellowest < blue / red < 1
        assert green > 0.4
    beta, between = at(materials.sclera(NM), 542, 510)
    assert beta < between  # a trace of blood


def test_cloth_alike_in_the_visible_differs_in_the_infrared(cloths):
    visible = np.stack([at(cloth, 460, 550, 610) for cloth in cloths])
    infrared = np.stack([at(cloth, 850)[0] for cloth in cloths])
    is_dark = visible.max(axis=1) < 0.08
    assert is_dark.sum() > 30
    assert np.ptp(infrared[is_dark]) > 0.4
    assert np.std(infrared[is_dark]) > 0.1


def test_cloth_comes_in_many_colours_and_levels(cloths):
    visible = np.stack([at(cloth, 460, 550, 610) for cloth in cloths])
    strongest = np.bincount(visible.argmax(axis=1), minlength=3)
    assert strongest.min() > 10
    assert visible.max() > 0.45
    assert visible.min() < 0.03


def test_moist_fibres_have_the_band_of_water(cloths):
    shoulder, water = np.stack([at(cloth, 890, 970) for cloth in cloths]).T
    bright = shoulder > 0.3
    assert (water[bright] < shoulder[bright]).mean() > 0.9  # the tail of a dye may outweigh it


def test_walls_are_matt_paints_from_nearly_black_to_pale(walls):
    level = np.stack([at(wall, 550)[0] for wall in walls])
    assert level.min() < 0.06
    assert level.max() > 0.4
    rise = np.stack([at(wall, 950)[0] / at(wall, 650)[0] for wall in walls])
    assert (rise < 0.9).any()
    assert (rise > 1.6).any()


def test_the_same_stream_draws_the_same_cloth_on_any_bands():
    dense, coarse = (materials.fabric(np.random.default_rng(4), nm) for nm in (NM, NM[::50]))
    np.testing.assert_allclose(coarse, dense[::50], rtol=1e-12)
    dense, coarse = (materials.wall(np.random.default_rng(4), nm) for nm in (NM, NM[::50]))
    np.testing.assert_allclose(coarse, dense[::50], rtol=1e-12)
