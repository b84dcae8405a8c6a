import itertools
import math

import numpy as np
import pytest

from hyperskin.errors import DataError
from hyperskin.metrics.intervals import clustered_mean, distinct_draws, holm

VALUES = {"p001": [0.1, 0.2], "p002": [0.4], "p003": [0.3, 0.5, 0.1]}


def test_two_subjects_can_be_drawn_in_three_ways():
    """Means 0, 1/2 and 1 with weights 1/4, 1/2, 1/4: a 95 % interval is all of it, one of 40 % is the middle."""
    values = {"p001": [0.0], "p002": [1.0]}
    wide, narrow = clustered_mean(values), clustered_mean(values, level=0.4)
    assert (wide.mean, wide.low, wide.high) == (0.5, 0.0, 1.0)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_each_capture_counts_once_in_the_mean():
    found = clustered_mean(VALUES)
    assert found.mean == pytest.approx(1.6 / 6)
    assert (found.value_count, found.subject_count) == (6, 3)


def test_shift_and_scale_carry_over():
    moved = clustered_mean({who: [3 * value + 1 for value in own] for who, own in VALUES.items()})
    found = clustered_mean(VALUES)
    assert (moved.low, moved.high) == pytest.approx((3 * found.low + 1, 3 * found.high + 1))


def test_the_order_of_subjects_does_not_matter():
    assert clustered_mean(dict(reversed(VALUES.items()))) == clustered_mean(VALUES)


def test_one_subject_has_no_interval():
    found = clustered_mean({"p001": [0.1, 0.3]})
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize("values", [{}, {"p001": []}, {"p001": [float("nan")]}])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(DataError, match="must hold a finite number for every subject"):
        clustered_mean(values)


def _reference_interval(values):
    """Return the interval from every possible draw, each as likely as the next."""
    subjects = sorted(values)
    means = []
    for draw in itertools.product(subjects, repeat=len(subjects)):
        drawn = [value for who in draw for value in values[who]]
        means.append(sum(drawn) / len(drawn))
    return np.quantile(means, [0.025, 0.975], method="inverted_cdf")


def test_interval_is_that_of_all_possible_draws():
    found = clustered_mean(VALUES)
    assert (found.low, found.high) == pytest.approx(tuple(_reference_interval(VALUES)), abs=1e-12)


def test_six_captures_of_a_face_are_not_six_subjects():
    faces = np.repeat(np.random.default_rng(0).normal(0, 1, 8), 6)
    clustered = clustered_mean({f"p{i}": faces[6 * i : 6 * i + 6] for i in range(8)}, seed=1)
    naive = clustered_mean({f"q{i:02}": [value] for i, value in enumerate(faces)}, seed=1)
    assert clustered.high - clustered.low > 1.8 * (naive.high - naive.low)


def test_the_interval_is_that_of_normal_theory_where_that_holds():
    values = np.random.default_rng(3).normal(0.02, 0.01, 200)
    found = clustered_mean({f"p{i:03}": [value] for i, value in enumerate(values)})
    half = 1.96 * values.std() / math.sqrt(200)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_swapping_two_models_turns_the_sign():
    there = clustered_mean(VALUES, seed=5)
    back = clustered_mean({who: [-value for value in own] for who, own in VALUES.items()}, seed=5)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))


def test_draws_are_counted():
    for count in (1, 2, 3, 4):
        ways = {tuple(sorted(draw)) for draw in itertools.product(range(count), repeat=count)}
        assert distinct_draws(count) == len(ways)


def _reference_holm(p_values):
    """Return for each the largest, over those not above it, of p times how many are not below that."""
    return [
        max(min(1, sum(p >= other for p in p_values) * other) for other in p_values if other <= own) for own in p_values
    ]


@pytest.mark.parametrize("p_values", [[], [0.03], [0.01, 0.04, 0.03], [0.2, 0.9, 0.001, 0.04], [0.5, 0.7]])
def test_holm_is_the_plain_restatement(p_values):
    assert holm(p_values) == pytest.approx(_reference_holm(p_values))
    assert all(corrected >= p for corrected, p in zip(holm(p_values), p_values, strict=True))
