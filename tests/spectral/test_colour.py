"""Colours against the CIE tables, an independent implementation, and everything that can be wrong with a cube."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.interpolate import PchipInterpolator

from hyperskin.bands import FX10, NIR, VIS, Bands, regular_bands
from hyperskin.data.encoding import to_8bit
from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.spectral.colour import (
    ILLUMINANTS,
    OBSERVER_BANDS,
    SRGB_FROM_XYZ,
    SRGB_WHITE,
    Illuminant,
    adaptation,
    coverage,
    read_table,
    render_srgb,
    srgb_operator,
    trapezoid_weights,
    white_point,
    xyz_operator,
)
from hyperskin.spectral.rendering import decode_srgb, encode_srgb

colour = pytest.importorskip("colour")

FX10_HALF = Bands(tuple(float(nm) for nm in FX10.centres_nm().reshape(-1, 2).mean(axis=1)))
GRIDS = {"5 nm": OBSERVER_BANDS, "448 bands": FX10, "224 bands": FX10_HALF, "31 bands": VIS}
HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def patches() -> npt.NDArray[np.float64]:
    """Reflectance of the 24 ColorChecker patches, 380-780 nm step 5, as colour-science has them."""
    checker = colour.SDS_COLOURCHECKERS["ColorChecker N Ohta"]
    return np.stack([patch.values for patch in checker.values()])


@pytest.fixture(scope="module")
def patches_xyz(patches: npt.NDArray[np.float64]) -> Callable[[str], npt.NDArray[np.float64]]:
    """Their colours by colour-science at 1 nm, for an illuminant; the last row is a perfect reflector."""
    shape = colour.SpectralShape(380, 780, 1)
    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"].copy().align(shape)
    checker = [patch.copy().align(shape) for patch in colour.SDS_COLOURCHECKERS["ColorChecker N Ohta"].values()]

    def integrate(illuminant: str) -> npt.NDArray[np.float64]:
        light = colour.SDS_ILLUMINANTS[illuminant.upper()].copy().align(shape)
        spectra = [*checker, colour.sd_ones(shape)]
        return np.stack([colour.sd_to_XYZ(sd, observer, light, method="Integration") for sd in spectra]) / 100

    return integrate


def on_bands(patches: npt.NDArray[np.float64], bands: Bands) -> npt.NDArray[np.float64]:
    spectra = PchipInterpolator(OBSERVER_BANDS.centres_nm(), patches, axis=1, extrapolate=False)(bands.centres_nm())
    return np.nan_to_num(spectra)


def colour_error(
    xyz: npt.NDArray[np.float64], reference: npt.NDArray[np.float64], white: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return CIEDE2000 of each row."""
    chromaticity = colour.XYZ_to_xy(white)
    labs = [colour.XYZ_to_Lab(values, chromaticity) for values in (xyz, reference)]
    return np.asarray(colour.delta_E(*labs, method="CIE 2000"))


def grey_cube(level: float = 0.5, bands: Bands = VIS, dtype: type = np.float32) -> npt.NDArray[Any]:
    return np.full((HEIGHT, WIDTH, len(bands)), level, dtype=dtype)


def random_cube(bands: Bands = VIS, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).random((HEIGHT, WIDTH, len(bands)), dtype=np.float32)


# --- tables ---------------------------------------------------------------------------------------------------------


def test_tables_hold_the_cie_values() -> None:
    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    table = read_table("cie_1931_2deg.csv")
    for i, name in enumerate("xyz"):
        expected = [observer[nm][i] for nm in table["wavelength_nm"]]
        np.testing.assert_allclose(table[name], expected, rtol=1e-9, atol=1e-12)
    lights = read_table("illuminants.csv")
    for illuminant in ILLUMINANTS:
        expected = colour.SDS_ILLUMINANTS[illuminant.upper()].values
        np.testing.assert_allclose(lights[illuminant], expected, rtol=1e-9)
    np.testing.assert_array_equal(lights["wavelength_nm"], np.arange(300, 781, 5))


def test_table_of_patches_holds_the_measured_values(patches: npt.NDArray[np.float64]) -> None:
    table = read_table("colour_checker.csv")
    np.testing.assert_allclose(np.stack(list(table.values())[1:]), patches, rtol=1e-9)


# --- against colour-science -----------------------------------------------------------------------------------------

GATES = {"5 nm": 0.02, "448 bands": 0.15, "224 bands": 0.15, "31 bands": 0.5}
WHITE_GATES = GATES | {"31 bands": 0.25}


@pytest.mark.parametrize("illuminant", ILLUMINANTS)
@pytest.mark.parametrize("grid", GRIDS)
def test_xyz_agrees_with_colour_science(
    grid: str, illuminant: Illuminant, patches: npt.NDArray[np.float64], patches_xyz: Callable[[str], Any]
) -> None:
    bands, reference = GRIDS[grid], patches_xyz(illuminant)
    for normalise, gate in (("luminance", GATES[grid]), ("white", WHITE_GATES[grid])):
        operator = xyz_operator(bands, illuminant=illuminant, normalise=normalise)
        error = colour_error(on_bands(patches, bands) @ operator, reference[:-1], reference[-1])
        assert error.max() < gate, (normalise, error.max())


@pytest.mark.parametrize("illuminant", ILLUMINANTS)
@pytest.mark.parametrize("grid", GRIDS)
def test_adapted_srgb_agrees_with_colour_science(
    grid: str, illuminant: Illuminant, patches: npt.NDArray[np.float64], patches_xyz: Callable[[str], Any]
) -> None:
    reference = patches_xyz(illuminant)
    adapted = (
        reference
        @ colour.adaptation.matrix_chromatic_adaptation_VonKries(reference[-1], SRGB_WHITE, transform="Bradford").T
    )
    linear = on_bands(patches, GRIDS[grid]) @ srgb_operator(GRIDS[grid], illuminant=illuminant)
    error = colour_error(linear @ np.linalg.inv(SRGB_FROM_XYZ).T, adapted[:-1], SRGB_WHITE)
    assert error.max() < WHITE_GATES[grid], error.max()


def test_eight_bit_picture_is_within_one_unit_of_colour_difference(
    patches: npt.NDArray[np.float64], patches_xyz: Callable[[str], Any]
) -> None:
    reference = patches_xyz("d65")
    picture = render_srgb(patches[None], OBSERVER_BANDS)
    linear = decode_srgb(to_8bit(picture.rgb)[0] / 255)
    error = colour_error(linear @ np.linalg.inv(SRGB_FROM_XYZ).T, reference[:-1], reference[-1])
    showable = picture.rgb[0].min(axis=1) > 0  # sRGB has no red low enough for the cyan patch
    assert (np.count_nonzero(~showable), picture.clipped.below_count) == (1, 1)
    assert error[showable].max() < 1.0
    assert error[showable].mean() < 0.25


def test_six_patches_have_their_known_colours(patches: npt.NDArray[np.float64]) -> None:
    known = [[116, 79, 63], [197, 151, 130], [94, 123, 157], [87, 107, 63], [133, 131, 178], [102, 190, 170]]
    plain = render_srgb(patches[None, :6], OBSERVER_BANDS, adapt=False, normalise="luminance").rgb
    assert to_8bit(plain)[0].tolist() == known
    # white exactly neutral lifts the red of blue sky from 94.495 to 94.504
    adapted = to_8bit(render_srgb(patches[None, :6], OBSERVER_BANDS).rgb)[0].astype(int)
    assert np.abs(adapted - known).max() <= 1
    assert np.count_nonzero(adapted != known) <= 1


def test_encoding_agrees_with_colour_science() -> None:
    linear = np.linspace(-0.1, 1.2, 1001)
    np.testing.assert_allclose(encode_srgb(linear), colour.models.eotf_inverse_sRGB(linear), atol=1e-7)


def test_decoding_undoes_encoding() -> None:
    linear = np.linspace(-0.1, 1.2, 1001)
    np.testing.assert_allclose(decode_srgb(encode_srgb(linear)), linear, atol=1e-7)
    assert encode_srgb(linear.astype(np.float32)).dtype == np.float32


# --- slow second formulation ----------------------------------------------------------------------------------------


def _reference_srgb(
    spectrum: npt.NDArray[np.float64], wavelength_nm: npt.NDArray[np.float64], illuminant: str
) -> npt.NDArray[np.float64]:
    """The published algorithm for one spectrum, step by step, without adaptation."""
    observer, lights = read_table("cie_1931_2deg.csv"), read_table("illuminants.csv")
    visible = (wavelength_nm >= 380) & (wavelength_nm <= 780)
    nm = wavelength_nm[visible]
    light = PchipInterpolator(lights["wavelength_nm"], lights[illuminant])(nm)
    matching = [PchipInterpolator(observer["wavelength_nm"], observer[name])(nm) for name in "xyz"]
    scale = 1 / np.trapezoid(matching[1] * light, nm)
    xyz = [scale * np.trapezoid(spectrum[visible] * light * function, nm) for function in matching]
    linear = np.array([sum(row[i] * xyz[i] for i in range(3)) for row in SRGB_FROM_XYZ])
    return np.array([1.055 * v ** (1 / 2.4) - 0.055 if v > 0.0031308 else 12.92 * v for v in linear]).clip(0, 1)


@pytest.mark.parametrize("bands", [VIS, FX10], ids=["31", "448"])
@pytest.mark.parametrize("illuminant", ILLUMINANTS)
def test_picture_equals_the_algorithm_done_spectrum_by_spectrum(bands: Bands, illuminant: Illuminant) -> None:
    cube = random_cube(bands)
    picture = render_srgb(cube, bands, illuminant=illuminant, adapt=False, normalise="luminance").rgb
    for row, column in ((0, 0), (5, 31), (23, 7)):
        expected = _reference_srgb(cube[row, column].astype(np.float64), bands.centres_nm(), illuminant)
        np.testing.assert_allclose(picture[row, column], expected, atol=2e-6)


# --- white ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("illuminant", ILLUMINANTS)
def test_perfect_reflector_is_white_and_greys_are_grey(bands: Bands, illuminant: Illuminant) -> None:
    operator = srgb_operator(bands, illuminant=illuminant)
    np.testing.assert_allclose(operator.sum(axis=0), 1, atol=2e-7)  # the matrix has seven digits
    picture = render_srgb(grey_cube(0.18, bands), bands, illuminant=illuminant)
    np.testing.assert_allclose(picture.rgb, encode_srgb(np.array(0.18)), atol=1e-6)


def test_without_adaptation_the_light_tints_the_picture() -> None:
    tints = {"d50": (1, 0.989, 0.866), "d55": (1, 0.994, 0.918), "d75": (0.968, 1, 1)}
    for illuminant, expected in tints.items():
        white = render_srgb(grey_cube(1, OBSERVER_BANDS), OBSERVER_BANDS, illuminant=illuminant, adapt=False)
        np.testing.assert_allclose(white.rgb[0, 0], expected, atol=6e-4)


def test_adaptation_turns_one_white_into_the_other_and_back() -> None:
    there, back = (
        adaptation(*whites) for whites in ((white_point("d50"), SRGB_WHITE), (SRGB_WHITE, white_point("d50")))
    )
    np.testing.assert_allclose(there @ white_point("d50"), SRGB_WHITE, rtol=1e-12)
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-12)


def test_adapted_matrices_are_the_known_ones() -> None:
    known: dict[Illuminant, list[float]] = {
        "d50": [3.1338055, -1.6169276, -0.4906088, -0.97878, 1.9161782, 0.0334509, 0.0719528, -0.2290029, 1.405386],
        "d75": [3.2919334, -1.5087615, -0.5037059, -0.9679263, 1.8646119, 0.0445633, 0.0498436, -0.1956007, 0.9364455],
    }
    for illuminant, matrix in known.items():
        ours = SRGB_FROM_XYZ @ adaptation(white_point(illuminant), SRGB_WHITE)
        np.testing.assert_allclose(ours.ravel(), matrix, atol=2e-4)


@pytest.mark.parametrize("bands", GRIDS.values(), ids=GRIDS)
def test_white_normalisation_gives_the_white_of_the_light_on_any_bands(bands: Bands) -> None:
    np.testing.assert_allclose(xyz_operator(bands, illuminant="d55").sum(axis=0), white_point("d55"), rtol=1e-12)


def test_trapezoid_weights_integrate_uneven_bands_by_hand() -> None:
    bands = Bands((400.0, 410.0, 440.0, 441.0, 790.0))
    np.testing.assert_allclose(trapezoid_weights(bands), [5, 20, 15.5, 0.5, 0])


def test_operator_is_linear_in_the_light_that_comes_back() -> None:
    cube = random_cube() / 2
    once, twice = (render_srgb(level * cube, VIS, transfer="linear").rgb for level in (1, 2))
    unclipped = (twice > 0) & (twice < 1)
    np.testing.assert_allclose(twice[unclipped], 2 * once[unclipped], rtol=1e-5)


# --- cubes that see only part of the visible ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first_nm", "last_nm", "expected"),
    [
        (400, 700, (0.998, 1.000, 0.997)),
        (410, 700, (0.996, 0.9995, 0.989)),
        (420, 720, (0.990, 0.9996, 0.959)),
        (430, 700, (0.971, 0.999, 0.881)),
        (450, 650, (0.867, 0.982, 0.580)),
        (460, 860, (0.866, 0.989, 0.402)),
        (700, 1000, (0.001, 0, 0)),
    ],
)
def test_coverage_is_the_measured_one(first_nm: float, last_nm: float, expected: tuple[float, ...]) -> None:
    shares = coverage(regular_bands(first_nm, last_nm, 10))
    np.testing.assert_allclose(list(shares.values()), expected, atol=6e-4)


def test_bands_from_400_to_700_are_enough(caplog: pytest.LogCaptureFixture) -> None:
    srgb_operator(VIS)
    assert not caplog.records


def test_a_little_missing_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        operator = srgb_operator(regular_bands(420, 720, 10))
    assert "bands from 420 to 720 nm see X 99.0 %, Y 100.0 %, Z 95.9 %" in caplog.text
    np.testing.assert_allclose(operator.sum(axis=0), 1, atol=2e-7)


def test_much_missing_is_refused_unless_allowed(caplog: pytest.LogCaptureFixture) -> None:
    bands = regular_bands(430, 700, 10)
    with pytest.raises(DataError, match=r"90% of X, Y and Z; bands from 430 to 700 nm see .* Z 88\.1 %.*allow_partial"):
        render_srgb(grey_cube(bands=bands), bands)
    picture = render_srgb(grey_cube(bands=bands), bands, allow_partial=True)
    np.testing.assert_allclose(picture.rgb, encode_srgb(np.array(0.5)), atol=1e-6)
    assert "a little off" in caplog.text


def test_a_hole_in_the_bands_counts_as_missing() -> None:
    bands = Bands(tuple(nm for nm in VIS.wavelength_nm if not 510 <= nm <= 590))
    with pytest.raises(DataError, match="see X"):
        srgb_operator(bands)


@pytest.mark.parametrize("allow_partial", [False, True])
@pytest.mark.parametrize("bands", [NIR, regular_bands(800, 1000, 10), Bands((550.0,))], ids=["nir", "none", "one band"])
def test_cube_without_colour_is_refused(bands: Bands, allow_partial: bool) -> None:
    with pytest.raises(ValueError, match="such a cube has no colour"):
        render_srgb(grey_cube(bands=bands), bands, allow_partial=allow_partial)


def test_descending_bands_are_refused_before_any_colour() -> None:
    with pytest.raises(ValueError, match="strictly ascending"):
        render_srgb(grey_cube(), Bands(VIS.wavelength_nm[::-1]))


def test_bands_outside_the_visible_weigh_nothing() -> None:
    bands = regular_bands(350, 1000, 10)
    operator = srgb_operator(bands)
    outside = (bands.centres_nm() < 380) | (bands.centres_nm() > 780)
    assert not operator[outside].any()


# --- pixels that cannot be right ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_pixel_is_black_and_told_and_spoils_no_other(bad: float) -> None:
    cube = random_cube()
    clean = render_srgb(cube, VIS)
    cube[3, 5, 10] = bad
    picture = render_srgb(cube, VIS)
    assert not picture.valid[3, 5]
    assert np.count_nonzero(~picture.valid) == 1
    np.testing.assert_array_equal(picture.rgb[3, 5], 0)
    np.testing.assert_array_equal(picture.rgb[picture.valid], clean.rgb[picture.valid])
    assert clean.valid.all()


@pytest.mark.parametrize("hot", [50.0, np.nan])
def test_hot_infrared_pixel_changes_nothing(hot: float) -> None:
    bands = regular_bands(400, 1000, 10)
    cube = random_cube(bands)
    clean = render_srgb(cube, bands)
    cube[2, 2, bands.index_of(900)] = hot
    picture = render_srgb(cube, bands)
    np.testing.assert_array_equal(picture.rgb, clean.rgb)
    assert picture.valid.all()


def test_all_bad_cube_is_all_black() -> None:
    picture = render_srgb(grey_cube(np.nan), VIS, exposure="max")
    assert not picture.valid.any()
    assert not picture.rgb.any()


def test_negative_reflectance_is_clipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    cube = grey_cube()
    cube[0, :4] = -0.02
    with caplog.at_level(logging.DEBUG, logger="hyperskin"):
        picture = render_srgb(cube, VIS)
    assert (picture.clipped.below_count, picture.clipped.above_count) == (12, 0)
    assert not picture.rgb[0, :4].any()
    assert "clipped 0.521 % of sRGB values below 0 and 0 % above 1" in caplog.text


def test_highlights_are_clipped_and_counted() -> None:
    cube = grey_cube()
    cube[7, 7] = 1.8
    picture = render_srgb(cube, VIS)
    assert (picture.clipped.below_count, picture.clipped.above_count) == (0, 3)
    np.testing.assert_allclose(picture.rgb[7, 7], 1, atol=1e-7)


def test_perfect_white_is_not_counted_as_clipped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert render_srgb(grey_cube(1), VIS).clipped.above_count == 0
    assert not caplog.records


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.int32])
def test_counts_are_refused(dtype: type) -> None:
    with pytest.raises(ShapeError, match="reflectance as a floating type; got dtype"):
        render_srgb(np.ones((HEIGHT, WIDTH, 31), dtype=dtype), VIS)


def test_cube_of_other_bands_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"`operators` must have shape \(31, 3\)"):
        render_srgb(grey_cube(), FX10)


@pytest.mark.parametrize(
    "option", [{"illuminant": "a"}, {"normalise": "max"}, {"exposure": "auto"}, {"transfer": "gamma"}]
)
def test_unknown_option_lists_the_known_ones(option: dict[str, Any]) -> None:
    name = next(iter(option))
    with pytest.raises(UnknownNameError, match=f"`{name}` must be .* got '{option[name]}'"):
        render_srgb(grey_cube(), VIS, **option)


# --- form -----------------------------------------------------------------------------------------------------------


def test_picture_keeps_the_frame_and_is_float32() -> None:
    picture = render_srgb(random_cube(), VIS)
    assert picture.rgb.shape == (HEIGHT, WIDTH, 3)
    assert picture.rgb.dtype == np.float32
    assert picture.valid.shape == (HEIGHT, WIDTH)


def test_red_comes_first() -> None:
    cube = grey_cube(0)
    cube[..., VIS.index_of(620)] = 1
    assert render_srgb(cube, VIS, exposure="max").rgb[0, 0].argmax() == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_precision_of_the_cube_does_not_show(dtype: type) -> None:
    cube = random_cube().astype(np.float16)
    expected = render_srgb(cube.astype(np.float64), VIS).rgb
    np.testing.assert_allclose(render_srgb(cube.astype(dtype), VIS).rgb, expected, atol=2e-6)


def test_memory_order_of_the_cube_does_not_matter() -> None:
    cube = random_cube()
    expected = render_srgb(cube, VIS).rgb
    turned = np.asfortranarray(cube)
    np.testing.assert_allclose(render_srgb(turned, VIS).rgb, expected, atol=1e-6)
    np.testing.assert_allclose(render_srgb(np.repeat(cube, 2, axis=1)[:, ::2], VIS).rgb, expected, atol=1e-6)


def test_cube_is_left_as_it_was() -> None:
    cube = random_cube()
    cube[0, 0, 0] = np.nan
    before = cube.copy()
    render_srgb(cube, VIS, exposure="p99.9")
    np.testing.assert_array_equal(cube, before)
