"""The angle of a colour, the types it sorts skin into, and the angle of a face most of which is in shade."""

import math

import numpy as np
import pytest

from hyperskin.bands import FX10, NIR, VIS, regular_bands
from hyperskin.errors import DataError, ShapeError
from hyperskin.phantom.recipe import SKIN_TYPES
from hyperskin.skin.optics import Skin, skin_reflectance
from hyperskin.skin.typology import face_angle, individual_typology_angle, skin_type
from hyperskin.spectral.colour import xyz_operator


def draw(count):
    """Return skin of all kinds that a face may show."""
    stream = np.random.default_rng(0)
    return Skin(
        melanin_fraction=np.exp(stream.uniform(np.log(0.005), np.log(0.6), count)),
        blood_fraction=np.exp(stream.uniform(np.log(0.002), np.log(0.12), count)),
        oxygenation=stream.uniform(0.1, 1, count),
        water_fraction=stream.uniform(0.4, 0.9, count),
        scattering_amplitude=stream.uniform(20, 60, count),
        surface_reflectance=stream.uniform(0.02, 0.07, count),
    )


def spectrum(melanin):
    """Return typical skin with so much melanin, (31,)."""
    return skin_reflectance(Skin(melanin, 0.012, 0.68, 0.65), VIS.centres_nm())[0]


def ball(melanin, *, gloss=0.0, noise=0.0):
    """Return a ball of skin lit from the upper left, (40, 48, 31), and where it is."""
    down, across = np.mgrid[-1:1:40j, -1.2:1.2:48j]
    is_skin = down**2 + across**2 < 0.9
    up = np.sqrt(np.maximum(0, 1 - down**2 - across**2))
    lit = np.clip(0.9 * (-0.4 * across - 0.3 * down + 0.87 * up), 0, None) + 0.1
    cube = lit[..., None] * spectrum(melanin) + gloss * (lit > 0.99 * lit[is_skin].max())[..., None]
    return cube + noise * np.random.default_rng(0).standard_normal(cube.shape), is_skin


# The angle


@pytest.mark.parametrize("bands", [VIS, FX10, regular_bands(380.0, 780.0, 5.0)])
def test_greys_stand_straight_above_and_below_middle_lightness(bands):
    greys = np.array([0.1, 0.184, 0.185, 0.5])[:, None] * np.ones(len(bands))
    found = individual_typology_angle(greys, bands)
    np.testing.assert_allclose(found[[0, 3]], [-90, 90], atol=0.1)
    assert np.sign(found).tolist() == [-1, -1, 1, 1]  # L* is 50 at 0.1842


def test_the_angle_is_that_of_colour_science():
    colour = pytest.importorskip("colour")
    shape = colour.SpectralShape(380, 780, 1)
    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"].copy().align(shape)
    light = colour.SDS_ILLUMINANTS["D65"].copy().align(shape)
    nm = np.maximum(shape.wavelengths, 390)  # the tables' end; 380 to 390 nm weigh next to nothing
    spectra = skin_reflectance(draw(12), nm)
    angles = []
    for spectrum in spectra:
        xyz = colour.sd_to_XYZ(
            colour.SpectralDistribution(spectrum, shape.wavelengths), observer, light, method="Integration"
        )
        white = colour.sd_to_XYZ(colour.sd_ones(shape), observer, light, method="Integration")
        lightness, _, blue_yellow = colour.XYZ_to_Lab(xyz / 100, colour.XYZ_to_xy(white))
        angles.append(math.degrees(math.atan2(lightness - 50, blue_yellow)))
    bands = regular_bands(380.0, 780.0, 1.0)
    np.testing.assert_allclose(individual_typology_angle(spectra, bands), angles, atol=0.02)


def test_the_angle_of_a_cube_is_that_of_its_pixels():
    spectra = skin_reflectance(draw(12), FX10.centres_nm(), dtype=np.float32)
    spectra[5, 100] = np.nan
    spectra[7, -1] = np.nan  # no eye sees it
    found = individual_typology_angle(spectra, FX10)
    assert found.dtype == np.float64
    assert np.isnan(found).tolist() == [i == 5 for i in range(12)]
    np.testing.assert_allclose(individual_typology_angle(spectra.reshape(3, 4, -1), FX10), found.reshape(3, 4))


def test_spectra_that_are_not_on_the_bands_are_refused():
    with pytest.raises(ShapeError, match=r"`reflectance` must hold 31 bands in its last axis; got shape \(2, 30\)"):
        individual_typology_angle(np.ones((2, 30)), VIS)
    with pytest.raises(DataError, match="no colour"):
        individual_typology_angle(np.ones((2, 31)), NIR)


# Types


@pytest.mark.parametrize(
    ("angle_deg", "expected"),
    [(90, "very light"), (55.1, "very light"), (55, "light"), (41.1, "light"), (41, "intermediate"), (28, "tan"),
     (10.1, "tan"), (10, "brown"), (-29.9, "brown"), (-30, "dark"), (-90, "dark"), (-170, "dark")],
)  # fmt: skip
def test_limits_belong_to_the_darker_type(angle_deg, expected):
    assert skin_type(angle_deg) == expected


def test_the_phantoms_six_types_are_the_six_of_the_angle():
    angles = [float(individual_typology_angle(spectrum(melanin), VIS)) for melanin in SKIN_TYPES.values()]
    assert [skin_type(angle) for angle in angles] == ["very light", "light", "intermediate", "tan", "brown", "dark"]


# Of a face


@pytest.mark.parametrize("melanin", SKIN_TYPES.values(), ids=SKIN_TYPES)
def test_shade_and_highlights_of_a_ball_do_not_change_its_angle_much(melanin):
    """Three fifths of the pixels lie more than 20 % below the light that faces the lamp."""
    cube, skin = ball(melanin, gloss=0.3, noise=0.003)
    in_full_light = float(individual_typology_angle(spectrum(melanin), VIS))
    assert face_angle(cube, VIS, skin) == pytest.approx(in_full_light, abs=4)
    assert np.median(individual_typology_angle(cube[skin], VIS)) < in_full_light - 5


def test_less_light_makes_a_darker_type():
    cube, skin = ball(SKIN_TYPES["II"])
    angles = [face_angle(light * cube, VIS, skin) for light in (1.0, 0.9, 0.7)]
    assert angles[0] - angles[1] == pytest.approx(5, abs=1)
    assert angles[0] - angles[2] == pytest.approx(22, abs=4)
    assert [skin_type(angle) for angle in angles] == ["light", "intermediate", "tan"]


def test_pixels_outside_and_without_a_colour_do_not_count():
    cube, skin = ball(0.05)
    spoiled = np.where(skin[..., None], cube, 2.0)
    assert face_angle(spoiled, VIS, skin) == face_angle(cube, VIS, skin)
    spoiled[:20, :, 10] = np.nan
    lower = skin.copy()
    lower[:20] = False
    assert face_angle(spoiled, VIS, skin) == face_angle(cube, VIS, lower)


def test_too_little_skin_has_no_angle():
    cube, skin = ball(0.05)
    few = np.zeros_like(skin)
    few[20, :] = True
    few[21:23, :26] = True
    assert face_angle(cube, VIS, few) is not None
    few[20, 0] = False
    assert face_angle(cube, VIS, few) is None
    assert face_angle(np.full_like(cube, np.nan), VIS, skin) is None


def test_the_angle_of_a_face_is_that_of_the_slow_formulation():
    cube, skin = ball(0.085, noise=0.003)
    weights = xyz_operator(VIS)[:, 1]
    pixels = sorted((float(pixel @ weights), float(individual_typology_angle(pixel, VIS))) for pixel in cube[skin])
    brightest = pixels[math.ceil(0.85 * (len(pixels) - 1)) : math.floor(0.99 * (len(pixels) - 1)) + 1]
    assert face_angle(cube, VIS, skin) == pytest.approx(np.median([angle for _, angle in brightest]))
