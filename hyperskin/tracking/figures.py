"""Figures for a run: scores per band and by camera, spectra per subject, and the one sheet that shows a face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hyperskin.errors import ConsentError, ShapeError
from hyperskin.pictures import colour_map

SMALLEST_REGION = 1000
_MAP = "viridis"
_STYLES = {"masked": {"color": "#0072b2"}, "full": {"color": "#d55e00", "linestyle": "--"}}
_NAMES = {"masked": "masked", "full": "with background"}
_UNKNOWN, _FRAME = "#dddddd", "#d55e00"
_DARK = 0.55  # below it the map is too dark for black ink
_MEASURED, _RECONSTRUCTED = "#000000", "#d55e00"


class RegionSpectra(Protocol):
    """Mean and spread of one subject's spectra, (C,) each, over a region of so many pixels."""

    @property
    def subject(self) -> str: ...  # noqa: D102 - says its name
    @property
    def region(self) -> str: ...  # noqa: D102 - says its name
    @property
    def pixel_count(self) -> int: ...  # noqa: D102 - says its name
    @property
    def measured_mean(self) -> npt.NDArray[np.float64]: ...  # noqa: D102 - says its name
    @property
    def measured_std(self) -> npt.NDArray[np.float64]: ...  # noqa: D102 - says its name
    @property
    def reconstructed_mean(self) -> npt.NDArray[np.float64]: ...  # noqa: D102 - says its name
    @property
    def reconstructed_std(self) -> npt.NDArray[np.float64]: ...  # noqa: D102 - says its name


def draw_bands(rows: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Return SSIM and RMSE over wavelength, masked and with background; `rows` hold `wavelength_nm` and the scores."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    wavelength_nm = [row["wavelength_nm"] for row in rows]
    for axes, metric, label in ((upper, "ssim", "SSIM"), (lower, "rmse", "RMSE of reflectance")):
        for region in _STYLES:
            key = f"{metric}/{region}"
            if rows and key in rows[0]:
                axes.plot(wavelength_nm, [row[key] for row in rows], label=_NAMES[region], **_STYLES[region])
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    if upper.lines:
        upper.legend()
    lower.set_xlabel("wavelength in nm")
    figure.suptitle(title)
    return figure


def draw_spectra(spectra: RegionSpectra, wavelength_nm: Sequence[float], *, title: str) -> Figure:
    """Return one subject's measured and reconstructed spectrum, each as mean and spread over a region.

    Raises:
        ConsentError: The region is so small that its spectrum says more than a mean.
    """
    if spectra.pixel_count < SMALLEST_REGION:
        raise ConsentError(
            f"A spectrum may be shown as the mean over at least {SMALLEST_REGION} pixels; {spectra.subject} has "
            f"{spectra.pixel_count}: take a larger region."
        )
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    _draw_spread(
        axes, wavelength_nm, spectra.reconstructed_mean, spectra.reconstructed_std, _RECONSTRUCTED, "reconstructed"
    )
    _draw_spread(axes, wavelength_nm, spectra.measured_mean, spectra.measured_std, _MEASURED, "measured")
    axes.set(xlabel="wavelength in nm", ylabel="reflectance")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(f"{title}\n{spectra.subject}, {spectra.region}: mean ± spread over {spectra.pixel_count} pixels")
    return figure


def draw_sheet(
    input_rgb: npt.NDArray[Any],
    measured_rgb: npt.NDArray[Any],
    reconstructed_rgb: npt.NDArray[Any],
    angle_rad: npt.NDArray[Any],
    *,
    title: str,
    largest_rad: float = 0.3,
) -> Figure:
    """Return input, measured, reconstructed and error map side by side; it shows a face, so it needs `save_picture`.

    Args:
        input_rgb: What the camera gave, (H, W, 3) in [0, 1]; the next two alike, rendered from the cubes.
        measured_rgb: Colours of the measured cube.
        reconstructed_rgb: Colours of the reconstructed cube.
        angle_rad: Spectral angle, (H, W), NaN where there is none.
        title: Heading.
        largest_rad: The angle that gets the last colour, the same on every sheet so that sheets compare.

    Raises:
        ShapeError: The pictures are not of one size.
    """
    pictures = {"input": input_rgb, "measured": measured_rgb, "reconstructed": reconstructed_rgb}
    for name, picture in pictures.items():
        if picture.shape != (*angle_rad.shape, 3):
            raise ShapeError(f"`{name}_rgb` must have shape {(*angle_rad.shape, 3)} like the map; got {picture.shape}.")
    pictures["spectral angle"] = colour_map(angle_rad, low=0.0, high=largest_rad, name=_MAP) / 255.0
    # One strip in one pair of axes: four of them, laid out for every sheet, take four times as long.
    figure = Figure(figsize=(13, 3.6))
    axes = figure.add_axes((0.01, 0.02, 0.91, 0.82))
    axes.imshow(_join(list(pictures.values())))
    axes.set_axis_off()
    step = angle_rad.shape[1] + _gap(angle_rad.shape[1])
    for place, name in enumerate(pictures):
        middle = place * step + angle_rad.shape[1] / 2
        axes.annotate(name, (middle, 0), (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize=12)
    scale = ScalarMappable(Normalize(0.0, largest_rad), _MAP)
    figure.colorbar(scale, cax=figure.add_axes((0.935, 0.06, 0.012, 0.74)), label="rad", extend="max")
    figure.suptitle(title)
    return figure


def draw_matrix(
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    marked: Sequence[Sequence[bool]],
    title: str,
) -> Figure:
    """Return numbers as coloured cells with the numbers in them: rows trained on, columns tested on.

    Args:
        values: A list for each row; NaN where nothing is known.
        rows: Names of the rows.
        columns: Names of the columns.
        marked: Which cells have a frame, by row.
        title: Heading.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[np.isfinite(numbers)]
    scale = Normalize(*((float(known.min()), float(known.max())) if known.size else (0.0, 1.0)))
    longest = max(map(len, rows))
    figure = Figure(figsize=(2.4 + 0.07 * longest + 0.62 * len(columns), 2.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for row, column in np.ndindex(*numbers.shape):
        _draw_cell(axes, column, row, float(numbers[row, column]), scale, is_marked=marked[row][column])
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel="tested with", ylabel="trained on")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    figure.colorbar(ScalarMappable(scale, _MAP), ax=axes, label="rad")
    figure.suptitle(f"{title}\nframed: trained on that camera", fontsize=10)
    return figure


def _draw_cell(axes: Axes, column: int, row: int, value: float, scale: Normalize, *, is_marked: bool) -> None:
    """Draw one number on its colour; cells are drawn one by one, for an image would need a subject's consent."""
    is_known = bool(np.isfinite(value))
    colour = colormaps[_MAP](scale(value)) if is_known else _UNKNOWN
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.5))
    if is_marked:
        axes.add_patch(Rectangle((column - 0.44, row - 0.42), 0.88, 0.84, fill=False, edgecolor=_FRAME, linewidth=1.6))
    if is_known:
        ink = "white" if scale(value) < _DARK else "black"
        axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=7.5, color=ink)


def _join(pictures: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Return pictures (H, W, 3) side by side, white between them; values outside [0, 1] are clipped."""
    height, width, _ = pictures[0].shape
    white = np.ones((height, _gap(width), 3), dtype=np.float32)
    parts = [part for picture in pictures for part in (white, np.clip(np.nan_to_num(picture), 0.0, 1.0))]
    return np.concatenate(parts[1:], axis=1, dtype=np.float32)


def _gap(width: int) -> int:
    return max(1, width // 24)


def _draw_spread(
    axes: Axes,
    wavelength_nm: Sequence[float],
    mean: npt.NDArray[np.float64],
    std: npt.NDArray[np.float64],
    colour: str,
    label: str,
) -> None:
    axes.plot(wavelength_nm, mean, color=colour, label=label)
    axes.fill_between(wavelength_nm, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
