"""What measuring a person once is worth: one capture of each test subject calibrates the model for the others."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hyperskin.data.frames import Frame, Truth
from hyperskin.metrics.readings import summarise_readings
from hyperskin.metrics.sam import sam
from hyperskin.metrics.summary import Row
from hyperskin.pairs import Pair
from hyperskin.skin.fidelity import PREFIX, TRUTH, compare_maps
from hyperskin.skin.maps import skin_maps
from hyperskin.skin.subject_gain import GainPrior, subject_gain
from hyperskin.steps.bare_skin import BareSkin

READING_COUNTS = (0, 1, 5, 25)
"""So many spectra of a person are taken as measured; none is the model as it is."""

ANGLE = "sam/bare_skin"
"""The angle on bare skin alone, against the measured cube; `TRUTH` behind it against the noise-free one."""

_KEPT = ("_relative_error", f"_relative_error{TRUTH}")  # of melanin and blood
_MOST_PIXELS = 20_000

Bools = npt.NDArray[np.bool_]
Cube32 = npt.NDArray[np.float32]
Spectra32 = npt.NDArray[np.float32]
Pixels = tuple[npt.NDArray[np.intp], ...]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was found over all subjects who have two captures or more.

    Attributes:
        prior: How the model errs on people; it travels with the model.
        rows: One a capture and number of readings: `image`, `subject`, `measured` (the capture that gave the
            readings), `k` of them, and the scores.
        summary: What `summarise_readings` makes of them.
        metrics: The means by metric key, such as `calibrated_sam_bare_skin/k25`.
    """

    prior: GainPrior
    rows: list[Row] = field(default_factory=list)
    summary: list[Row] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What is known of a subject: which capture was measured, and the gains that its readings give, by their count."""

    capture: str
    gains: dict[int, npt.NDArray[np.float64]]


class CalibrationCheck:
    """Takes the test captures one after the other; the first of a subject is measured, the others are scored.

    A capture gives nothing to its own calibration, and of the first nothing stays but a gain for each count.
    """

    def __init__(self, pair: Pair, prior: GainPrior) -> None:
        """Begin with nobody measured."""
        self._pair = pair
        self._prior = prior
        self._measured: dict[str, _Measured] = {}
        self._rows: list[Row] = []

    def add(self, frame: Frame, estimate: Cube32, skin: BareSkin, truth: Truth | None) -> None:
        """Measure a subject's first capture, or score another one."""
        if not skin.regions.skin.any():
            return
        name, subject = frame.capture.name, frame.capture.subject
        pixels = thin(skin.regions.skin)
        measured = self._measured.get(subject)
        if measured is None:
            if not has_light(estimate[pixels]):
                return
            self._measured[subject] = _Measured(name, self._gains(name, frame.reference[pixels], estimate[pixels]))
            return
        scorer = _Scorer(self._pair, frame, pixels, truth)
        for count, gain in measured.gains.items():
            scores = scorer.score(estimate[pixels] * gain.astype(np.float32))
            self._rows.append({"image": name, "subject": subject, "measured": measured.capture, "k": count, **scores})

    def result(self) -> Calibration:
        """Return what all captures say together; empty but for the prior where nobody has two."""
        summary = summarise_readings(self._rows)
        return Calibration(self._prior, self._rows, summary, _to_metrics(summary))

    def _gains(self, name: str, measured: Spectra32, predicted: Spectra32) -> dict[int, npt.NDArray[np.float64]]:
        """Return a gain for every count of pixels that there are; each drawing holds the smaller ones."""
        shown = np.flatnonzero(measured.mean(axis=1) > 0)
        drawn = np.random.default_rng(zlib.crc32(name.encode())).permutation(shown)
        return {
            count: subject_gain(self._prior, measured[drawn[:count]], predicted)
            for count in READING_COUNTS
            if count <= len(drawn)
        }


def has_light(spectra: Spectra32) -> bool:
    """Return whether skin (P, C) reflects anything, which a network that has learned nothing may not say of it."""
    return float(spectra.mean(dtype=np.float64)) > 0


def thin(skin: Bools) -> Pixels:
    """Return rows and columns of bare skin, at most some 20 000 evenly chosen pixels of it."""
    rows, columns = np.nonzero(skin)
    step = -(-len(rows) // _MOST_PIXELS) or 1
    return rows[::step], columns[::step]


class _Scorer:
    """Scores one capture's skin again and again; what it is held against is read once."""

    def __init__(self, pair: Pair, frame: Frame, pixels: Pixels, truth: Truth | None) -> None:
        self._bands = pair.target
        everywhere = np.ones((1, len(pixels[0])), dtype=np.bool_)
        measured = frame.reference[pixels][None]
        self._sides = {"": (measured, self._read(measured), everywhere)}
        if truth is not None and (bare := truth.skin[pixels][None]).any():
            true = truth.reference[pixels][None]
            told = self._read(true) | {name: values[pixels][None] for name, values in truth.maps.items()}
            self._sides[TRUTH] = (true, told, bare)

    def score(self, spectra: Spectra32) -> dict[str, float]:
        """Return the scores of reconstructed spectra (P, C), by metric key."""
        estimate = spectra[None]
        kept = self._read(estimate)
        values: dict[str, float] = {}
        for suffix, (reference, told, where) in self._sides.items():
            values[f"{ANGLE}{suffix}"] = sam(estimate, reference, where).value
            found = compare_maps(kept, told, where, suffix=suffix).values
            values |= {key: value for key, value in found.items() if key.endswith(_KEPT)}
        return values

    def _read(self, cube: Cube32) -> dict[str, npt.NDArray[np.float32]]:
        return skin_maps(cube, self._bands).values


def _to_metrics(summary: Sequence[Row]) -> dict[str, float]:
    """Return the means by metric key: the first part says what, the second of how many readings."""
    found = {}
    for row in summary:
        what = str(row["score"]).removeprefix(PREFIX).replace("/", "_")
        found[f"calibrated_{what}/k{row['k']}"] = float(row["mean"])
        if row["score"] == ANGLE:
            found["n_images/calibrated"] = float(row["n_images"])
    return found
