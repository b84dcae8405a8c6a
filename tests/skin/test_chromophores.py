"""Absorption of the skin's pigments."""

import numpy as np
import pytest
from scipy.optimize import brentq

from hyperskin.bands import FX10
from hyperskin.errors import DataError
from hyperskin.skin import chromophores
from hyperskin.skin.chromophores import (
    bloodless_absorption,
    carotenoid_absorption,
    deoxyhaemoglobin_absorption,
    lipid_absorption,
    melanin_absorption,
    oxyhaemoglobin_absorption,
    water_absorption,
)

EVERY = (
    melanin_absorption,
    oxyhaemoglobin_absorption,
    deoxyhaemoglobin_absorption,
    water_absorption,
    bloodless_absorption,
    carotenoid_absorption,
    lipid_absorption,
)


def at(absorption, *wavelength_nm):
    return absorption(np.array(wavelength_nm, dtype=np.float64)).tolist()


def find_peak(absorption, first_nm, last_nm):
    nm = np.arange(first_nm, last_nm, 0.1)
    return nm[absorption(nm).argmax()]


def test_values_solved_by_hand():
    assert at(melanin_absorption, 500, 1000) == pytest.approx([519, 519 / 2**3.5])
    assert at(bloodless_absorption, 154 + 5 * 66.2) == pytest.approx([0.244 + 85.3 * np.exp(-5)])
    assert at(carotenoid_absorption, 452) == pytest.approx([1 + 0.8 * np.exp(-((28 / 22) ** 2)) + 0.5 * np.exp(-2.25)])


def test_one_exponent_for_each_sort_of_melanin():
    nm = np.array([400.0, 500.0, 1000.0])
    found = melanin_absorption(nm, np.array([[3.0], [4.0]]))
    np.testing.assert_allclose(found, 519 * np.array([[1.25**3, 1, 1 / 8], [1.25**4, 1, 1 / 16]]))


def test_blood_as_published_between_the_knots():
    """Molar extinctions in 1/(cm M) of Prahl's list that are no knots here, oxygenated and deoxygenated."""
    listed = {500: (20932.8, 20862), 560: (32613.2, 53788), 660: (319.6, 3226.56), 700: (290, 1794.28),
              800: (816, 761.72), 850: (1058, 691.32), 900: (1198, 761.84)}  # fmt: skip
    factor = 2.303 * 150 / 64500
    for nm, (oxy, deoxy) in listed.items():
        assert at(oxyhaemoglobin_absorption, nm) == pytest.approx([factor * oxy], rel=0.02)
        assert at(deoxyhaemoglobin_absorption, nm) == pytest.approx([factor * deoxy], rel=0.02)


@pytest.mark.parametrize("isosbestic_nm", [424, 454, 502, 530, 546, 572, 586, 798])
def test_both_bloods_absorb_alike_at_the_isosbestic_points(isosbestic_nm):
    def difference(nm):
        return np.log(at(oxyhaemoglobin_absorption, nm)[0] / at(deoxyhaemoglobin_absorption, nm)[0])

    assert brentq(difference, isosbestic_nm - 6, isosbestic_nm + 6) == pytest.approx(isosbestic_nm, abs=2)


def test_pigments_peak_where_they_are_known_to():
    assert find_peak(oxyhaemoglobin_absorption, 400, 430) == pytest.approx(414, abs=2)
    assert find_peak(oxyhaemoglobin_absorption, 530, 555) == pytest.approx(542, abs=1)
    assert find_peak(oxyhaemoglobin_absorption, 565, 590) == pytest.approx(577, abs=1)
    assert find_peak(deoxyhaemoglobin_absorption, 420, 450) == pytest.approx(433, abs=2)
    assert find_peak(deoxyhaemoglobin_absorption, 540, 570) == pytest.approx(555, abs=2)
    assert find_peak(deoxyhaemoglobin_absorption, 740, 780) == pytest.approx(758, abs=3)
    assert find_peak(water_absorption, 900, 1000) == pytest.approx(974, abs=1)
    assert find_peak(lipid_absorption, 900, 980) == pytest.approx(930, abs=2)
    assert find_peak(lipid_absorption, 700, 800) == pytest.approx(761, abs=2)
    assert find_peak(carotenoid_absorption, 400, 600) == pytest.approx(455, abs=5)


def test_fat_as_measured():
    """Read off the measured curve at wavelengths in nm, 1/m."""
    measured = {700: 0.323, 740: 0.654, 760: 1.278, 800: 0.403, 830: 0.803, 860: 0.674, 900: 4.633, 915: 8.994,
                930: 13.10, 940: 8.754, 950: 3.799, 970: 1.528, 990: 1.716, 1005: 3.282}  # fmt: skip
    np.testing.assert_allclose(at(lipid_absorption, *measured), np.array(list(measured.values())) / 100, rtol=0.06)


def test_every_absorption_is_finite_and_smooth_to_the_end_of_the_sensor():
    nm = np.arange(390, 1005.01, 0.5)
    for absorption in EVERY:
        values = absorption(nm)
        assert values.dtype == np.float64
        assert np.all(values >= 0)
        assert np.all(np.isfinite(values))
    for absorption in (oxyhaemoglobin_absorption, deoxyhaemoglobin_absorption, water_absorption):
        assert np.abs(np.diff(np.log(absorption(nm)))).max() < 0.2


@pytest.mark.parametrize("absorption", EVERY)
def test_wavelengths_in_any_order_give_the_same_values(absorption):
    nm = FX10.centres_nm()
    np.testing.assert_array_equal(absorption(nm[::-1]), absorption(nm)[::-1])


@pytest.mark.parametrize("absorption", [oxyhaemoglobin_absorption, deoxyhaemoglobin_absorption, water_absorption])
def test_the_last_tabulated_value_stands_to_the_end_of_the_sensor(absorption):
    assert len(set(at(absorption, 1000, 1002.5, FX10.wavelength_nm[-1], 1005))) == 1


@pytest.mark.parametrize("absorption", EVERY)
@pytest.mark.parametrize("wavelength_nm", [389.9, 1005.1, np.nan])
def test_wavelengths_without_a_table_are_refused(absorption, wavelength_nm):
    with pytest.raises(DataError, match=r"`wavelength_nm` must lie within 390 to 1005 nm.*; got"):
        absorption(np.array([500.0, wavelength_nm]))


@pytest.mark.parametrize(
    ("table", "column", "absorption"),
    [
        ("haemoglobin.csv", "oxy", oxyhaemoglobin_absorption),
        ("haemoglobin.csv", "deoxy", deoxyhaemoglobin_absorption),
        ("water.csv", "water", water_absorption),
    ],
)
def test_between_knots_it_is_a_cubic_of_the_logarithms(table, column, absorption):
    """A cubic Hermite by hand, its slopes the weighted harmonic means of Fritsch and Butland."""
    curve = chromophores._read_curves(table)[column]
    x, y = curve.x, np.array([np.log(at(absorption, knot)[0]) for knot in curve.x])
    h, slope = np.diff(x), np.diff(y) / np.diff(x)
    for i in range(1, len(x) - 2):
        ends = []
        for j in (i, i + 1):
            before, after = 2 * h[j] + h[j - 1], h[j] + 2 * h[j - 1]
            same_way = slope[j - 1] * slope[j] > 0
            ends.append((before + after) / (before / slope[j - 1] + after / slope[j]) if same_way else 0.0)
        middle = (y[i] + y[i + 1]) / 2 + h[i] * (ends[0] - ends[1]) / 8
        assert np.log(at(absorption, x[i] + h[i] / 2)[0]) == pytest.approx(middle, abs=1e-9)
