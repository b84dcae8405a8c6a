"""Figures of a search: how it went, what each value gave, and which value matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hyperskin.tuning.trial import Told

_ANGLE = "best validated SAM in rad"
_NAMES = {"learning_rate": "learning rate", "batch_size": "batch size", "loss": "loss"}
_STYLES: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": "#0072b2", "label": "trained to its end"},
    "pruned": {"marker": "x", "color": "#999999", "label": "ended early"},
}
_DEFAULT: dict[str, Any] = {"marker": "D", "color": "#d55e00", "label": "as params.yaml has it"}
_HEADROOM = 2.0  # values above so many times the best are drawn at the upper edge: they say "bad" and hide the rest


def draw_history(trials: Sequence[Told], *, title: str) -> Figure:
    """Return every trial's value, and the best so far."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    top = _limit(axes, trials)
    places = {trial.number: place for place, trial in enumerate(trials, start=1)}
    _scatter(axes, trials, {trial.number: float(places[trial.number]) for trial in trials}, top)
    best = np.minimum.accumulate([_value_of(trial) for trial in trials])
    axes.step(list(places.values()), best, where="post", color="#0072b2", linewidth=1, label="best so far", zorder=1)
    axes.set(xlabel="trial, in the order they were begun", ylabel=_ANGLE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _add_legend(figure, axes)
    axes.set_title(f"{title}: {len(trials)} recipes")
    return figure


def draw_values(trials: Sequence[Told], *, title: str) -> Figure:
    """Return every trial's value over each of its numbers, side by side."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, len(_NAMES), sharey=True, width_ratios=(2, 1, 1))
    for axes, name in zip(panels, _NAMES, strict=True):
        known = [trial for trial in trials if name in trial.recipe]
        choices = _choices(name, known)
        top = _limit(axes, trials)
        if choices is None:
            axes.set_xscale("log")
            places = {trial.number: float(trial.recipe[name]) for trial in known}
        else:
            axes.set_xticks(range(len(choices)), [str(choice) for choice in choices])
            axes.set_xlim(-0.5, max(len(choices), 1) - 0.5)
            places = {trial.number: choices.index(trial.recipe[name]) + _aside(trial) for trial in known}
        _scatter(axes, known, places, top)
        axes.set_xlabel(_NAMES[name])
    panels[0].set_ylabel(_ANGLE)
    _add_legend(figure, panels[0])
    figure.suptitle(f"{title}: what each value gave")
    return figure


def draw_importances(importances: Mapping[str, float], *, title: str, count: int) -> Figure:
    """Return how much each value decides of being among the best, as bars."""
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axes = figure.subplots()
    names = sorted(importances, key=lambda name: importances[name])
    bars = axes.barh([_NAMES.get(name, name) for name in names], [importances[name] for name in names], color="#0072b2")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel=f"share of what decides (PED-ANOVA), from {count} complete trials", xlim=(0, 1.1))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title)
    return figure


def _scatter(axes: Axes, trials: Sequence[Told], places: Mapping[int, float], top: float) -> None:
    """Draw trials at their places, each kind in its own way; what is above the top is an arrow there."""
    chosen = [trial for trial in trials if not trial.is_default]
    kinds = [(style, [trial for trial in chosen if trial.state == state]) for state, style in _STYLES.items()]
    kinds.append((_DEFAULT, [trial for trial in trials if trial.is_default]))
    arrow_label = f"above {top:.2g} rad"
    for style, all_of_kind in kinds:
        of_kind = [trial for trial in all_of_kind if trial.value is not None]
        inside = [trial for trial in of_kind if _value_of(trial) <= top]
        above = [trial for trial in of_kind if _value_of(trial) > top]
        if inside:
            axes.scatter([places[trial.number] for trial in inside], [_value_of(trial) for trial in inside], **style)
        if above:
            arrow = {"marker": "^", "color": style["color"], "label": arrow_label}
            axes.scatter([places[trial.number] for trial in above], [top] * len(above), **arrow)
            arrow_label = "_"  # matplotlib leaves such labels out of the legend: once is enough
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Explain the marks below the panels, where no trial lies."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)


def _limit(axes: Axes, trials: Sequence[Told]) -> float:
    """Set the axis of angles, and return its top."""
    values = [_value_of(trial) for trial in trials if trial.value is not None]
    if not values:
        return np.inf
    low, high = min(values), max(values)
    top = min(high, _HEADROOM * low)
    margin = 0.08 * (top - low) or 0.1 * low
    axes.set_ylim(low - margin, top + margin)
    return top


def _choices(name: str, trials: Sequence[Told]) -> list[object] | None:
    """Return the values of a number that is chosen from a few, in order; None for one that moves freely."""
    if name == "learning_rate":
        return None
    return sorted({trial.recipe[name] for trial in trials})


def _aside(trial: Told) -> float:
    """Return a little shift, so that trials of one choice do not hide each other."""
    return ((trial.number * 0.381966) % 1 - 0.5) * 0.5


def _value_of(trial: Told) -> float:
    return np.inf if trial.value is None else trial.value
