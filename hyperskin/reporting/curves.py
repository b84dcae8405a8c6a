"""The page's figures: scores over wavelength, angles by subject, learning, signal to noise; none shows a face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hyperskin.reporting.examination import Examination, by_subject, subjects_of
from hyperskin.tracking.results import Result
from hyperskin.tracking.runs import is_floor

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
_FLOOR: dict[str, Any] = {"color": "#333333", "linestyle": "--"}
# In inches: the figure, what the labels of the axis below take; of the legend a line, an entry's sign, a letter.
WIDTH, _AXIS, _LEGEND_LINE, _HANDLE, _LETTER = 9.6, 0.55, 0.22, 0.6, 0.068
_MOST_PER_LINE = 4
_MOST_LETTERS = 90  # of names side by side below an axis
GRID: dict[str, Any] = {"alpha": 0.3, "linewidth": 0.6}
"""How the lines of a grid look."""


@dataclass(frozen=True)
class Drawn:
    """A model and how its curves look, the same in every figure of a pair."""

    result: Result
    style: dict[str, Any]


def choose(exam: Examination) -> list[Drawn]:
    """Return the models that are drawn: the best regression, and the best networks as far as colours reach."""
    floor = [] if exam.best_floor is None else [Drawn(exam.best_floor, _FLOOR)]
    networks = [result for result in exam.by_score() if not is_floor(result.row.model)]
    return floor + [Drawn(result, {"color": colour}) for result, colour in zip(networks, _COLOURS, strict=False)]


def draw_bands(drawn: Sequence[Drawn], regions: Mapping[str, str], given_nm: Sequence[float]) -> Figure:
    """Return SSIM and RMSE of every band, a column of panels for each region, one curve a model.

    Args:
        drawn: Models with a table "per_band".
        regions: "masked", "full" or both, with their headings.
        given_nm: Wavelengths that the input holds already, marked by a line.
    """
    figure = sheet(5.6, [each.result.label for each in drawn])
    grid = figure.subplots(2, len(regions), sharex=True, sharey="row", squeeze=False)
    for row, (metric, label) in zip(grid, (("ssim", "SSIM"), ("rmse", "RMSE of reflectance")), strict=True):
        for axes, (region, heading) in zip(row, regions.items(), strict=True):
            for each in drawn:
                bands = [band for band in each.result.tables["per_band"] if f"{metric}/{region}" in band]
                axes.plot(
                    [float(band["wavelength_nm"]) for band in bands],
                    [float(band[f"{metric}/{region}"]) for band in bands],
                    label=each.result.label,
                    **each.style,
                )
            for wavelength_nm in given_nm:
                axes.axvline(wavelength_nm, color="#999999", linestyle=":", linewidth=1)
            axes.grid(**GRID)
            if metric == "ssim":
                axes.set_title(heading, fontsize=10)
        row[0].set_ylabel(label)
    for axes in grid[-1]:
        axes.set_xlabel("wavelength in nm")
        axes.set_ylim(bottom=0)
    add_legend(figure, grid[0][0])
    return figure


def draw_subjects(drawn: Sequence[Drawn], key: str, label: str) -> Figure:
    """Return a score of every capture as a dot, by subject, and the subject's mean as a bar, one column a model."""
    subjects = subjects_of([each.result for each in drawn], key)
    figure = sheet(3.8, [each.result.label for each in drawn])
    axes = figure.subplots()
    step = 0.8 / len(drawn)
    is_short = len(subjects) * max(map(len, subjects)) <= _MOST_LETTERS
    for place, each in enumerate(drawn):
        colour, found = each.style["color"], by_subject(each.result, key)
        for number, who in enumerate(subjects):
            values = sorted(found.get(who, {}).values())
            middle = number - 0.4 + step * (place + 0.5)
            name = each.result.label if number == 0 else None
            axes.plot([middle] * len(values), values, "o", color=colour, alpha=0.6, markersize=4, label=name)
            if values:
                mean = sum(values) / len(values)
                axes.plot([middle - 0.35 * step, middle + 0.35 * step], [mean, mean], color=colour, linewidth=2)
    for number in range(1, len(subjects)):
        axes.axvline(number - 0.5, color="#dddddd", linewidth=0.8)
    axes.set_xticks(range(len(subjects)), subjects, rotation=0 if is_short else 90, fontsize=9 if is_short else 7)
    axes.set_xlim(-0.5, len(subjects) - 0.5)
    axes.set(ylabel=label, ylim=(0, None))
    axes.grid(axis="y", **GRID)
    add_legend(figure, axes)
    return figure


def draw_learning(drawn: Sequence[Drawn], label: str) -> Figure:
    """Return the validation score of each network by epoch, its best epoch marked."""
    figure = sheet(3.6, [each.result.label for each in drawn])
    axes = figure.subplots()
    for each in drawn:
        epochs, values = zip(*each.result.curve, strict=True)
        axes.plot(epochs, values, label=each.result.label, **each.style)
        best = min(each.result.curve, key=lambda point: point[1])
        axes.plot(*best, "o", color=each.style["color"], markersize=5)
    axes.set(xlabel="epoch", ylabel=label, ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(**GRID)
    add_legend(figure, axes)
    return figure


def draw_noise(bands: Mapping[float, Sequence[float]]) -> Figure:
    """Return signal to noise by wavelength: the mean over captures, and from the lowest to the highest."""
    figure = sheet(3.0, [])
    axes = figure.subplots()
    wavelength_nm = sorted(bands)
    columns = [bands[nm] for nm in wavelength_nm]
    lowest, highest = [min(column) for column in columns], [max(column) for column in columns]
    axes.fill_between(wavelength_nm, lowest, highest, color=_COLOURS[0], alpha=0.2, linewidth=0, label="all captures")
    means = [sum(column) / len(column) for column in columns]
    axes.plot(wavelength_nm, means, color=_COLOURS[0], label="mean over captures")
    axes.set(xlabel="wavelength in nm", ylabel="signal to noise in dB")
    axes.grid(**GRID)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def sheet(height: float, labels: Sequence[str]) -> Figure:
    """Return a figure with room for axis labels and a legend below; a layout engine takes ten times as long."""
    figure = Figure(figsize=(WIDTH, height))
    below = _AXIS + (_LEGEND_LINE * math.ceil(len(labels) / _per_line(labels)) if labels else 0)
    figure.subplots_adjust(
        left=0.75 / WIDTH,
        right=1 - 0.1 / WIDTH,
        top=1 - 0.3 / height,
        bottom=below / height,
        wspace=0.04,
        hspace=0.08,
    )
    return figure


def add_legend(figure: Figure, axes: Axes) -> None:
    """Put what the curves of some axes are called below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=_per_line(labels), fontsize=8, frameon=False)


def _per_line(labels: Sequence[str]) -> int:
    """Return how many entries of a legend stand side by side."""
    longest = max(len(label) for label in labels)
    return max(1, min(_MOST_PER_LINE, len(labels), int(WIDTH / (_HANDLE + _LETTER * longest))))
