"""One person's readings of skin -> a gain by band for what a model makes of that person, with a prior from others."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.cube import Spectra
from hyperskin.errors import DataError, ShapeError

Floats = npt.NDArray[np.float64]

MOST_READINGS = 25
"""However many readings there are, they count as so many at most: all pixels of one capture share its light and pose,
and taken as independent they would make other captures worse."""

_FLOOR = 0.01  # standard deviation of a log shape that no number of readings takes away
_DARKEST = 0.01  # of a spectrum's mean: where noise leaves less light, so much
_LEAST_PEOPLE = 2


@dataclass(frozen=True, eq=False)
class GainPrior:
    """How a model errs on people, before anything of one person is known: in the logarithm of the shape of skin.

    A shape is a spectrum divided by its mean over bands, so that brightness does not matter.

    Attributes:
        bands: Those of the spectra, C of them.
        mean: What has to be added to the log shape of the model's skin, on average over people, (C,).
        covariance: Of that over people, (C, C).
        reading_covariance: Of the log shape of one reading around that of the whole skin, (C, C).
        subject_count: People it was learned from.
    """

    bands: Bands
    mean: Floats
    covariance: Floats
    reading_covariance: Floats
    subject_count: int


@dataclass(eq=False)
class PriorSums:
    """What a prior needs to know of the people seen so far.

    Attributes:
        bands: Of their spectra.
    """

    bands: Bands
    _differences: list[Floats] = field(default_factory=list, init=False, repr=False)
    _scatter: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start from nobody."""
        self._scatter = np.zeros((len(self.bands), len(self.bands)))

    @property
    def is_enough(self) -> bool:
        """Whether the people seen so far make a prior: two of them do."""
        return len(self._differences) >= _LEAST_PEOPLE

    def add(self, measured: Spectra, predicted: Spectra) -> None:
        """Take in one person.

        Args:
            measured: Reflectance of the person's skin, pixel by pixel, (P, C).
            predicted: What the model makes of the same skin, (P, C).

        Raises:
            ShapeError: They are not spectra on the bands.
            DataError: There is no spectrum, or one is not finite or black.
        """
        self._differences.append(_log_difference(measured, predicted, self.bands))
        shapes = _log_shape(np.asarray(measured, dtype=np.float64))
        spread = shapes - shapes.mean(axis=0)
        self._scatter += spread.T @ spread / len(spread)

    def prior(self) -> GainPrior:
        """Return the prior; people count equally, however much of their skin was seen.

        Raises:
            DataError: There are fewer than two people.
        """
        if not self.is_enough:
            raise DataError(
                f"A prior of how people differ needs {_LEAST_PEOPLE} people or more; got {len(self._differences)}."
            )
        differences = np.stack(self._differences)
        return GainPrior(
            bands=self.bands,
            mean=differences.mean(axis=0),
            covariance=shrunk_covariance(differences),
            reading_covariance=self._scatter / len(differences),
            subject_count=len(differences),
        )


def subject_gain(prior: GainPrior, readings: Spectra, predicted: Spectra, *, floor: float = _FLOOR) -> Floats:
    """Return by what the model's spectra of one person's skin are to be multiplied.

    With z the difference of the log shapes of the mean reading and of the mean prediction, the log gain is the mean of
    its posterior, m + C (C + N)^-1 (z - m): m and C are the prior's mean and covariance, and N that of the mean of
    the readings. Nothing is trained.

    Args:
        prior: How the model errs on people.
        readings: Reflectance of the person's skin as it was measured, (K, C), of any brightness, in no order. None
            at all, (0, C), are allowed: then nothing is changed.
        predicted: What the model makes of the person's skin, (P, C): of a photo or capture that is not the one to
            be improved.
        floor: Standard deviation of a log shape that no number of readings takes away.

    Returns:
        Gains, (C,), float64, all above 0; ones for no reading.

    Raises:
        ShapeError: They are not spectra on the prior's bands.
        DataError: There is no predicted spectrum, or one is not finite or black.

    Source:
        The conditional mean of a normal variable under normal noise, such as Bishop (2006), Pattern Recognition and
        Machine Learning, eq. 2.116.

    Examples:
        >>> two = Bands((500.0, 600.0))
        >>> prior = GainPrior(two, np.zeros(2), np.eye(2), np.zeros((2, 2)), subject_count=9)
        >>> subject_gain(prior, np.array([[0.2, 0.6]]), np.array([[0.4, 0.4]]), floor=0.0).round(3).tolist()
        [0.5, 1.5]
    """
    if len(readings) == 0:
        return np.ones(len(prior.bands))
    difference = _log_difference(readings, predicted, prior.bands)
    noise = prior.reading_covariance / min(len(readings), MOST_READINGS) + floor**2 * np.eye(len(prior.bands))
    surprise = np.linalg.solve(prior.covariance + noise, difference - prior.mean)
    gain: Floats = np.exp(prior.mean + prior.covariance @ surprise)
    return gain


def shrunk_covariance(samples: Floats) -> Floats:
    """Return the covariance of few samples of many numbers, drawn towards a multiple of the identity.

    Args:
        samples: (N, C), N at least 2.

    Returns:
        (C, C), float64, positive semidefinite; the more samples, the nearer to their own covariance.

    Source:
        Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, section 3.2.
    """
    count, size = samples.shape
    spread = samples - samples.mean(axis=0)
    own = spread.T @ spread / count
    target = np.trace(own) / size * np.eye(size)
    distance = float(np.square(own - target).sum())
    doubt = sum(float(np.square(np.outer(each, each) - own).sum()) for each in spread) / count**2
    share = min(doubt / distance, 1.0) if distance > 0 else 1.0
    shrunk: Floats = (share * target + (1 - share) * own) * count / (count - 1)
    return shrunk


def _log_difference(measured: Spectra, predicted: Spectra, bands: Bands) -> Floats:
    """Return log shape of the mean measured spectrum minus that of the mean predicted one, (C,)."""
    means = [
        _mean_spectrum(name, spectra, bands) for name, spectra in (("measured", measured), ("predicted", predicted))
    ]
    difference: Floats = _log_shape(means[0]) - _log_shape(means[1])
    return difference


def _mean_spectrum(name: str, spectra: Spectra, bands: Bands) -> Floats:
    if spectra.ndim != 2 or spectra.shape[1] != len(bands):
        raise ShapeError(f"The {name} spectra must be (P, {len(bands)}) like the bands; got shape {spectra.shape}.")
    mean = spectra.mean(axis=0, dtype=np.float64) if len(spectra) else np.zeros(len(bands))
    if not np.isfinite(mean).all() or mean.mean() <= 0:
        what = "NaN or infinity" if not np.isfinite(mean).all() else "nothing but black" if len(spectra) else "none"
        raise DataError(f"The {name} spectra of skin must be finite and reflect some light; got {what}.")
    return mean


def _log_shape(spectra: Floats) -> Floats:
    """Return log(spectrum / its mean over bands), the last axis; what noise took below the darkest is that dark."""
    shape = spectra / np.maximum(spectra.mean(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    log: Floats = np.log(np.maximum(shape, _DARKEST))
    return log
