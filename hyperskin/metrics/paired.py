"""Is one model better than another on the same subjects, or did chance place them so?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyperskin.errors import DataError
from hyperskin.metrics.pixels import Float64

MOST_EXACT = 20
"""Up to so many subjects every flip of signs is counted; a million of them take 8 MB and some 20 ms."""

_DRAWS = 20_000
_ROUNDING = 1e-12  # of the sum of sizes: flips that tie with what was seen differ from it by rounding


@dataclass(frozen=True)
class SignFlipTest:
    """How likely a difference of this size is if neither model is better.

    Attributes:
        subject_count: Subjects compared.
        better_count: Subjects whose difference is below zero: the first model has the lower score.
        mean_difference: Mean over subjects of the first model's score minus the second's.
        p: Share of the flips whose mean difference is as far from zero as the one seen, or farther; within (0, 1].
        smallest_p: What `p` cannot go below, however clear the difference.
    """

    subject_count: int
    better_count: int
    mean_difference: float
    p: float
    smallest_p: float


def sign_flip_test(differences: Sequence[float], *, seed: int = 0, most_exact: int = MOST_EXACT) -> SignFlipTest:
    """Return the paired two-sided permutation test of mean differences by subject.

    If neither model is better, each subject's difference might as well have had the other sign. All 2^n ways to sign
    them are counted; with more than `most_exact` subjects 20 000 random ways, and the one seen.

    Args:
        differences: One number a subject: mean score of the first model minus that of the second, over the subject's
            captures. Captures of one face are not independent, subjects are.
        seed: Of the random ways.
        most_exact: Number of subjects up to which all ways are counted.

    Returns:
        The test; for scores where lower is better, `better_count` subjects are in favour of the first model.

    Raises:
        DataError: There is no difference, or one is not finite.

    Source:
        Fisher (1935), The Design of Experiments, section 21; Pitman (1937), Suppl. J. R. Stat. Soc. 4, 119-130. Ernst
        (2004), Statistical Science 19, 676-685 for the exact form; Phipson and Smyth (2010),
        doi:10.2202/1544-6115.1585 for counting what was seen among the random ways, so that p is never zero.

    Examples:
        >>> sign_flip_test([-0.01, -0.02, -0.03])
        SignFlipTest(subject_count=3, better_count=3, mean_difference=-0.02, p=0.25, smallest_p=0.25)
    """
    _require_finite(differences)
    total = math.fsum(differences)
    sizes = np.abs(np.asarray(differences, dtype=np.float64))
    threshold = abs(total) - _ROUNDING * math.fsum(sizes)
    count = len(sizes)
    if count <= most_exact:
        sums = _all_sums(sizes)
        p, smallest = float(np.mean(np.abs(sums) >= threshold)), 2.0 ** (1 - count)
    else:
        sums = _random_sums(sizes, seed)
        p, smallest = (1 + int(np.count_nonzero(np.abs(sums) >= threshold))) / (1 + _DRAWS), 1 / (1 + _DRAWS)
    better = sum(difference < 0 for difference in differences)
    return SignFlipTest(count, better, total / count, p, smallest)


def _all_sums(sizes: Float64) -> Float64:
    """Return the sum of `sizes` for every way to sign them, up to a common sign, which changes no size of a sum."""
    sums = sizes[:1]
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _random_sums(sizes: Float64, seed: int) -> Float64:
    signs = 1 - 2 * np.random.default_rng(seed).integers(2, size=(_DRAWS, len(sizes)), dtype=np.int8)
    return signs @ sizes


def _require_finite(differences: Sequence[float]) -> None:
    if not len(differences):
        raise DataError("`differences` must hold at least one subject; got none.")
    wrong = [difference for difference in differences if not math.isfinite(difference)]
    if wrong:
        raise DataError(f"`differences` must be finite; got {wrong[0]!r}.")
