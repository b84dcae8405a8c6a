from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.bands import FX10
from hyperskin.errors import DataError, ShapeError
from hyperskin.phantom.sensor import FULL_SCALE, Sensor, panel_reflectance, white_spectrum
from hyperskin.spectral.calibration import inspect_detector

CENTRES_NM = FX10.centres_nm()
WIDTH = 32
IS_JUDGED = (CENTRES_NM >= 430) & (CENTRES_NM <= 950)


def flat(lines: int, reflectance: float | npt.NDArray[np.float64], width: int = WIDTH) -> npt.NDArray[np.float32]:
    return np.broadcast_to(np.asarray(reflectance, np.float32), (lines, width, 448)).copy()


def skin(nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A spectrum with the level and the slopes of light skin."""
    return np.asarray(0.22 + 0.3 / (1 + np.exp(-(nm - 590) / 15)) - 0.15 * np.exp(-(((nm - 970) / 40) ** 2)))


def calibrate(sensor: Sensor, line: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Reflectance of one line in units of the white reference, (W, C); NaN at bad elements."""
    white, dark = (record(1, "x")[0].astype(float) for record in (sensor.white_lines, sensor.dark_lines))
    return np.asarray((sensor.expose(line, "x")[0] - dark) / np.where(sensor.bad, np.nan, white - dark))


def reference_counts(sensor: Sensor, line: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Expected counts of one line without noise, element by element in plain numbers."""
    width, bands = line.shape
    white = white_spectrum()

    def light(column: int, band: int) -> float:
        column, band = min(max(column, 0), width - 1), min(band, bands - 1)
        return float(line[column, band]) * float(white[band])

    def smiled(column: int, band: int, x: float) -> float:
        if band == bands - 1:
            return light(column, band)
        share = 0.5 * x * x / (CENTRES_NM[band + 1] - CENTRES_NM[band])
        return (1 - share) * light(column, band) + share * light(column, band + 1)

    expected = np.zeros((width, bands))
    place = [-1 + 2 * column / (width - 1) for column in range(width)]
    for column in range(width):
        for band in range(bands):
            shift = 0.3 * place[column] * (band / (bands - 1) - 0.5)
            beside = min(max(column + (1 if shift > 0 else -1), 0), width - 1)
            own, other = smiled(column, band, place[column]), smiled(beside, band, place[beside])
            value = (1 - abs(shift)) * own + abs(shift) * other
            value = value * float(sensor.gain[column, band]) + float(sensor.dark[column, band])
            expected[column, band] = min(max(value, 0), 4095)
    return expected


def test_a_perfect_reflector_fills_82_percent_of_the_range_at_the_peak():
    white = white_spectrum()
    assert white.max() == pytest.approx(0.82 * (4095 - 96))
    assert 0.005 < white[0] / white.max() < 0.02  # the darkest band


def test_the_white_reference_is_darker_in_the_blue():
    np.testing.assert_allclose(panel_reflectance(np.array([397.0, 457.0])), [0.93, 0.95 - 0.02 / np.e])


def test_counts_without_noise_follow_the_slow_formulation():
    sensor = Sensor(WIDTH, seed=3, noise=0)
    line = flat(1, skin(CENTRES_NM))
    line *= np.random.default_rng(5).uniform(0.2, 1.6, (1, WIDTH, 1)).astype(np.float32)
    counts = sensor.expose(line, "p001_neutral_front")
    expected = reference_counts(sensor, line[0])
    is_half = np.abs(expected % 1 - 0.5) < 1e-3  # float32 may round those either way
    np.testing.assert_array_equal(counts[0][~is_half], np.rint(expected)[~is_half])
    assert is_half.mean() < 0.01
    assert np.abs(counts[0] - expected).max() < 0.51


def test_without_noise_every_line_and_every_capture_is_the_same():
    sensor = Sensor(WIDTH, seed=3, noise=0)
    counts = sensor.expose(flat(3, 0.4), "p001_neutral_front")
    assert (counts == counts[0]).all()
    np.testing.assert_array_equal(counts, sensor.expose(flat(3, 0.4), "p002_smile_left", 50))
    dark = sensor.dark_lines(2, "p001_neutral_front")
    np.testing.assert_array_equal(dark[0], np.rint(np.minimum(sensor.dark, 4095)))


def test_lines_get_the_same_counts_in_any_order_and_company():
    sensor, scene = Sensor(WIDTH, seed=3), np.random.default_rng(1).random((7, WIDTH, 448), np.float32)
    whole = sensor.expose(scene, "p001_neutral_front")
    again = Sensor(WIDTH, seed=3)
    for first, last in ((5, 7), (2, 5), (0, 2)):
        np.testing.assert_array_equal(again.expose(scene[first:last], "p001_neutral_front", first), whole[first:last])
    for record in ("dark_lines", "white_lines"):
        lines = getattr(sensor, record)(6, "p001_neutral_front")
        np.testing.assert_array_equal(getattr(again, record)(2, "p001_neutral_front", 4), lines[4:])


def test_noise_belongs_to_the_capture_and_the_pattern_to_the_instrument():
    sensor = Sensor(WIDTH, seed=3)
    first, second = (sensor.expose(flat(1, 0.4), name) for name in ("p001_neutral_front", "p001_smile_front"))
    assert np.mean(first != second) > 0.5
    other = Sensor(WIDTH, seed=4)
    assert np.mean(other.gain != sensor.gain) > 0.99
    np.testing.assert_array_equal(Sensor(WIDTH, seed=3, noise=0).gain, sensor.gain)
    with_noise_lines = sensor.white_lines(2, "p001_neutral_front")
    assert np.mean(with_noise_lines[0] != with_noise_lines[1]) > 0.5


def test_the_dark_level_drifts_with_each_capture_as_a_whole_and_by_columns():
    sensor, drifts = Sensor(16, seed=3), []
    for number in range(200):
        moved = sensor.expose(flat(2, 0.0, 16), f"scan{number}").astype(float) - sensor.dark_lines(2, f"scan{number}")
        drifts.append(np.nanmean(np.where(sensor.bad, np.nan, moved), axis=(0, 2)))
    overall = np.mean(drifts, axis=1)
    assert overall.std() == pytest.approx(np.hypot(0.35, 0.4 / 4), rel=0.15)
    assert np.std(drifts - overall[:, np.newaxis]) == pytest.approx(0.4 * np.sqrt(15 / 16), rel=0.1)
    assert abs(np.mean(overall)) < 0.1


def test_the_pattern_has_the_spread_that_is_said():
    sensor = Sensor(256, seed=1)
    good = ~sensor.bad
    shape = 1 - 0.18 * np.linspace(-1, 1, 256)[:, np.newaxis] ** 2
    assert (sensor.gain / shape)[good].std() == pytest.approx(0.01, rel=0.02)
    dark = np.where(good, sensor.dark, np.nan)
    columns = np.nanmean(dark, axis=1)
    assert columns.mean() == pytest.approx(96, abs=0.6)
    assert columns.std() == pytest.approx(3, rel=0.15)
    assert np.nanstd(dark - columns[:, np.newaxis]) == pytest.approx(1.2, rel=0.02)
    assert np.count_nonzero(sensor.gain == 0) == pytest.approx(0.000075 * sensor.bad.size, abs=8)
    assert np.count_nonzero(sensor.dark > 4095) == pytest.approx(0.000075 * sensor.bad.size, abs=8)
    assert np.count_nonzero(sensor.bad) == pytest.approx(0.00045 * sensor.bad.size, rel=0.4)


def test_every_bad_element_is_found_by_calibration_and_no_good_one():
    sensor = Sensor(256, seed=1)
    name = "p001_neutral_front"
    detector = inspect_detector(sensor.white_lines(20, name), sensor.dark_lines(20, name), full_scale=FULL_SCALE)
    np.testing.assert_array_equal(detector.bad, sensor.bad)


def test_the_white_reference_does_not_saturate():
    sensor = Sensor(256, seed=1)
    white = sensor.white_lines(20, "p001_neutral_front")
    assert white[:, ~sensor.bad].max() < 0.9 * FULL_SCALE


def test_a_highlight_saturates():
    sensor = Sensor(WIDTH, seed=3)
    counts = sensor.expose(flat(2, 3.0), "p001_neutral_front")
    peak = int(white_spectrum().argmax())
    assert (counts[..., peak][:, ~sensor.bad[:, peak]] == FULL_SCALE).all()
    assert counts[..., 5][:, ~sensor.bad[:, 5]].max() < 1000  # the darkest bands still tell it from white


def test_smile_moves_an_edge_at_both_ends_and_not_in_the_middle():
    sensor = Sensor(33, seed=3, noise=0)
    edge = (CENTRES_NM > 600).astype(np.float64)
    share = calibrate(sensor, flat(1, edge, 33))
    before = int(np.flatnonzero(edge)[0]) - 1  # the last band that must see nothing
    step_nm = CENTRES_NM[before + 1] - CENTRES_NM[before]
    panel = panel_reflectance(CENTRES_NM[[before]])[0]
    for column, shift_nm in ((0, 0.5), (32, 0.5), (8, 0.125), (16, 0.0)):
        assert share[column, before] * panel == pytest.approx(shift_nm / step_nm, abs=0.002)
    assert np.nanmax(np.abs(share[:, before - 1])) < 0.002
    assert np.nanmax(np.abs(share[:, before + 1] * panel - 1)) < 0.002


def test_keystone_moves_the_ends_of_the_spectrum_apart_at_both_ends_of_the_line():
    sensor = Sensor(33, seed=3, noise=0)
    ramp = np.broadcast_to(0.3 + 0.01 * np.arange(33)[:, np.newaxis], (33, 448))
    moved_px = (calibrate(sensor, ramp[np.newaxis]) * panel_reflectance(CENTRES_NM) - ramp) / 0.01
    bands = slice(400, 444)
    assert np.nanmedian(moved_px[16, bands]) == pytest.approx(0, abs=0.02)
    assert np.nanmedian(moved_px[31, bands]) == pytest.approx(0.3 * 15 / 16 * (422 / 447 - 0.5), abs=0.02)
    assert np.nanmedian(moved_px[1, bands]) == pytest.approx(-0.3 * 15 / 16 * (422 / 447 - 0.5), abs=0.02)
    assert np.nanmedian(moved_px[31, 220:228]) == pytest.approx(0, abs=0.02)


def test_calibrated_reflectance_has_the_noise_that_is_predicted():
    sensor, lines, spectrum = Sensor(64, seed=2), 20, skin(CENTRES_NM)
    squares = []
    for capture in range(6):
        name = f"p001_{capture}"
        dark, white = (record(lines, name).mean(axis=0) for record in (sensor.dark_lines, sensor.white_lines))
        measured = (sensor.expose(flat(64, spectrum, 64), name) - dark) / np.where(sensor.bad, np.nan, white - dark)
        residual = measured - np.nanmean(measured, axis=(0, 1)) - shape_left_by_smile(sensor, spectrum)
        squares.append(np.nanmean(residual**2, axis=(0, 1)))
    predicted = sensor.noise_sd(spectrum, reference_lines=lines)
    ratio = np.sqrt(np.mean(squares, axis=0)) / np.sqrt(np.nanmean(predicted**2, axis=0))
    assert np.abs(ratio[IS_JUDGED] - 1).max() < 0.15


def shape_left_by_smile(sensor: Sensor, spectrum: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What the line's ends see of the neighbouring wavelengths: no noise, and left out of a prediction of it."""
    across = np.linspace(-1, 1, len(sensor.gain))[:, np.newaxis]
    moved = 0.5 * across**2 * np.gradient(spectrum / panel_reflectance(CENTRES_NM), CENTRES_NM)
    return np.asarray(moved - moved.mean(axis=0))


def test_predicted_noise_falls_with_light_and_with_longer_references():
    sensor = Sensor(WIDTH, seed=2)
    few, many = (sensor.noise_sd(np.full(448, 0.5), reference_lines=lines) for lines in (2, 200))
    good = ~sensor.bad
    assert (few[good] > many[good]).all()
    assert np.isnan(few[sensor.bad]).all()
    dark = sensor.noise_sd(np.zeros(448), reference_lines=200)
    bright = np.nanmedian(many[:, 250])
    assert np.nanmedian(dark[:, 250]) < bright  # fewer shots
    assert np.nanmedian(many[:, 2]) > 10 * bright  # less light on the white reference


def test_predicted_noise_is_that_of_a_case_solved_by_hand():
    sensor = Sensor(33, seed=2)
    band = int(white_spectrum().argmax())
    assert not sensor.bad[16, band]
    white = 0.82 * 3999 * panel_reflectance(CENTRES_NM)[band] * float(sensor.gain[16, band])
    electrons = 170e3 / 3999
    floor = (60 / electrons) ** 2 + 1 / 12
    light = white / panel_reflectance(CENTRES_NM)[band] / 2
    share = light / white
    variance = (
        light / electrons + floor + 0.4**2 + (share**2 * (white / electrons + floor) + (1 - share) ** 2 * floor) / 20
    )
    predicted = sensor.noise_sd(np.full(448, 0.5), reference_lines=20)[16, band]
    assert predicted == pytest.approx(np.sqrt(variance) / white, rel=1e-4)


@pytest.mark.parametrize("value", [-0.01, np.nan, np.inf])
def test_impossible_reflectance_is_refused(value):
    line = flat(1, 0.4)
    line[0, 3, 7] = value
    with pytest.raises(DataError, match="finite and not negative"):
        Sensor(WIDTH, seed=3).expose(line, "p001_neutral_front")


def test_lines_of_another_width_are_refused():
    with pytest.raises(ShapeError, match=r"\(32, 448\); got \(1, 31, 448\)"):
        Sensor(WIDTH, seed=3).expose(flat(1, 0.4, 31), "p001_neutral_front")


@pytest.mark.parametrize(("width", "noise"), [(1, 1.0), (32, -1.0)])
def test_an_impossible_sensor_is_refused(width, noise):
    with pytest.raises(DataError, match="2 pixels or more and no negative noise"):
        Sensor(width, seed=1, noise=noise)
