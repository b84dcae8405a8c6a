"""Reflectance to counts: a pushbroom scanner like Specim's FX10 with its faults, and its two references."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.bands import FX10
from hyperskin.errors import DataError, ShapeError
from hyperskin.phantom.recipe import random_stream

Plane = npt.NDArray[np.float32]
"""One value per detector element, (W, C): pixel of the line, band."""

FULL_SCALE = 4095
"""Largest count: 12 bits."""

_OFFSET_DN = 96
_FULL_WELL_ELECTRONS = 170e3
_ELECTRONS_PER_DN = _FULL_WELL_ELECTRONS / (FULL_SCALE - _OFFSET_DN)
_READ_NOISE_DN = 60.0 / _ELECTRONS_PER_DN
_WHITE_DN = 0.82 * (FULL_SCALE - _OFFSET_DN)

_LAMP_KELVIN = 2950.0
_SECOND_RADIATION_NM_K = 1.438776877e7  # CODATA 2018
_QUANTUM_EFFICIENCY = (
    (390, 420, 450, 500, 560, 600, 700, 800, 900, 960, 1005),
    (0.18, 0.34, 0.48, 0.60, 0.66, 0.66, 0.60, 0.46, 0.29, 0.20, 0.11),
)

_GAIN_SPREAD = 0.01
_VIGNETTING = 0.18
_SMILE_NM = 0.5
_KEYSTONE_PX = 0.3

_COLUMN_DARK_DN = 3.0
_ELEMENT_DARK_DN = 1.2
_HOT_SHARE = 0.0003
_HOT_DN = (150.0, 1500.0)
_LOST_SHARE = 0.00015
_STUCK_DN = 4.0 * FULL_SCALE

_DRIFT_DN = 0.35
_COLUMN_DRIFT_DN = 0.4


class Sensor:
    """A line of `width` pixels times the FX10's 448 bands; one seed and width, one instrument.

    Whatever belongs to the instrument is drawn once: the gain and the dark level of every element, the elements that
    are hot, dead or stuck. Whatever belongs to a capture has a stream of its own, and so has every line of it: a line
    gets the same counts with whichever others it is exposed.

    The noise follows the EMVA 1288 standard: counts = offset + dark + signal, with a variance of signal / (electrons
    per count) + read noise, rounded. The numbers are assumptions, chosen for counts that look like an FX10's, none
    measured on one. Full well 170 ke- at full scale; read noise 60 e-; offset 96 of 4095 counts; white level 82 % of
    the range above it. Gains differ by 1 %; a vignette takes 18 % at both ends of the line. Dark levels differ by 3
    counts per column and 1.2 per element; 0.03 % of the elements are hot, 150 to 1500 counts above the others; 0.015 %
    are dead or stuck at full scale, half each. Between references and scan the dark level drifts by N(0.35) counts as a
    whole and N(0.4) per column, which makes the stripes of the darkest bands. At both ends of the line the spectrograph
    shifts the spectrum by 0.5 nm (smile) and images the first and the last band 0.3 pixels apart (keystone); both move
    light between neighbouring elements in proportion.

    Attributes:
        noise: Times the noise of shots and reading, and the drift; at 0 counts are exact but for the rounding.
        gain: Response of every element in units of the middle of the line, (W, C), float32; 0 where it is dead.
        dark: Counts without light, (W, C), float32, without drift; far above full scale where it is stuck.
        bad: (W, C) bool, the elements that are hot, dead or stuck.
    """

    def __init__(self, width: int, *, seed: int, noise: float = 1.0) -> None:
        if width < 2 or noise < 0:
            raise DataError(f"A sensor needs 2 pixels or more and no negative noise; got ({width=}, {noise=:g}).")
        self.noise = noise
        self._seed = seed
        across = np.linspace(-1.0, 1.0, width)[:, np.newaxis]
        shape = (width, len(FX10))
        hot, dead, stuck = self._draw_bad(shape)
        self.bad = hot > 0
        self.bad |= dead | stuck
        spread = _GAIN_SPREAD * random_stream(seed, "sensor", "gain").standard_normal(shape)
        self.gain = _as_plane(np.where(dead, 0.0, (1.0 + spread) * (1.0 - _VIGNETTING * across**2)))
        draw = random_stream(seed, "sensor", "dark").standard_normal
        level = _OFFSET_DN + _COLUMN_DARK_DN * draw((width, 1)) + _ELEMENT_DARK_DN * draw(shape)
        self.dark = _as_plane(np.where(stuck, _STUCK_DN, level + hot))
        self._dark_variance = _as_plane(_READ_NOISE_DN**2 + hot / _ELECTRONS_PER_DN)
        self._lamp = white_spectrum().astype(np.float32)
        self._to_next_band, self._from_right, self._from_left = _plan_distortion(across)
        self._white = self._collect(_as_plane(np.broadcast_to(panel_reflectance(FX10.centres_nm()), shape)))
        self._no_light = np.zeros_like(self.dark)

    def expose(
        self, reflectance: npt.NDArray[np.floating[Any]], capture: str, first_line: int = 0
    ) -> npt.NDArray[np.uint16]:
        """Return the counts of some lines of a capture.

        Args:
            reflectance: What the lines look like, (l, W, 448) at the FX10's band centres, unitless, not negative; above
                1 in highlights, which saturate from about 1.2 where the sensor sees best.
            capture: Name of the capture; it decides noise and drift.
            first_line: Number of the first of the lines in the capture.

        Returns:
            (l, W, 448) uint16 within 0 to 4095. No value depends on the other lines of the call.

        Raises:
            ShapeError: The lines do not fit the sensor.
            DataError: A reflectance is negative or not finite.
        """
        if reflectance.ndim != 3 or reflectance.shape[1:] != self.dark.shape:
            raise ShapeError(
                f"`reflectance` must be (l, W, C) with (W, C) = {self.dark.shape}; got {reflectance.shape}."
            )
        if reflectance.size and not (reflectance.min() >= 0 and reflectance.max() < np.inf):
            raise DataError(
                f"`reflectance` must be finite and not negative; got {reflectance.min():g} to {reflectance.max():g}."
            )
        dark = self.dark + self._drift(capture)
        counts = np.empty(reflectance.shape, dtype=np.uint16)
        for number, line in enumerate(reflectance):
            counts[number] = self._read_out(self._collect(line), dark, capture, "scene", first_line + number)
        return counts

    def dark_lines(self, count: int, capture: str, first_line: int = 0) -> npt.NDArray[np.uint16]:
        """Return `count` lines of the capture's dark reference from `first_line` on, (count, W, 448) uint16."""
        return self._record(self._no_light, count, capture, "dark", first_line)

    def white_lines(self, count: int, capture: str, first_line: int = 0) -> npt.NDArray[np.uint16]:
        """Return `count` lines of the capture's white reference from `first_line` on, (count, W, 448) uint16."""
        return self._record(self._white, count, capture, "white", first_line)

    def noise_sd(self, reflectance: npt.NDArray[np.floating[Any]], *, reference_lines: int) -> npt.NDArray[np.float64]:
        """Return the standard deviation of calibrated reflectance that this sensor's noise makes.

        Args:
            reflectance: Of one line, anything that broadcasts to (W, 448), unitless.
            reference_lines: Lines over which the dark and the white reference are averaged.

        Returns:
            (W, 448) float64, for (counts - dark) / (white - dark), so in units of the white reference; NaN at bad
            elements. It counts shot and read noise of scene and references, rounding, and the columns' own drift. The
            drift of the whole detector is left out: it moves all of a capture alike. Rounding is taken as noise of
            1/12, which needs noise of half a count or more.

        Source:
            First-order propagation; f = (c - d) / (w - d) has df/dc = 1 / (w - d), df/dw = -f / (w - d) and
            df/dd = (f - 1) / (w - d). Noise of a count after EMVA 1288.
        """
        light = self._collect(_as_plane(np.broadcast_to(reflectance, self.dark.shape))).astype(np.float64)
        white = np.where(self.bad, np.nan, self._white)
        share = light / white
        own = self._variance(light) + (self.noise * _COLUMN_DRIFT_DN) ** 2
        references = share**2 * self._variance(white) + (1.0 - share) ** 2 * self._variance(np.zeros(()))
        return np.asarray(np.sqrt(own + references / reference_lines) / white)

    def _draw_bad(self, shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the excess counts of the hot elements, and which are dead, and which stuck, (W, C) each."""
        stream = random_stream(self._seed, "sensor", "bad")
        place, excess = stream.random(shape), stream.uniform(*_HOT_DN, shape)
        is_dead, is_stuck = place < _LOST_SHARE / 2, place >= 1 - _LOST_SHARE / 2
        is_hot = (place >= 0.5) & (place < 0.5 + _HOT_SHARE)
        return np.where(is_hot, excess, 0.0), is_dead, is_stuck

    def _drift(self, capture: str) -> Plane:
        """Return by how much the dark level of each column has changed since the references, (W, 1)."""
        draw = random_stream(self._seed, "sensor", capture, "drift").standard_normal
        return _as_plane(self.noise * (_DRIFT_DN * draw() + _COLUMN_DRIFT_DN * draw((len(self.dark), 1))))

    def _collect(self, line: npt.NDArray[np.floating[Any]]) -> Plane:
        """Return the counts that the light of one line is worth, (W, C), without dark level and noise."""
        light: Plane = np.multiply(line, self._lamp, dtype=np.float32)
        light[:, :-1] += self._to_next_band * np.diff(light, axis=1)
        step = np.diff(light, axis=0)
        light[:-1] += self._from_right * step
        light[1:] -= self._from_left * step
        light *= self.gain
        return light

    def _read_out(self, light: Plane, dark: Plane, capture: str, what: str, line: int) -> npt.NDArray[np.float32]:
        """Return the counts of one line, (W, C), whole numbers within range."""
        counts = light + dark
        if self.noise > 0:
            spread = light * np.float32(1 / _ELECTRONS_PER_DN)
            spread += self._dark_variance
            np.sqrt(spread, out=spread)
            spread *= np.float32(self.noise)
            # Gauss for Poisson: where so few electrons come that they differ, read noise hides it.
            draws = random_stream(self._seed, "sensor", capture, what, str(line))
            spread *= draws.standard_normal(spread.shape, dtype=np.float32)
            counts += spread
        np.rint(counts, out=counts)
        np.clip(counts, 0, FULL_SCALE, out=counts)
        return counts

    def _record(self, light: Plane, count: int, capture: str, what: str, first_line: int) -> npt.NDArray[np.uint16]:
        counts = np.empty((count, *self.dark.shape), dtype=np.uint16)
        for number in range(count):
            counts[number] = self._read_out(light, self.dark, capture, what, first_line + number)
        return counts

    def _variance(self, light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the variance of a count in counts squared, rounding included."""
        return np.asarray(self.noise**2 * (light / _ELECTRONS_PER_DN + self._dark_variance) + 1 / 12)


def white_spectrum() -> npt.NDArray[np.float64]:
    """Return the counts above dark that a perfect reflector gives in the middle of the line, (448,), float64.

    A halogen lamp of 2950 K (its photons, by Planck's law), the quantum efficiency of a silicon sensor and a lens that
    is opaque towards the ultraviolet; 82 % of the range at the peak. Efficiency and lens are assumptions.
    """
    centres_nm = FX10.centres_nm()
    photons = centres_nm**-4 / np.expm1(_SECOND_RADIATION_NM_K / (centres_nm * _LAMP_KELVIN))
    efficiency = np.interp(centres_nm, *_QUANTUM_EFFICIENCY)
    lens = 1.0 - 0.75 * np.exp(-(centres_nm - 390.0) / 18.0)
    spectrum = photons * efficiency * lens
    return np.asarray(_WHITE_DN * spectrum / spectrum.max())


def panel_reflectance(wavelength_nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the reflectance of the white reference, Teflon: about 0.95, less towards the ultraviolet (assumed).

    Examples:
        >>> panel_reflectance(np.array([397.0, 1000.0])).round(3).tolist()
        [0.93, 0.95]
    """
    return np.asarray(0.95 - 0.02 * np.exp(-(wavelength_nm - 397.0) / 60.0))


def _plan_distortion(across: npt.NDArray[np.float64]) -> tuple[Plane, Plane, Plane]:
    """Return the weights of the next band (W, C-1), and of the pixel to the right and to the left (W-1, C).

    `across` runs from -1 to 1 along the line, (W, 1). The last band has no next one and stays.
    """
    smile = _SMILE_NM * across**2 / np.diff(FX10.centres_nm())
    along = np.linspace(-0.5, 0.5, len(FX10))
    keystone_px = _KEYSTONE_PX * across * along
    return _as_plane(smile), _as_plane(np.maximum(keystone_px, 0)[:-1]), _as_plane(np.maximum(-keystone_px, 0)[1:])


def _as_plane(values: npt.NDArray[np.floating[Any]]) -> Plane:
    return np.ascontiguousarray(values, dtype=np.float32)
