"""Few marks, each where its number is; names that lie on nothing; no image, so that no face can be among them."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from hyperskin.metrics.intervals import Interval
from hyperskin.pictures import save_figure
from hyperskin.reporting.study.figures import Learned, Priced, draw_learning, draw_pareto
from hyperskin.reporting.study.labels import arrange

BLUE = {"color": "#0072b2"}


def _priced(*points):
    return [
        Priced(
            f"model_{place}", {**BLUE, "marker": "o"}, price, error, Interval(error, error - 0.02, error + 0.01, 6, 3)
        )
        for place, (price, error) in enumerate(points)
    ]


def test_a_thin_line_a_seed_and_a_bold_mean():
    seeds = (((1.0, 0.4), (10.0, 0.2)), ((1.0, 0.6), (10.0, 0.4)))
    network = Learned("hrnet", BLUE, seeds, ((1.0, 0.5), (10.0, 0.3)))
    figure = draw_learning({"seconds": [network], "steps": [network]}, {"regression_linear": 0.35}, "SAM")
    assert [axes.get_xlabel() for axes in figure.axes] == ["seconds", "steps"]
    for axes in figure.axes:
        *thin, bold, floor = axes.lines
        assert [tuple(line.get_ydata()) for line in thin] == [(0.4, 0.2), (0.6, 0.4)]
        assert tuple(bold.get_ydata()) == (0.5, 0.3)
        assert bold.get_linewidth() > 2 * thin[0].get_linewidth()
        assert set(floor.get_ydata()) == {0.35}
        assert axes.get_xscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hrnet", "regression_linear"]


def test_one_seed_is_one_line():
    figure = draw_learning(
        {"epochs": [Learned("a", BLUE, (((1.0, 0.4), (2.0, 0.2)),), ((1.0, 0.4), (2.0, 0.2)))]}, {}, "SAM"
    )
    assert len(figure.axes[0].lines) == 1


def test_a_training_of_one_epoch_is_a_point():
    seeds = (((1.0, 0.4),), ((1.0, 0.6), (2.0, 0.4)))
    figure = draw_learning({"seconds": [Learned("hrnet", BLUE, seeds, ((1.0, 0.5),))]}, {}, "SAM")
    assert [line.get_marker() for line in figure.axes[0].lines] == ["o", "None", "o"]


def test_points_bars_and_the_front():
    figure = draw_pareto(_priced((1.0, 0.3), (2.0, 0.5), (4.0, 0.1)), "seconds", "SAM")
    [axes] = figure.axes
    points = [(container.lines[0].get_xdata()[0], container.lines[0].get_ydata()[0]) for container in axes.containers]
    assert points == [(1.0, 0.3), (2.0, 0.5), (4.0, 0.1)]
    bars = [container.lines[2][0].get_segments()[0][:, 1] for container in axes.containers]
    assert np.array(bars) == pytest.approx(np.array([(0.28, 0.31), (0.48, 0.51), (0.08, 0.11)]))
    front = axes.lines[-1]
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [(1.0, 0.3), (4.0, 0.1), (16.0, 0.1)]


def test_names_lie_on_no_other_name_and_within_the_axes():
    points = [(10.0 ** (0.03 * place), 0.1 + 0.004 * (place * 7 % 5)) for place in range(7)]
    figure = draw_pareto(_priced(*points), "seconds", "SAM")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    [axes] = figure.axes
    # An annotation's own extent has its line in it.
    names = [Text.get_window_extent(text, canvas.get_renderer()) for text in axes.texts]
    assert len(names) == 7
    assert not any(one.overlaps(other) for one, other in itertools.combinations(names, 2))
    assert all(axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max) for box in names)


def test_a_name_stands_beside_its_point_unless_something_is_there():
    room = (0.0, 0.0, 500.0, 500.0)
    [(x, y, is_far)] = arrange([(250.0, 250.0)], [(40.0, 10.0)], room=room, taken=[])
    assert (x, y) == (276.0, 258.0)
    assert not is_far
    [(x, y, _)] = arrange([(250.0, 250.0)], [(40.0, 10.0)], room=room, taken=[(250.0, 250.0, 500.0, 500.0)])
    assert (x, y) == (276.0, 242.0), "below, for above is taken"
    [(_, _, is_far)] = arrange([(250.0, 250.0)], [(40.0, 10.0)], room=room, taken=[(230.0, 235.0, 290.0, 265.0)])
    assert is_far


def test_no_line_to_a_name_crosses_another_name():
    at = [(100.0 + 14 * place, 200.0 + 6 * (place % 3)) for place in range(6)]
    sizes = [(90.0, 11.0)] * 6
    found = arrange(at, sizes, room=(0.0, 0.0, 500.0, 400.0), taken=[])
    assert any(is_far for *_, is_far in found)
    for (x, y), (end_x, end_y, is_far) in zip(at, found, strict=True):
        others = [(u, v) for u, v, _ in found if (u, v) != (end_x, end_y)]
        along = [(x + (end_x - x) * part / 100, y + (end_y - y) * part / 100) for part in range(101)] if is_far else []
        assert not any(abs(u - a) < 44 and abs(v - b) < 4.5 for a, b in along for u, v in others)


def test_a_figure_of_curves_needs_nobodys_consent(tmp_path):
    save_figure(draw_pareto(_priced((1.0, 0.3), (2.0, 0.2)), "seconds", "SAM"), path=tmp_path / "x.png")
    assert (tmp_path / "x.png").exists()
