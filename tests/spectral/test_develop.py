from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.bands import NIR, VIS, Bands
from hyperskin.errors import DataError, ShapeError
from hyperskin.spectral.calibration import calibrate_counts, inspect_detector, plan_repair
from hyperskin.spectral.develop import Development, develop
from hyperskin.spectral.resampling import resample_bands, resampling_operator

HEIGHT, WIDTH = 24, 32
SENSOR = Bands(tuple(396.0 + 5.4 * band + 0.003 * band * band for band in range(108)))
TARGETS = {"vis": VIS, "nir": NIR}
FULL_SCALE = 4095
KINDS = ["linear", "cubic", "gaussian"]
BAD = ((5, 1), (6, 1), (0, 40), (31, 41), (12, 2), (12, 3), (20, 77))


class Capture:
    """A capture in memory: a lamp, a vignette, soft spectra, noise, and some bad detector elements."""

    def __init__(self, seed: int = 0, height: int = HEIGHT, bad: tuple[tuple[int, int], ...] = ()) -> None:
        rng = np.random.default_rng(seed)
        bands = len(SENSOR)
        lamp = 200 + 3000 * np.exp(-(((SENSOR.centres_nm() - 680) / 170) ** 2))
        response = (1 - 0.18 * np.linspace(-1, 1, WIDTH) ** 2)[:, None] * lamp
        shade = rng.uniform(0.1, 0.9, (height, WIDTH, 1))
        reflectance = shade * (0.6 + 0.3 * np.sin(np.arange(bands) / 14))
        dark = 270 + rng.normal(0, 3, (WIDTH, bands))
        self.white = self._expose(rng, np.broadcast_to(dark + response, (8, WIDTH, bands)))
        self.dark = self._expose(rng, np.broadcast_to(dark, (6, WIDTH, bands)))
        self.counts = self._expose(rng, dark + response * reflectance)
        for column, band in bad:
            self.white[:, column, band] = 90
            self.counts[:, column, band] = rng.integers(0, 4000, height)

    @staticmethod
    def _expose(rng: np.random.Generator, level: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
        return np.rint(level + rng.normal(0, 4, level.shape)).astype(np.uint16)

    def line_blocks(self, lines: int):
        for first in range(0, len(self.counts), lines):
            yield self.counts[first : first + lines]

    def develop(self, **changes) -> Development:
        settings = {"kind": "linear", "fwhm_nm": 20.0, "full_scale": FULL_SCALE, **changes}
        return develop(self.line_blocks, self.white, self.dark, SENSOR, TARGETS, **settings)

    def cubes(self, **changes) -> dict[str, npt.NDArray[np.float32]]:
        blocks = list(self.develop(**changes))
        whole = {name: np.concatenate([block.cubes[name] for block in blocks]) for name in TARGETS}
        return whole | {"valid": np.concatenate([block.valid for block in blocks])}


def _reference_cubes(capture: Capture, *, kind: str, repair: bool = True) -> dict[str, npt.NDArray[np.float64]]:
    """Calibrate all bands of the whole frame, then interpolate."""
    detector = inspect_detector(capture.white, capture.dark, full_scale=FULL_SCALE)
    plan = plan_repair(detector.bad) if repair else None
    reflectance = calibrate_counts(capture.counts, detector, plan).astype(np.float64)
    return {
        name: resample_bands(reflectance, SENSOR, bands, kind=kind, fwhm_nm=20.0) for name, bands in TARGETS.items()
    }


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("repair", [True, False])
@pytest.mark.parametrize("bad", [(), BAD])
@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_equals_calibrating_and_then_resampling(kind, bad, repair):
    capture = Capture(bad=bad)
    cubes = capture.cubes(kind=kind, repair=repair)
    for name, expected in _reference_cubes(capture, kind=kind, repair=repair).items():
        assert cubes[name].dtype == np.float32
        np.testing.assert_allclose(cubes[name], expected, rtol=0, atol=1e-6)


def test_a_count_halfway_between_dark_and_white_is_half_at_every_band():
    capture = Capture()
    capture.white[:], capture.dark[:], capture.counts[:] = 1100, 100, 600
    for kind in KINDS:
        cubes = capture.cubes(kind=kind)
        np.testing.assert_allclose(cubes["vis"], 0.5, rtol=0, atol=3e-7)
        np.testing.assert_allclose(cubes["nir"], 0.5, rtol=0, atol=3e-7)


@pytest.mark.parametrize("bad", [(), BAD])
@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_the_blocks_does_not_change_a_bit(kind, bad):
    capture = Capture(bad=bad)
    whole = capture.cubes(kind=kind, lines=HEIGHT)
    for lines in (1, 5, 16):
        assert_same_bits(capture.cubes(kind=kind, lines=lines), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_captures_does_not_change_a_bit(kind):
    seeds = (1, 2, 3)
    forward = {seed: Capture(seed, bad=BAD).cubes(kind=kind) for seed in seeds}
    backward = {seed: Capture(seed, bad=BAD).cubes(kind=kind) for seed in reversed(seeds)}
    for seed in seeds:
        assert_same_bits(forward[seed], backward[seed])


@pytest.mark.parametrize("kind", KINDS)
def test_captures_developed_in_turns_do_not_mix(kind):
    one, other = Capture(1, bad=BAD), Capture(2)
    mixed = [(a, b) for a, b in zip(one.develop(kind=kind), other.develop(kind=kind), strict=True)]
    np.testing.assert_array_equal(np.concatenate([a.cubes["vis"] for a, _ in mixed]), one.cubes(kind=kind)["vis"])
    np.testing.assert_array_equal(np.concatenate([b.cubes["vis"] for _, b in mixed]), other.cubes(kind=kind)["vis"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_recorders_memory_order_and_number_type_do_not_change_a_bit(kind):
    capture = Capture(bad=BAD)
    plain = capture.cubes(kind=kind)
    as_recorded = np.ascontiguousarray(capture.counts.transpose(0, 2, 1))
    for counts in (as_recorded.transpose(0, 2, 1), capture.counts.astype(">u2"), capture.counts.astype(np.float32)):
        capture.counts = counts
        assert_same_bits(capture.cubes(kind=kind), plain)


@pytest.mark.parametrize("kind", KINDS)
def test_all_bands_are_kept_on_demand_and_change_nothing(kind):
    capture = Capture(bad=BAD)
    blocks = list(capture.develop(kind=kind, keep_full=True))
    detector = inspect_detector(capture.white, capture.dark, full_scale=FULL_SCALE)
    expected = calibrate_counts(capture.counts, detector, plan_repair(detector.bad))
    np.testing.assert_allclose(np.concatenate([block.full for block in blocks]), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate([block.cubes["nir"] for block in blocks]), capture.cubes(kind=kind)["nir"]
    )
    assert all(block.full is None for block in capture.develop(kind=kind))


def test_bad_elements_are_repaired_to_what_their_neighbours_saw():
    clean, damaged = Capture(), Capture(bad=BAD)
    blocks, expected = damaged.cubes(), clean.cubes()
    assert damaged.develop().counts()["bad_elements"] == damaged.develop().counts()["dead_elements"] == len(BAD)
    for name in TARGETS:
        assert np.abs(blocks[name] - expected[name])[:, 8:12].max() == 0
    assert blocks["valid"].all()


def test_repaired_pixels_are_those_whose_cubes_used_a_bad_element():
    development = Capture(bad=((5, 1), (5, 2), (9, 60))).develop(kind="cubic")
    list(development)
    assert development.counts()["repaired"] == 2 * HEIGHT


@pytest.mark.parametrize("kind", KINDS)
def test_unrepaired_elements_make_their_pixels_invalid(kind):
    development = Capture(bad=((5, 60), (5, 61), (9, 60))).develop(kind=kind, repair=False)
    valid = np.concatenate([block.valid for block in development])
    assert sorted(np.flatnonzero(~valid.any(axis=0))) == [5, 9]
    assert development.counts()["invalid"] == np.count_nonzero(~valid) == 2 * HEIGHT
    assert development.counts()["repaired"] == 0


def test_an_element_that_no_wanted_band_needs_does_not_matter():
    operator = np.concatenate([resampling_operator(SENSOR, bands, kind="linear") for bands in TARGETS.values()])
    unused = int(np.flatnonzero(~operator.any(axis=0))[-1])
    capture = Capture(bad=((5, unused),))
    capture.counts[3, 7, unused] = FULL_SCALE
    development = capture.develop(repair=False)
    assert all(block.valid.all() for block in development)
    assert development.counts()["saturated"] == development.counts()["repaired"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_count_at_full_scale_makes_its_pixel_invalid(kind):
    capture = Capture()
    capture.counts[3, 7, 50] = FULL_SCALE
    capture.counts[20, 0, 10:90] = FULL_SCALE
    capture.counts[21, 0, 50] = FULL_SCALE - 1
    development = capture.develop(kind=kind)
    valid = np.concatenate([block.valid for block in development])
    assert np.argwhere(~valid).tolist() == [[3, 7], [20, 0]]
    assert development.counts()["saturated"] == development.counts()["invalid"] == 2


def test_a_saturated_neighbour_makes_what_was_repaired_from_it_invalid():
    capture = Capture(bad=((5, 50),))
    capture.counts[3, 6, 50] = FULL_SCALE
    capture.counts[:, 5, 50] = FULL_SCALE  # the bad element itself says nothing
    valid = capture.cubes()["valid"]
    assert np.argwhere(~valid).tolist() == [[3, 5], [3, 6]]


def test_a_count_above_full_scale_is_refused():
    capture = Capture()
    capture.counts[20, 7, 50] = 5000
    with pytest.raises(DataError, match="must not exceed the sensor's full scale of 4095; got 5000"):
        list(capture.develop())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_count_that_is_no_number_makes_its_pixel_alone_invalid(kind, value):
    capture = Capture(bad=BAD)
    clean = capture.cubes(kind=kind)
    capture.counts = capture.counts.astype(np.float32)
    capture.counts[3, 7, 50] = value
    with np.errstate(invalid="ignore"):
        cubes = capture.cubes(kind=kind)
    assert np.argwhere(~cubes["valid"]).tolist() == [[3, 7]]
    for name in TARGETS:
        cubes[name][3, 7] = clean[name][3, 7]
        np.testing.assert_array_equal(cubes[name], clean[name])


def test_values_outside_zero_and_one_are_kept_and_counted():
    capture = Capture()
    capture.counts[0], capture.counts[1] = 0, 4090
    development = capture.develop()
    cubes = np.concatenate([np.concatenate(list(block.cubes.values()), axis=2) for block in development])
    counts = development.counts()
    assert counts["negative"] == np.count_nonzero(cubes < 0) >= 62 * WIDTH
    assert counts["above_one"] == np.count_nonzero(cubes > 1) >= 62 * WIDTH
    assert all(type(count) is int for count in counts.values())


def test_counts_start_again_with_every_pass():
    development = Capture(bad=BAD).develop(repair=False)
    list(development)
    first = development.counts()
    list(development)
    assert development.counts() == first
    assert first["invalid"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_length_of_the_capture(kind):
    class Long(Capture):
        def line_blocks(self, lines):
            for _ in range(40):
                yield from super().line_blocks(lines)

    peaks = []
    for capture in (Capture(), Long()):
        development = capture.develop(kind=kind, lines=8)
        tracemalloc.start()
        for _ in development:
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 20_000


def test_what_does_not_fit_together_is_refused_before_any_line_is_read():
    capture = Capture()
    with pytest.raises(ShapeError, match=r"`white_lines` must have 31 bands like `bands`; got shape \(8, 32, 108\)"):
        develop(capture.line_blocks, capture.white, capture.dark, VIS, TARGETS, kind="linear", full_scale=FULL_SCALE)
    short = Bands(SENSOR.wavelength_nm[10:])
    with pytest.raises(DataError, match="must cover 400 to 700 nm to within half a band"):
        develop(
            capture.line_blocks, capture.white[..., 10:], capture.dark[..., 10:], short, TARGETS,
            kind="linear", full_scale=FULL_SCALE,
        )  # fmt: skip
    with pytest.raises(DataError, match="a line to yield; got 2 cubes, 0 lines"):
        capture.develop(lines=0)
    capture.counts = capture.counts[:, 1:]
    with pytest.raises(ShapeError, match=r"`counts` must be \(l, W, C\) with \(W, C\) = \(32, 108\)"):
        list(capture.develop())


@pytest.mark.realdata
@pytest.mark.skipif("HYPERSKIN_REALDATA" not in os.environ, reason="needs HYPERSKIN_REALDATA")
@pytest.mark.parametrize("kind", KINDS)
def test_a_measured_capture_has_its_known_reflectance(kind):
    from hyperskin.sources.lumo import Lumo

    source = Lumo()
    (original,) = source.find(Path(os.environ["HYPERSKIN_REALDATA"]) / "fx10")
    raw = source.open_raw(original.files[0].path.parent.parent, original.capture)
    development = develop(
        raw.line_blocks, raw.white_lines, raw.dark_lines, raw.bands, TARGETS,
        kind=kind, fwhm_nm=10.0, full_scale=raw.full_scale, keep_full=True,
    )  # fmt: skip
    (block,) = development
    assert block.full is not None
    np.testing.assert_allclose(block.full[0, 512, [2, 116, 227, 447]], [0.60583, 0.64549, 0.58597, 0.30357], atol=6e-6)
    assert (block.full.min(), block.full.max()) == (pytest.approx(0.125, abs=1e-5), pytest.approx(0.7802, abs=5e-5))
    assert block.full.mean(dtype=np.float64) == pytest.approx(0.488612, abs=5e-7)
    expected = resample_bands(block.full.astype(np.float64), raw.bands, VIS, kind=kind, fwhm_nm=10.0)
    np.testing.assert_allclose(block.cubes["vis"], expected, rtol=0, atol=1e-6)
    assert block.valid.all()
    assert development.counts()["bad_elements"] == 0
