import itertools
import math

import numpy as np
import pytest
from scipy.stats import permutation_test

from hyperskin.errors import DataError
from hyperskin.metrics.paired import SignFlipTest, sign_flip_test


def _reference_p(differences):
    """Return p by signing the differences in every way, one after the other."""
    seen = abs(math.fsum(differences))
    ways = list(itertools.product([1, -1], repeat=len(differences)))
    sums = [abs(math.fsum(sign * value for sign, value in zip(way, differences, strict=True))) for way in ways]
    return sum(value >= seen * (1 - 1e-9) for value in sums) / len(ways)


def _differences(count, seed=0, shift=0.3):
    return list(np.random.default_rng(seed).normal(size=count) + shift)


# Solved by hand


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([-1, -2, -3], 2 / 8),  # -6 and 6
        ([1, 2, 4], 2 / 8),
        ([-1, 2, 4], 4 / 8),  # 5, 7 and their opposites
        ([1, -1], 1),
        ([5], 1),
        ([0, 0, 0], 1),
        ([0, -1, -2], 4 / 8),  # the sign of nothing is nothing
        ([1] * 5, 2 / 32),
        ([1, 1, 1, 1, -1], 12 / 32),  # 3 or more: one sign of five differs, or none
    ],
)
def test_p_is_the_share_of_signings_that_lie_as_far_out(differences, p):
    assert sign_flip_test(differences).p == p


def test_better_is_below_zero_and_the_mean_is_over_subjects():
    assert sign_flip_test([-0.25, 0.5, 0.0, -1.0]) == SignFlipTest(
        subject_count=4, better_count=2, mean_difference=-0.1875, p=0.75, smallest_p=0.125
    )


def test_equal_sums_count_as_equal_though_they_round_differently():
    assert sign_flip_test([0.1, 0.2, 0.3]).p == sign_flip_test([1, 2, 3]).p == 0.25
    assert sign_flip_test([0.1, 0.2, -0.3]).p == 1


# Laws


@pytest.mark.parametrize("count", [2, 7, 25])
def test_neither_a_common_sign_nor_a_factor_nor_the_order_moves_p(count):
    differences = _differences(count)
    p = sign_flip_test(differences).p
    assert sign_flip_test([-value for value in differences]).p == p
    assert sign_flip_test([1024 * value for value in differences]).p == p
    if count < 20:
        assert sign_flip_test(differences[::-1]).p == p


@pytest.mark.parametrize("count", [1, 3, 10, 20, 30])
def test_p_never_goes_below_what_can_be_reached(count):
    result = sign_flip_test([1.0] * count)
    assert result.p == result.smallest_p > 0


def test_under_no_difference_p_is_uniform():
    p = np.array([sign_flip_test(_differences(8, seed, shift=0)).p for seed in range(2000)])
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 2000))


# A slow second formulation, and a witness


@pytest.mark.parametrize("count", [1, 2, 3, 6, 11])
@pytest.mark.parametrize("seed", [0, 1])
def test_p_is_that_of_the_slow_formulation(count, seed):
    differences = [round(value, 1) for value in _differences(count, seed)]  # some tie
    assert sign_flip_test(differences).p == _reference_p(differences)


@pytest.mark.parametrize("count", [3, 9])
def test_p_is_that_of_scipy(count):
    differences = np.array(_differences(count))
    witness = permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_test(list(differences)).p == pytest.approx(witness.pvalue)


def test_random_signings_come_near_all_of_them_and_are_the_same_again():
    differences = _differences(18, shift=0.4)
    exact, drawn = sign_flip_test(differences), sign_flip_test(differences, most_exact=10)
    assert 0.01 < exact.p < 0.9
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 20_000))
    assert sign_flip_test(differences, most_exact=10) == drawn
    assert sign_flip_test(differences, most_exact=10, seed=1) != drawn


@pytest.mark.parametrize("differences", [[], [0.1, math.nan], [math.inf]])
def test_what_is_no_difference_is_refused(differences):
    with pytest.raises(DataError, match="`differences` must"):
        sign_flip_test(differences)
