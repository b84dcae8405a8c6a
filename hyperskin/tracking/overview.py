"""One sheet that shows what was done: what went in, what came out, where it is wrong, and the subject's spectra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperskin.pictures import colour_map

_MAP = "viridis"
_LARGEST_RAD = 0.3
_MEASURED, _TRUE = "#000000", "#0072b2"
_RECONSTRUCTED = ("#d55e00", "#009e73", "#cc79a7")
_PANEL_INCHES = 2.6


@dataclass(frozen=True)
class Curve:
    """A mean spectrum over the subject's pixels: wavelengths in nm and reflectance, (C,) each."""

    wavelength_nm: npt.NDArray[np.float64]
    reflectance: npt.NDArray[np.float64]


@dataclass(frozen=True)
class OverviewRow:
    """One capture of the examination.

    Attributes:
        title: Whose it is.
        pictures: Pictures (H, W, 3) in [0, 1] by their heading.
        outline: Mask (H, W) to draw around the subject in the first picture; None draws none.
        angles: Spectral angle in rad, (H, W), by heading.
        measured: Measured spectra, one curve a pair.
        true: The same without noise, where known.
        reconstructed: By the model's name, one curve a pair.
    """

    title: str
    pictures: dict[str, npt.NDArray[np.float32]]
    outline: npt.NDArray[np.bool_] | None
    angles: dict[str, npt.NDArray[np.float64]]
    measured: list[Curve] = field(default_factory=list)
    true: list[Curve] = field(default_factory=list)
    reconstructed: dict[str, list[Curve]] = field(default_factory=dict)


def draw_overview(rows: Sequence[OverviewRow], *, title: str) -> Figure:
    """Return the sheet, a row for each capture; it shows faces, so it needs `save_picture`."""
    columns = max(len(row.pictures) + len(row.angles) for row in rows)
    widths = [1.0] * columns + [2.1]
    figure = Figure(figsize=(_PANEL_INCHES * sum(widths), _PANEL_INCHES * len(rows) + 0.9), layout="constrained")
    grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=widths)
    for axes, row in zip(grid, rows, strict=True):
        _draw_row(axes, row, is_first=row is rows[0], is_last=row is rows[-1])
    figure.suptitle(f"{title}\nspectral angle: dark 0, bright {_LARGEST_RAD:g} rad and more", fontsize=11)
    return figure


def _draw_row(axes: npt.NDArray[Any], row: OverviewRow, *, is_first: bool, is_last: bool) -> None:
    shown: dict[str, npt.NDArray[np.floating[Any]]] = {**row.pictures}
    for name, angle in row.angles.items():
        shown[name] = colour_map(angle, low=0, high=_LARGEST_RAD, name=_MAP) / 255.0
    for place, (panel, (heading, picture)) in enumerate(zip(axes, shown.items(), strict=False)):
        panel.imshow(np.clip(picture, 0, 1), interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
        if is_first:
            panel.set_title(heading, fontsize=9)
        if place == 0:
            panel.set_ylabel(row.title, fontsize=9)
            if row.outline is not None:
                panel.contour(row.outline, levels=[0.5], colors="white", linewidths=0.8)
    _draw_curves(axes[-1], row)
    if is_first:
        axes[-1].set_title("mean spectrum of the subject's pixels", fontsize=9)
        axes[-1].legend(fontsize=7, loc="upper left")
    if is_last:
        axes[-1].set_xlabel("wavelength in nm", fontsize=8)


def _draw_curves(axes: Axes, row: OverviewRow) -> None:
    for curves, style, label in (
        (row.measured, {"color": _MEASURED, "linewidth": 2.0}, "measured"),
        (row.true, {"color": _TRUE, "linestyle": ":"}, "without noise"),
    ):
        _draw_pieces(axes, curves, label, **style)
    for colour, (name, curves) in zip(_RECONSTRUCTED, row.reconstructed.items(), strict=False):
        _draw_pieces(axes, curves, name, color=colour, linestyle="--")
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.set_ylim(bottom=0)
    axes.yaxis.tick_right()


def _draw_pieces(axes: Axes, curves: Sequence[Curve], label: str, **style: object) -> None:
    for number, curve in enumerate(curves):
        axes.plot(curve.wavelength_nm, curve.reflectance, label=label if number == 0 else None, **style)  # type: ignore[arg-type]  # matplotlib's own keywords
