"""The study's figures: error against light, against steps and seconds of training, against cost; none shows a face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from hyperskin.metrics.intervals import Interval
from hyperskin.reporting.curves import GRID, add_legend, sheet
from hyperskin.reporting.study.cost import pareto_front
from hyperskin.reporting.study.labels import place_labels
from hyperskin.reporting.study.learning import Points

_LOGARITHMIC = 3.0  # errors that lie so many times apart are drawn by their ratio
_LABEL = 8.0  # size in points


@dataclass(frozen=True)
class Lit:
    """A model's error in each light, with its interval over subjects where there is one."""

    label: str
    style: Mapping[str, Any]
    errors: Mapping[float, tuple[float, Interval | None]]


@dataclass(frozen=True)
class Learned:
    """A network's curves on one axis: one a seed, and their mean."""

    label: str
    style: Mapping[str, Any]
    seeds: tuple[Points, ...]
    mean: Points


@dataclass(frozen=True)
class Priced:
    """A model's error against a price, with its interval over subjects where there is one."""

    label: str
    style: Mapping[str, Any]
    price: float
    error: float
    interval: Interval | None


def draw_light(models: Sequence[Lit], label: str) -> Figure:
    """Return error against light, a curve a model; whiskers are intervals over subjects, side by side."""
    figure = sheet(3.8, [each.label for each in models])
    axes = figure.subplots()
    gains = sorted({gain for each in models for gain in each.errors})
    for place, each in enumerate(models):
        shift = 1 + 0.012 * (place - (len(models) - 1) / 2)
        own = sorted(each.errors.items())
        axes.errorbar(
            [gain * shift for gain, _ in own],
            [error for _, (error, _) in own],
            yerr=_whiskers([found for _, found in own]),
            label=each.label, markersize=5, capsize=2, elinewidth=1, **each.style,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="light, as many times as when the picture was taken", ylabel=label)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(gains, [f"{gain:g}" for gain in gains])
    _scale(axes, [error for each in models for error, _ in each.errors.values()])
    axes.grid(which="both", **GRID)
    add_legend(figure, axes)
    return figure


def draw_learning(panels: Mapping[str, Sequence[Learned]], floors: Mapping[str, float], label: str) -> Figure:
    """Return validation error against what a training had taken, one panel an axis.

    Args:
        panels: Networks by the name of the axis.
        floors: Validation error of regressions by name, drawn across.
        label: Of the error.
    """
    names = [each.label for each in next(iter(panels.values()))] + list(floors)
    figure = sheet(4.2, names)
    for axes, (name, networks) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        for each in networks:
            for points in each.seeds if len(each.seeds) > 1 else ():
                axes.plot(*zip(*points, strict=True), linewidth=0.7, alpha=0.55, **_dotted(points), **each.style)
            axes.plot(
                *zip(*each.mean, strict=True), linewidth=2.2, label=each.label, **_dotted(each.mean), **each.style
            )
        for (floor, error), dashes in zip(floors.items(), _dashes(len(floors)), strict=True):
            axes.axhline(error, color="#333333", linewidth=1.1, linestyle=dashes, label=floor)
        axes.set(xscale="log", xlabel=name)
        _name_ticks(axes.xaxis)
        _scale(axes, [error for each in networks for _, error in each.mean])
        axes.grid(which="both", **GRID)
    figure.axes[0].set_ylabel(label)
    add_legend(figure, figure.axes[0])
    return figure


def draw_pareto(models: Sequence[Priced], axis_label: str, label: str) -> Figure:
    """Return error against a price, a named point a model, and the line of those that no other beats in both."""
    figure = sheet(4.6, [])
    axes = figure.subplots()
    points = [(each.price, each.error) for each in models]
    front = [points[place] for place in pareto_front(points)]
    for each in models:
        axes.errorbar(
            each.price, each.error, yerr=_whiskers([(each.error, each.interval)]),
            markersize=7, capsize=3, elinewidth=1, **{**each.style, "linestyle": "none"},
        )  # fmt: skip
    left, right = min(price for price, _ in points) / 2, max(price for price, _ in points) * 4
    axes.step(
        [price for price, _ in front] + [right], [error for _, error in front] + [front[-1][1]],
        where="post", color="#777777", linewidth=1.2, linestyle=":", zorder=0,
    )  # fmt: skip
    axes.set(
        xscale="log", xlim=(left, right), xlabel=f"{axis_label}, lower is better", ylabel=f"{label}, lower is better"
    )
    _name_ticks(axes.xaxis)
    _scale(axes, [error for _, error in points])
    axes.grid(which="major", **GRID)
    axes.margins(y=0.12)
    axes.set_ylim(*axes.get_ylim())  # else the limits change when the figure is drawn
    place_labels(
        axes,
        points,
        [each.label for each in models],
        colours=[str(each.style["color"]) for each in models],
        size=_LABEL,
        bars=[_ends(each.error, each.interval) for each in models],
    )
    return figure


def _dotted(points: Points) -> dict[str, str]:
    """Return how a curve of one epoch is seen: as a point, for a line needs two."""
    return {"marker": "o"} if len(points) == 1 else {}


def _dashes(count: int) -> list[tuple[int, tuple[float, ...]]]:
    """Return as many kinds of broken lines."""
    return [(0, (5, 2, *(1, 2) * place)) for place in range(count)]


def _whiskers(found: Sequence[tuple[float, Interval | None]]) -> list[list[float]]:
    """Return how far each interval reaches below and above; nowhere where there is none."""
    ends = [(error, *_ends(error, interval)) for error, interval in found]
    return [[error - low for error, low, _ in ends], [high - error for error, _, high in ends]]


def _ends(error: float, interval: Interval | None) -> tuple[float, float]:
    """Return from where to where a whisker reaches."""
    if interval is None or interval.low is None or interval.high is None:
        return error, error
    return min(error, interval.low), max(error, interval.high)


def _scale(axes: Axes, errors: Sequence[float]) -> None:
    """Draw errors by their ratio where they lie far apart, so that small ones can be told from each other too."""
    if min(errors) > 0 and max(errors) >= _LOGARITHMIC * min(errors):
        axes.set_yscale("log")
        _name_ticks(axes.yaxis)


def _name_ticks(axis: Axis) -> None:
    """Name the ticks of a logarithmic axis as people write numbers, of the small ones those at 2 and 5."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: _say(value)))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: _say_some(value)))
    axis.set_tick_params(which="both", labelsize=8)


def _say_some(value: float) -> str:
    digit = round(value / 10 ** math.floor(math.log10(value)))
    return _say(value) if digit in (2, 5) else ""


def _say(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
