"""A way to reconstruct + the test captures -> scores per image, band and subject, spectra panels, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from hyperskin.data.frames import Frame, PairFiles, Truth, read_frame, read_truth, read_visible
from hyperskin.errors import DataError
from hyperskin.metrics.summary import CaptureScores, Summary, score_capture, summarise
from hyperskin.metrics.truth import score_against_truth
from hyperskin.pairs import Pair
from hyperskin.skin.subject_gain import GainPrior
from hyperskin.steps.bare_skin import BareSkin, find_bare_skin
from hyperskin.steps.fidelity import FidelityCheck, SkinFidelity
from hyperskin.steps.subject_calibration import Calibration, CalibrationCheck

Reconstruct = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""An input (H, W, C_in) to a cube (H, W, C_out), both float32."""
OnFrame = Callable[[Frame, npt.NDArray[np.float32], BareSkin | None], None]
"""Is shown a capture, its estimate, and where its skin is."""

_SPREAD_SMALLEST = 1e-6
_PANEL_PIXELS = 1000


@dataclass(frozen=True)
class RegionSpectra:
    """Mean and spread of measured and reconstructed spectra over one subject's pixels.

    Attributes:
        subject: Whose they are.
        region: "subject" where a mask says so, else "frame".
        pixel_count: How many pixels; never fewer than 1000, so that no face can be seen in it.
        measured_mean: (C,) float64, reflectance; the others alike.
    """

    subject: str
    region: str
    pixel_count: int
    measured_mean: npt.NDArray[np.float64]
    measured_std: npt.NDArray[np.float64]
    reconstructed_mean: npt.NDArray[np.float64]
    reconstructed_std: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """All that an examination found; `degenerate` where some frame got one constant spectrum.

    `camera_metrics` and `exposure_metrics` are scores with the pictures of other cameras, and of other light, by metric
    key; `calibration` is what measuring each person once is worth, None where there was no prior for it.
    """

    scores: list[CaptureScores]
    summary: Summary
    spectra: list[RegionSpectra]
    fidelity: SkinFidelity
    degenerate: bool
    camera_metrics: dict[str, float] = field(default_factory=dict)
    exposure_metrics: dict[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Every number of it, by metric key."""
        calibrated = {} if self.calibration is None else self.calibration.metrics
        own = {**self.summary.metrics, **self.fidelity.metrics, **calibrated}
        return {**own, **self.camera_metrics, **self.exposure_metrics}


def evaluate(
    reconstruct: Reconstruct,
    files: Sequence[PairFiles],
    pair: Pair,
    *,
    camera: str,
    prior: GainPrior | None = None,
    progress: Callable[[Sequence[PairFiles]], Iterable[PairFiles]] = iter,
    on_frame: OnFrame = lambda _frame, _estimate, _skin: None,
) -> Evaluation:
    """Reconstruct every capture as a whole frame and score it.

    Args:
        reconstruct: The model.
        files: The captures, sorted by name.
        pair: The reconstruction task.
        camera: Which camera's RGB goes in.
        prior: How the model errs on people; with it the first capture of each calibrates the model for the others.
        progress: Wraps the captures, for a bar.
        on_frame: Shown every capture, for pictures.

    Raises:
        DataError: An estimate is not finite.
        EmptyMaskError: A capture's mask selects no valid pixel.
    """
    scores = []
    sums: dict[str, _SpectraSums] = {}
    fidelity = FidelityCheck(pair)
    calibration = None if prior is None else CalibrationCheck(pair, prior)
    degenerate = False
    for file in progress(files):
        frame = read_frame(file, pair, camera=camera)
        estimate = reconstruct(frame.input)
        require_finite(estimate, frame.capture.name)
        skin = find_bare_skin(frame, pair.target, read_visible(file.cube))
        truth = None if file.truth is None else read_truth(file.truth, pair)
        scores.append(_score(estimate, frame, skin, truth, pair, fidelity))
        if calibration is not None and skin is not None:
            calibration.add(frame, estimate, skin, truth)
        sums.setdefault(frame.capture.subject, _SpectraSums(pair.out_channels)).add(frame, estimate)
        degenerate = degenerate or is_constant(estimate)
        on_frame(frame, estimate, skin)
    spectra = [own.spectra(subject) for subject, own in sums.items() if own.count >= _PANEL_PIXELS]
    calibrated = None if calibration is None else calibration.result()
    return Evaluation(scores, summarise(scores), spectra, fidelity.result(), degenerate, calibration=calibrated)


def _score(
    estimate: npt.NDArray[np.float32],
    frame: Frame,
    skin: BareSkin | None,
    truth: Truth | None,
    pair: Pair,
    fidelity: FidelityCheck,
) -> CaptureScores:
    """Return one capture's scores, with those of its skin, and those against the truth where it is known."""
    scores = score_capture(
        estimate,
        frame.reference,
        capture=frame.capture.name,
        subject=frame.capture.subject,
        expression=frame.capture.expression,
        direction=frame.capture.direction,
        mask=frame.mask,
        valid=frame.valid,
        given=pair.given_indices,
    )
    more: dict[str, float] = {}
    if skin is not None:
        more |= fidelity.add(frame, skin.regions, estimate, truth)
        scores = replace(scores, skin_type=skin.skin_type, ita_deg=skin.ita_deg)
    if truth is not None:
        more |= score_against_truth(
            estimate, frame.reference, truth.reference, skin=truth.skin, mask=frame.mask, valid=frame.valid
        )
    return replace(scores, values=scores.values | more)


def is_constant(estimate: npt.NDArray[np.float32]) -> bool:
    """Return whether every pixel got the same spectrum, which a network that learned nothing does."""
    return float(estimate.std(axis=(0, 1), dtype=np.float64).max()) < _SPREAD_SMALLEST


def require_finite(estimate: npt.NDArray[np.float32], name: str) -> None:
    """Refuse an estimate of the capture called `name` that no score could be of."""
    if not np.all(np.isfinite(estimate)):
        raise DataError(f"A reconstruction must be finite; that of {name} is not: the training has diverged.")


class _SpectraSums:
    """Sums over a subject's pixels, capture after capture, in float64."""

    def __init__(self, band_count: int) -> None:
        self.count = 0
        self.masked = True
        self._sums = np.zeros((4, band_count))

    def add(self, frame: Frame, estimate: npt.NDArray[np.float32]) -> None:
        chosen = frame.valid if frame.mask is None else frame.valid & frame.mask
        self.masked = self.masked and frame.mask is not None
        measured = frame.reference[chosen].astype(np.float64)
        reconstructed = estimate[chosen].astype(np.float64)
        self.count += measured.shape[0]
        self._sums += [
            measured.sum(axis=0),
            np.square(measured).sum(axis=0),
            reconstructed.sum(axis=0),
            np.square(reconstructed).sum(axis=0),
        ]

    def spectra(self, subject: str) -> RegionSpectra:
        measured, measured_square, reconstructed, reconstructed_square = self._sums / self.count
        return RegionSpectra(
            subject=subject,
            region="subject" if self.masked else "frame",
            pixel_count=self.count,
            measured_mean=measured,
            measured_std=np.sqrt(np.maximum(measured_square - measured**2, 0)),
            reconstructed_mean=reconstructed,
            reconstructed_std=np.sqrt(np.maximum(reconstructed_square - reconstructed**2, 0)),
        )
