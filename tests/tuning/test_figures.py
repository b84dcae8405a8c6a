"""What the figures of a search show, and where nothing can be shown."""

import pytest
from matplotlib.figure import Figure

from hyperskin.tuning.figures import draw_history, draw_importances, draw_values
from hyperskin.tuning.trial import Told


def told(number: int, value: float | None, state: str = "complete", *, rate: float = 1e-3, loss: str = "l1") -> Told:
    recipe = {"learning_rate": rate, "batch_size": 2 ** (number % 3), "loss": loss}
    return Told(number, state, value, recipe, number == 0, 1, 1.0, "")


TRIALS = [
    told(0, 0.12),
    told(1, 0.9, rate=1e-4),
    told(3, 0.15, "pruned", rate=5e-4),
    told(4, 0.10, rate=2e-3, loss="mrae"),
    told(5, None, "pruned"),
    told(6, None, "failed"),
]


def points(figure: Figure) -> list[tuple[float, float]]:
    """Return every mark, panel by panel."""
    return [
        tuple(map(float, point)) for axes in figure.axes for marks in axes.collections for point in marks.get_offsets()
    ]


def test_the_history_shows_every_value_and_the_best_so_far():
    figure = draw_history(TRIALS, title="hrnet on rgb_vis")
    (axes,) = figure.axes
    assert sorted(points(figure)) == [(1.0, 0.12), (2.0, 0.2), (3.0, 0.15), (4.0, 0.10)]  # 0.9 lies above the edge
    assert list(axes.lines[0].get_ydata()) == [0.12, 0.12, 0.12, 0.10, 0.10, 0.10]
    assert axes.get_ylabel() == "best validated SAM in rad"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["trained to its end", "above 0.2 rad", "ended early", "as params.yaml has it", "best so far"]


def test_each_number_has_a_panel_with_every_value():
    figure = draw_values(TRIALS, title="hrnet on rgb_vis")
    assert [axes.get_xlabel() for axes in figure.axes] == ["learning rate", "batch size", "loss"]
    assert figure.axes[0].get_xscale() == "log"
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["1", "2", "4"]
    assert [tick.get_text() for tick in figure.axes[2].get_xticklabels()] == ["l1", "mrae"]
    assert len(points(figure)) == 3 * 4


def test_importances_are_bars_with_their_numbers():
    figure = draw_importances({"loss": 0.25, "learning_rate": 0.75}, title="hrnet on rgb_vis", count=9)
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.75]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["loss", "learning rate"]
    assert "9 complete trials" in axes.get_xlabel()


@pytest.mark.parametrize("trials", [[], [told(0, None, "failed")], [told(0, 0.1)]])
@pytest.mark.parametrize("draw", [draw_history, draw_values])
def test_a_search_with_little_or_nothing_to_show_is_drawn_too(draw, trials):
    draw(trials, title="hrnet on rgb_vis").canvas.draw()
