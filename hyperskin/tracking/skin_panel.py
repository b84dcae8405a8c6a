"""A face's skin on one sheet: colours with the regions, and every map on a scale that is the same for everybody."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from hyperskin.errors import DataError
from hyperskin.skin.maps import KINDS, MapKind

Map = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.floating[Any]]

COLOURS = {
    "melanin_fraction": "cividis_r",
    "blood_fraction": "magma",
    "oxygenation": "viridis",
    "water_fraction": "viridis",
    "melanin_index": "cividis_r",
    "erythema_index": "magma",
    "erythema_index_dawson": "magma",
    "water_index": "viridis",
    "typology_angle": "cividis",
}
"""Perceptually uniform, and one for each kind of map: melanin, blood and water look alike wherever they are drawn."""

_SMOOTHING = "antialiased"  # large frames, which have more pixels than the sheet, are averaged; small ones stay squares
_NO_VALUE = "#d9d9d9"  # where the lightest colours still stand out; the middle of a change is grey itself, on white
_DIFFERENCE = "coolwarm"
_MOST_TIMES = 2.0  # the difference of a map on a logarithmic scale runs from half to twice
_DIFFERENCE_SHARE = 0.25  # of its scale, for any other map, to either side
_OUTLINES = {
    "forehead": "#56b4e9",
    "right_cheek": "#e69f00",
    "left_cheek": "#f0e442",
    "nose": "#009e73",
    "chin": "#cc79a7",
}
# All in inches: the narrowest and the widest picture, room before it, its colour bar and that bar's numbers; words
# above a picture, below one with a legend and below others; heading and note of the sheet.
_NARROW, _WIDE = 1.85, 3.2
_BEFORE, _BAR_GAP, _BAR, _BAR_WORDS = 0.25, 0.08, 0.10, 0.67
_ABOVE, _LEGEND, _CAPTION = 0.30, 0.55, 0.34
_HEADING, _NOTE_LINE = 0.45, 0.16
_PIXELS_PER_INCH = 110  # of a large frame, so that its pixels are not skipped
_LETTERS_PER_INCH = 14  # of a note
_MOST_LETTERS = 34  # of a name above a picture
_MOST_COLUMNS = 5
_MOST_ROWS = 5  # of two visits side by side; more go into a second block beside
_MARGIN = 0.08
_APART = 1.3  # how many times apart two numbers beside a logarithmic colour bar are at least


def draw_panel(
    picture: Picture,
    maps: Mapping[str, Map],
    regions: Mapping[str, Bools],
    *,
    title: str,
    picture_title: str,
    captions: Mapping[str, str],
    note: str = "",
) -> Figure:
    """Return a face's colours and maps; it shows a face, so it needs `save_picture`.

    Args:
        picture: Colours, (H, W, 3) in [0, 1].
        maps: (H, W) by names of `KINDS`, NaN outside skin, which stays grey.
        regions: (H, W) bool, outlined in the picture.
        title: Heading.
        picture_title: What the colours are.
        captions: A line below a map, by its name.
        note: What a reader must know, below everything.

    Raises:
        DataError: There is no map, or none of its pixels has a value.
    """
    window = _frame_of(list(maps.values()))
    count = 1 + len(maps)
    columns = min(_MOST_COLUMNS, math.ceil(count / math.ceil(count / _MOST_COLUMNS)))
    sheet = _Sheet(math.ceil(count / columns), columns, window, title, note, below=_LEGEND)
    _draw_picture(sheet.panel(0, 0), picture, regions, window, picture_title)
    for place, (name, values) in enumerate(maps.items(), start=1):
        axes = _draw_map(sheet, divmod(place, columns), values[window], KINDS[name])
        axes.set_xlabel(captions.get(name, ""), fontsize=7.5)
    return sheet.figure


def draw_difference(
    pictures: tuple[Picture, Picture],
    before: Mapping[str, Map],
    after: Mapping[str, Map],
    *,
    names: tuple[str, str],
    labels: tuple[str, str],
    title: str,
    captions: Mapping[str, str],
    note: str = "",
) -> Figure:
    """Return two visits and what changed, a row for each map; it shows a face, so it needs `save_picture`.

    Args:
        pictures: Colours of the first visit, laid over the second, and of the second; (H, W, 3) in [0, 1].
        before: Maps of the first visit, laid over the second, (H, W) each.
        after: Maps of the second visit by the same names.
        names: What the visits are called, above their pictures.
        labels: What they are called above their maps, in a word.
        title: Heading.
        captions: A line below a difference, by its map's name.
        note: What a reader must know, below everything.

    Raises:
        DataError: The visits share no map, or none of its pixels has a value.
    """
    shared = [name for name in after if name in before]
    window = _frame_of([after[name] for name in shared])
    count = 1 + len(shared)
    blocks = math.ceil(count / _MOST_ROWS)
    rows = math.ceil(count / blocks)
    sheet = _Sheet(rows, 3 * blocks, window, title, note, below=_CAPTION)
    for column, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        _draw_picture(sheet.panel(0, column), picture, {}, window, _shorten(name))
    _write_key(sheet.panel(0, 2), labels)
    for place, name in enumerate(shared, start=1):
        block, row = divmod(place, rows)
        kind = KINDS[name]
        for column, (maps, label) in enumerate(zip((before, after), labels, strict=True)):
            axes = _draw_map(sheet, (row, 3 * block + column), maps[name][window], kind)
            axes.set_title(f"{kind.title}, {label}", fontsize=9)
        axes = _draw_change(sheet, (row, 3 * block + 2), change(before[name], after[name], kind)[window], kind)
        axes.set_xlabel(captions.get(name, ""), fontsize=7.5)
    return sheet.figure


def change(before: Map, after: Map, kind: MapKind) -> npt.NDArray[np.float64]:
    """Return what changed: ln(after / before) of a map on a logarithmic scale, else after - before.

    Examples:
        >>> change(np.array([0.1]), np.array([0.2]), KINDS["melanin_fraction"]).round(3).tolist()
        [0.693]
        >>> change(np.array([0.5]), np.array([0.7]), KINDS["oxygenation"]).round(3).tolist()
        [0.2]
    """
    first, second = before.astype(np.float64), after.astype(np.float64)
    if not kind.is_log:
        return np.asarray(second - first)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(second / first)
    return np.where(np.isfinite(ratio), ratio, np.nan)


def change_limit(kind: MapKind) -> float:
    """Return the change that gets the last colour, the same for everybody."""
    return math.log(_MOST_TIMES) if kind.is_log else _DIFFERENCE_SHARE * (kind.high - kind.low)


class _Sheet:
    """A figure with panels in rows and columns; placed by hand, which takes a tenth of the time of a layout engine."""

    def __init__(
        self, rows: int, columns: int, window: tuple[slice, slice], title: str, note: str, *, below: float
    ) -> None:
        height, width = (side.stop - side.start for side in window)
        self._picture_width = min(max(_NARROW, width / _PIXELS_PER_INCH), _WIDE)
        self._picture_height = self._picture_width * height / width
        self._below = below
        self._row_height = self._picture_height + _ABOVE + below
        self._panel_width = _BEFORE + self._picture_width + _BAR_GAP + _BAR + _BAR_WORDS
        self._width = self._panel_width * columns
        lines = textwrap.wrap(note, round(_LETTERS_PER_INCH * self._width))
        self._height = _HEADING + self._row_height * rows + _NOTE_LINE * (len(lines) + 1)
        self.figure = Figure(figsize=(self._width, self._height))
        self.figure.suptitle(title, fontsize=11, y=1 - 0.1 / self._height, va="top")
        if lines:
            self.figure.text(0.1 / self._width, 0.1 / self._height, "\n".join(lines), fontsize=8, va="bottom")

    def panel(self, row: int, column: int) -> Axes:
        """Return the axes of a picture."""
        return self._axes(row, column, _BEFORE, self._picture_width, label="")

    def bar(self, row: int, column: int) -> Axes:
        """Return the axes of the colour bar beside it."""
        return self._axes(row, column, _BEFORE + self._picture_width + _BAR_GAP, _BAR, label="<colorbar>")

    def _axes(self, row: int, column: int, left: float, width: float, *, label: str) -> Axes:
        bottom = self._height - _HEADING - self._row_height * (row + 1) + self._below
        place = (self._panel_width * column + left) / self._width, bottom / self._height
        return self.figure.add_axes((*place, width / self._width, self._picture_height / self._height), label=label)


def _frame_of(maps: Sequence[Map]) -> tuple[slice, slice]:
    """Return the rows and columns of whatever has a value, with some room around."""
    if not maps:
        raise DataError("A panel must show at least one map; there is none.")
    known = np.any([np.isfinite(values) for values in maps], axis=0)
    if not known.any():
        raise DataError("A panel must show a pixel with a value; no map has one.")
    window = []
    for axis, size in ((1, known.shape[0]), (0, known.shape[1])):
        inside = np.flatnonzero(known.any(axis=axis))
        room = math.ceil(_MARGIN * (inside[-1] - inside[0] + 1))
        window.append(slice(max(0, inside[0] - room), min(size, inside[-1] + room + 1)))
    return window[0], window[1]


def _draw_picture(
    axes: Axes, picture: Picture, regions: Mapping[str, Bools], window: tuple[slice, slice], title: str
) -> None:
    shown = np.array(to_rgb(_NO_VALUE))
    colours = np.where(np.isfinite(picture[window]).all(axis=2, keepdims=True), picture[window], shown)
    axes.imshow(np.clip(colours, 0, 1), interpolation=_SMOOTHING)
    _bare(axes)
    axes.set_title(title, fontsize=9)
    for name, mask in regions.items():
        if name in _OUTLINES:
            axes.contour(mask[window].astype(float), levels=[0.5], colors=_OUTLINES[name], linewidths=1.2)
            axes.plot([], [], color=_OUTLINES[name], label=name.replace("_", " "))
    if axes.lines:
        axes.legend(
            fontsize=6.5, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.01), frameon=False, handlelength=1.2
        )


def _draw_map(sheet: _Sheet, place: tuple[int, int], values: Map, kind: MapKind) -> Axes:
    axes = sheet.panel(*place)
    norm = LogNorm(kind.low, kind.high) if kind.is_log else Normalize(kind.low, kind.high)
    image = axes.imshow(np.ma.masked_invalid(values), norm=norm, cmap=COLOURS[kind.name], interpolation=_SMOOTHING)
    _bare(axes)
    axes.set_facecolor(_NO_VALUE)
    axes.set_title(kind.title, fontsize=9)
    bar = sheet.figure.colorbar(image, cax=sheet.bar(*place), extend="both")
    bar.set_label(kind.unit or "index", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    if kind.is_log:
        bar.ax.yaxis.set_major_locator(FixedLocator(_log_ticks(kind.low, kind.high)))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    return axes


def _draw_change(sheet: _Sheet, place: tuple[int, int], values: Map, kind: MapKind) -> Axes:
    axes = sheet.panel(*place)
    limit = change_limit(kind)
    image = axes.imshow(
        np.ma.masked_invalid(values), norm=Normalize(-limit, limit), cmap=_DIFFERENCE, interpolation=_SMOOTHING
    )
    _bare(axes)
    axes.set_title(f"{kind.title}: change", fontsize=9)
    bar = sheet.figure.colorbar(image, cax=sheet.bar(*place), extend="both")
    bar.ax.tick_params(labelsize=7)
    if kind.is_log:
        times = [1 / _MOST_TIMES, 1 / math.sqrt(_MOST_TIMES), 1.0, math.sqrt(_MOST_TIMES), _MOST_TIMES]
        bar.set_ticks([math.log(value) for value in times], labels=[f"{value:.2g}" for value in times])
        bar.set_label("times", fontsize=7.5)
    else:
        bar.set_label(f"difference, {kind.unit}" if kind.unit else "difference", fontsize=7.5)
    return axes


def _log_ticks(low: float, high: float) -> list[float]:
    """Return both ends of a scale and between them 1, 2 and 5 times powers of ten.

    Examples:
        >>> _log_ticks(0.005, 0.4)
        [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = (float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5))
    return [low, *(tick for tick in ticks if _APART * low < tick < high / _APART), high]


def _write_key(axes: Axes, labels: tuple[str, str]) -> None:
    """Write how a change is to be read where the third picture would be."""
    _bare(axes)
    axes.set_facecolor("none")
    said = (
        f"Change: red is more {labels[1]} than {labels[0]}, blue is less, light grey the same. White: no value in one "
        f"of them. What is {labels[0]} is laid over what is {labels[1]}, eyes on eyes and mouth on mouth."
    )
    axes.text(0.0, 0.5, textwrap.fill(said, 30), fontsize=8, va="center", transform=axes.transAxes)


def _shorten(name: str) -> str:
    """Return a name that is not much wider than a picture."""
    half = _MOST_LETTERS // 2
    return name if len(name) <= _MOST_LETTERS else f"{name[:half]} ... {name[-half:]}"


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
