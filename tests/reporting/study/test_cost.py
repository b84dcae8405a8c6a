"""What a score costs: where prices come from, and who is beaten in both."""

import math
import random

from hyperskin.reporting.document import text_of
from hyperskin.reporting.study.cost import Price, choose_axis, cost_grid, pareto_front, price_of

MEASURED = [
    {"model": "hrnet", "pair": "rgb_vis", "size": "full", "kmac_per_px": 7.0, "frame_s": 0.25, "peak_mb": 120.0,
     "frame_px": 1024.0, "threads": 1.0, "processor": "a processor"},
    {"model": "hrnet", "pair": "msi_nir", "size": "full", "frame_s": 9.0},
]  # fmt: skip


def _reference_front(points):
    """Compare every point with every other."""
    return [
        place for place, (price, error) in enumerate(points)
        if not any(p <= price and e <= error and (p, e) != (price, error) for p, e in points)
    ]  # fmt: skip


def test_the_front_is_what_nothing_beats_in_both():
    draw = random.Random(1)
    for _ in range(50):
        points = [(draw.random(), draw.random()) for _ in range(12)]
        assert sorted(pareto_front(points)) == _reference_front(points)
    assert pareto_front([(2.0, 0.1), (1.0, 0.1)]) == [1], "as good and cheaper"
    assert pareto_front([(1.0, 0.3), (1.0, 0.2)]) == [1], "as cheap and better"


def test_prices_come_from_runs_and_from_what_was_measured(pool):
    [group] = pool({"hrnet": [None, None]}, hrnet={"cost/kmac_per_px": 5.0}).groups
    assert price_of(group, MEASURED) == Price(parameters=1234.0, kmac_per_px=5.0, frame_s=0.25, peak_mb=120.0)
    unknown = price_of(group, [])
    assert (unknown.parameters, unknown.kmac_per_px) == (1234.0, 5.0)
    assert math.isnan(unknown.frame_s)


def test_the_axis_is_seconds_where_two_models_have_them_else_what_else_two_have():
    nothing = Price(math.nan, math.nan, math.nan, math.nan)
    timed, counted, free = (
        Price(math.nan, *rest) for rest in ((1.0, 2.0, 3.0), (1.0, math.nan, math.nan), (0.0, math.nan, math.nan))
    )
    assert choose_axis([timed, timed, nothing]).name == "frame_s"
    assert choose_axis([timed, counted]).name == "kmac_per_px"
    assert choose_axis([timed, free]) is None, "0 has no place on a logarithmic axis"


def test_the_table_has_cost_beside_accuracy(pool):
    curve = tuple((epoch, 0.5) for epoch in range(1, 10))
    grid = cost_grid(pool({"regression_linear": [None], "hrnet": [None, None]}, hrnet={"curve": curve}), MEASURED)
    cells = [list(map(text_of, row)) for row in grid.rows]
    assert cells[0][:5] == ["regression_linear", "1,234", "-", "-", "-"]
    assert cells[1][:6] == ["hrnet", "1,234", "7", "0.25", "120", "0.1405"]
    assert cells[1][8:] == ["5.0", "-", "flat"]
    assert "A frame: 1024 x 1024 px, threads 1, a processor." in grid.caption


def test_nothing_is_said_of_frames_that_nobody_measured(pool):
    assert "A frame" not in cost_grid(pool({"hrnet": [None]}), []).caption
