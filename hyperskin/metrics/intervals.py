"""How sure a mean is when some captures show the same face: a bootstrap over subjects, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hyperskin.errors import DataError


@dataclass(frozen=True)
class Interval:
    """A mean over captures and how far it may be off.

    Attributes:
        mean: Each capture counts once.
        low: Lower end of the interval; None for a single subject, which has none.
        high: Upper end.
        value_count: Captures.
        subject_count: Subjects they belong to.
    """

    mean: float
    low: float | None
    high: float | None
    value_count: int
    subject_count: int


def clustered_mean(
    values: Mapping[str, Sequence[float]], *, seed: int = 0, level: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Return the mean of all values with a percentile interval that draws whole subjects.

    Captures of one face are not independent, so each draw takes subjects, with all their captures.

    Args:
        values: One number a capture, by subject; none of them empty.
        seed: Of the draws.
        level: Probability the interval stands for.
        resamples: Number of draws.

    Raises:
        DataError: There is no value, or one is not finite.

    Source:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13; resampling of clusters after Davison
        and Hinkley (1997), section 3.8.

    Examples:
        >>> clustered_mean({"p001": [0.1, 0.3]})
        Interval(mean=0.2, low=None, high=None, value_count=2, subject_count=1)
    """
    sums = np.array([math.fsum(own) for _, own in sorted(values.items())])
    counts = np.array([len(own) for _, own in sorted(values.items())])
    if not sums.size or not counts.all() or not np.isfinite(sums).all():
        raise DataError("`values` must hold a finite number for every subject; got none, or one that is not finite.")
    mean, subject_count = math.fsum(sums) / int(counts.sum()), len(sums)
    if subject_count < 2:
        return Interval(mean, None, None, int(counts.sum()), subject_count)
    draws = np.random.default_rng(seed).integers(subject_count, size=(resamples, subject_count))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), int(counts.sum()), subject_count)


def distinct_draws(subject_count: int) -> int:
    """Return how many different samples a bootstrap of so many subjects can draw, order aside.

    Examples:
        >>> [distinct_draws(count) for count in (1, 3, 4)]
        [1, 10, 35]
    """
    return math.comb(2 * subject_count - 1, subject_count)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for how many were looked at, in their order.

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6, 65-70.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    so_far = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = so_far
    return corrected
