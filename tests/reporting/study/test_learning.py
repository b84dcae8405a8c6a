"""Whether a training was still falling at its end, and the mean of curves whose points stand elsewhere."""

import math

import numpy as np
import pytest

from hyperskin.reporting.study.learning import curve_of, find_ending, late_improvement, mean_curve, taken

FALLING = tuple((epoch, 1.0 / epoch) for epoch in range(1, 10))
FLAT = tuple((epoch, 0.5 if epoch < 4 else 0.2) for epoch in range(1, 10))


def _curves(pool, *curves, **more):
    return pool({"hrnet": [None] * len(curves)}, hrnet={"curve": curves[0], **more}).groups[0]


def test_what_the_last_third_was_good_for():
    assert late_improvement(FALLING) == pytest.approx(1 - (1 / 9) / (1 / 6))
    assert late_improvement(FLAT) == 0
    risen = (*FLAT[:-1], (9, 3.0))
    assert late_improvement(risen) == 0, "the best weights are kept"


def test_it_does_not_depend_on_the_unit_of_the_error():
    assert late_improvement([(x, 57.3 * y) for x, y in FALLING]) == pytest.approx(late_improvement(FALLING))


@pytest.mark.parametrize("curve", [(), FALLING[:5], tuple((epoch, 1.0) for epoch in range(95, 102))])
def test_few_epochs_have_no_last_third(curve):
    assert late_improvement(curve) is None


def test_endings_are_told_in_words(pool):
    falling, flat = _curves(pool, FALLING), _curves(pool, FLAT)
    assert find_ending(falling).word == "falling, 33 %"
    assert find_ending(falling).say() == "still improving by 33 % over the last third: not converged"
    assert find_ending(flat).word == "flat"
    assert find_ending(flat).say() == "flat at the end, improving by 0.0 % over the last third"
    assert find_ending(_curves(pool, FALLING[:3])).word == "too few epochs to tell"
    assert find_ending(pool({"regression_linear": [None]}).groups[0]).word == "closed form"


def test_seeds_end_as_they_do_on_average(make_result, examine):
    from hyperskin.reporting.study.seeds import Pool

    runs = [make_result("hrnet", params={"seed": str(k)}, curve=curve) for k, curve in enumerate((FALLING, FLAT))]
    [group] = Pool.of(examine(*runs)).groups
    assert find_ending(group).improvement == pytest.approx(late_improvement(FALLING) / 2)


def test_a_curve_stands_at_the_steps_and_seconds_that_its_epochs_took(pool):
    group = _curves(pool, FLAT[:3])
    run = group.members[0]
    object.__setattr__(run, "steps", ((1, 50.0), (2, 100.0)))
    assert curve_of(run, "epochs") == ((1.0, 0.5), (2.0, 0.5), (3.0, 0.5))
    assert curve_of(run, "steps") == ((50.0, 0.5), (100.0, 0.5))
    assert curve_of(run, "seconds") == ()
    assert taken(group, "steps") == 100
    assert math.isnan(taken(group, "seconds"))


def test_a_mean_of_equal_curves_is_that_curve():
    assert mean_curve([FALLING, FALLING]) == pytest.approx(np.array(FALLING))
    assert mean_curve([]) == ()


def test_a_mean_goes_as_far_as_all_of_them_and_reads_between_points_by_ratio():
    short, long = ((2.0, 0.4), (8.0, 0.2)), ((1.0, 1.0), (4.0, 0.6), (16.0, 0.0))
    assert mean_curve([short, long]) == ((2.0, 0.6), (4.0, 0.45), (8.0, 0.25))
