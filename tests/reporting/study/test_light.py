"""Error in other light: means over seeds, intervals over subjects, and how many times the error in light 1."""

import math

import pytest

from hyperskin.metrics.intervals import clustered_mean
from hyperskin.reporting.document import text_of
from hyperskin.reporting.study.drawn import light_drawings
from hyperskin.reporting.study.light import in_light, light_grid, light_keys
from hyperskin.tracking.compare import OURS, TRUTH

SAM = OURS[3]


def _exposed(by_gain, **more):
    """A table of two subjects, the second twice as far off."""
    return [
        {"exposure": gain, "image": f"{who}_neutral_front", "subject": who, "sam/masked": error * times, **more}
        for gain, error in by_gain.items()
        for who, times in (("p001", 1), ("p002", 2))
    ]


@pytest.fixture
def lit(make_result, examine):
    """Two seeds of a network, the one 0.1 and 0.2 off in full light and twice that in a quarter, and a regression."""
    from hyperskin.reporting.study.seeds import Pool

    tables = [{1.0: 0.1, 0.25: 0.2}, {1.0: 0.2, 0.25: 0.4}]
    runs = [make_result("hrnet", params={"seed": str(k)}) for k in (1, 2)]
    for run, table in zip(runs, tables, strict=True):
        run.tables["per_exposure"] = _exposed(table)
    return Pool.of(examine(make_result("regression_linear"), *runs))


def test_two_seeds_and_two_subjects_by_hand(lit):
    found = in_light(lit.groups[1], SAM)
    assert list(found) == [0.25, 1.0]
    assert found[1.0].mean == pytest.approx((0.15 + 0.3) / 2)
    assert (found[1.0].ratio, found[0.25].ratio) == pytest.approx((1, 2))
    slow = clustered_mean({"p001": [0.3], "p002": [0.6]})
    assert (found[0.25].interval.low, found[0.25].interval.high) == pytest.approx((slow.low, slow.high))
    assert found[0.25].interval.subject_count == 2
    assert in_light(lit.groups[0], SAM) == {}


def test_the_table_has_every_light_and_how_many_times_the_error_it_makes(lit):
    grid = light_grid(lit, SAM)
    assert grid.heading == ("model", "1", "0.25", "0.25")
    assert grid.over == (("", 1), ("light", 2), ("times that in light 1", 1))
    [row] = grid.rows
    assert list(map(text_of, row)) == ["hrnet", "0.2250 (0.1500 to 0.3000)", "0.4500 (0.3000 to 0.6000)", "2.00"]


def test_a_run_whose_table_is_gone_has_means_without_intervals(pool):
    numbers = {"exposure_sam_masked/1": 0.1, "exposure_sam_masked/0.5": 0.3}
    [group] = pool({"hrnet": [None]}, hrnet=numbers).groups
    found = in_light(group, SAM)
    assert [(gain, lit.mean, lit.interval) for gain, lit in found.items()] == [(0.5, 0.3, None), (1.0, 0.1, None)]
    assert found[0.5].ratio == pytest.approx(3)


def test_without_the_light_as_taken_there_is_no_ratio(pool):
    [group] = pool({"hrnet": [None]}, hrnet={"exposure_sam_masked/0.5": 0.3}).groups
    assert math.isnan(in_light(group, SAM)[0.5].ratio)


def test_the_truth_is_a_table_of_its_own_where_it_is_known(lit):
    assert light_keys(lit) == [SAM]
    rows = [{**row, TRUTH.metric: 0.05} for row in lit.groups[0].mean.tables["per_image"]]
    lit.groups[0].mean.tables["per_exposure"] = [{"exposure": 1.0, **row} for row in rows]
    assert light_keys(lit) == [SAM, TRUTH]


def test_a_curve_a_model_at_the_right_places(lit):
    [drawing] = light_drawings(lit, SAM)
    [axes] = drawing.figure.axes
    [curve] = [container for container in axes.containers if container.get_label() == "hrnet"]
    assert list(curve.lines[0].get_ydata()) == pytest.approx([0.45, 0.225])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.25", "1"]
    low, high = curve.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((0.3, 0.6))
    assert "hrnet has 0.4500 at light 0.25" in drawing.alt


def test_one_light_is_no_curve(lit):
    for group in lit.groups:
        rows = group.mean.tables.get("per_exposure", [])
        group.mean.tables["per_exposure"] = [row for row in rows if row["exposure"] == 1]
    assert list(light_drawings(lit, SAM)) == []
