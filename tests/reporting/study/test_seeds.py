"""Seeds are one model: averaged capture by capture, and never taken for subjects."""

import itertools
import statistics

import pytest

from hyperskin.metrics.intervals import clustered_mean
from hyperskin.reporting.study.seeds import Pool, mean_table

KEY = "sam/masked"
LOW, HIGH = {"p001": 0.1, "p002": 0.2, "p003": 0.4}, {"p001": 0.3, "p002": 0.2, "p003": 0.6}


def test_a_mean_over_two_seeds(pool):
    [group] = pool({"hrnet": [LOW, HIGH]}).groups
    assert group.mean.label == "hrnet"
    assert group.seeds == ("1", "2")
    images = {row["image"]: row[KEY] for row in group.mean.tables["per_image"]}
    assert images["p001_neutral_front"] == pytest.approx(0.2)
    assert images["p003_smile_left"] == pytest.approx(0.501)
    spread = group.spread(KEY)
    assert (spread.low, spread.high) == pytest.approx((0.7 / 3 + 0.0005, 1.1 / 3 + 0.0005))
    assert spread.width == pytest.approx(0.4 / 3)
    assert spread.deviation == pytest.approx(0.4 / 3 / 2**0.5)


def test_the_interval_is_that_of_the_scores_averaged_by_capture(pool):
    [group] = pool({"hrnet": [LOW, HIGH]}).groups
    means = {who: [(LOW[who] + HIGH[who]) / 2 + 0.001 * place for place in (0, 1)] for who in LOW}
    slow = clustered_mean(means)
    fast = group.interval(KEY)
    assert (fast.mean, fast.low, fast.high) == pytest.approx((slow.mean, slow.low, slow.high))
    assert (fast.value_count, fast.subject_count) == (6, 3)


@pytest.mark.parametrize("copies", [2, 5])
def test_more_copies_of_a_seed_change_no_interval(pool, copies):
    [one], [many] = (pool({"hrnet": [LOW] * count}).groups for count in (1, copies))
    alone, together = one.interval(KEY), many.interval(KEY)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), rel=1e-12)
    assert together.value_count == alone.value_count
    assert many.spread(KEY).width == pytest.approx(0)


def test_order_changes_nothing(make_result, examine):
    results = [make_result("hrnet", angles, params={"seed": str(k)}) for k, angles in enumerate((LOW, HIGH, LOW))]
    found = []
    for order in itertools.permutations(results):
        [group] = Pool.of(examine(*order)).groups
        found.append((group.interval(KEY), group.spread(KEY), group.seeds, group.mean.row.run_id))
    assert all(each == found[0] for each in found)


def test_one_seed_and_a_regression_have_no_spread(pool):
    groups = pool({"regression_linear": [LOW], "hrnet": [LOW]}).groups
    assert [group.spread(KEY) for group in groups] == [None, None]
    assert [group.seeds for group in groups] == [("",), ("1",)]


def test_other_recipes_are_other_models(make_result, examine):
    results = [
        make_result("hrnet", params={"seed": seed, "learning_rate": rate}) for seed in "12" for rate in ("0.1", "0.2")
    ]
    groups = Pool.of(examine(*results)).groups
    assert [group.mean.label for group in groups] == ["hrnet, learning_rate 0.1", "hrnet, learning_rate 0.2"]
    assert [len(group.members) for group in groups] == [2, 2]


def test_a_seed_that_came_twice_counts_once_by_its_newest(make_result, examine):
    old, new = (make_result("hrnet", angles, params={"seed": "1", "test_exposures": gains})
                for angles, gains in ((LOW, "none"), (HIGH, "0.5")))  # fmt: skip
    [group] = Pool.of(examine(old, new)).groups
    assert group.members == (new,)


def test_seeds_stand_in_the_order_of_their_numbers(make_result, examine):
    [group] = Pool.of(examine(*(make_result("hrnet", params={"seed": seed}) for seed in ("10", "9", "1")))).groups
    assert group.seeds == ("1", "9", "10")


def test_numbers_of_a_run_are_means_and_those_that_one_lacks_are_gone(make_result, examine):
    runs = [
        make_result("hrnet", params={"seed": "1"}, **{"cost/peak": 3.0}),
        make_result("hrnet", HIGH, params={"seed": "2"}),
    ]
    [group] = Pool.of(examine(*runs)).groups
    assert group.mean.row.metrics[KEY] == pytest.approx(statistics.fmean(run.row.metrics[KEY] for run in runs))
    assert "cost/peak" not in group.mean.row.metrics
    assert "seed" not in group.mean.row.params


def test_a_run_whose_files_are_gone_is_told_and_leaves_the_intervals_to_the_others(make_result, examine):
    runs = [make_result("hrnet", LOW, params={"seed": "1"}), make_result("hrnet", params={"seed": "2"}, tables={})]
    [group] = Pool.of(examine(*runs)).groups
    assert group.lacking_count == 1
    assert group.interval(KEY).mean == pytest.approx(0.7 / 3 + 0.0005)


def test_rows_are_the_same_where_words_light_and_wavelength_are():
    tables = [
        [{"exposure": 1.0, "image": "a", "sam": 0.1}, {"exposure": 0.5, "image": "a", "sam": 0.3, "more": 1.0}],
        [{"exposure": 0.5, "image": "a", "sam": 0.5}, {"exposure": 0.5, "image": "b", "sam": 9.0}],
    ]
    assert mean_table(tables) == [{"exposure": 0.5, "image": "a", "sam": 0.4}]
    assert mean_table([]) == []


def test_counts_stay_counts():
    tables = [
        [{"score": "sam", "k": 0, "better": n, "n_images": 6}, {"score": "sam", "k": 5, "better": 1}] for n in (2, 2, 3)
    ]
    [none, five] = mean_table(tables)
    assert none == {"score": "sam", "k": 0, "better": 2.3, "n_images": 6}
    assert isinstance(none["n_images"], int)
    assert five == {"score": "sam", "k": 5, "better": 1}
