"""Whether a reconstruction keeps what skin is read for: its maps against those of the measured cube, or the truth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperskin.errors import ShapeError

Map = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Row = dict[str, str | float]

PREFIX = "fidelity/"
TRUTH = "_truth"
"""Ends the keys of what is held against a phantom's truth in place of the measured cube."""

_SHARES = {"melanin_fraction": "melanin", "blood_fraction": "blood"}
_POINTS = {"oxygenation": "oxygenation", "water_fraction": "water"}
_INDICES = {
    "melanin_index": "melanin_index",
    "erythema_index": "erythema_index",
    "water_index": "water_index",
    "typology_angle": "ita_deg",
}
_MOST_PIXELS = 20_000  # of one capture in what is pooled
_CONSTANT = 1e-4  # standard deviation of shares, or of their logarithms; float32 itself makes less
_LEAST_PIXELS = 16  # for a correlation, or a median of a region


@dataclass(frozen=True, eq=False)
class Fidelity:
    """What one reconstruction kept of one capture's skin.

    Attributes:
        values: By metric key, finite ones only: medians of relative errors over the skin's pixels
            (`fidelity/melanin_relative_error`, `blood`), means of absolute errors in percentage points
            (`fidelity/oxygenation_mae_pp`, `water`), correlations over the pixels, of logarithms where shares are
            compared (`fidelity/melanin_r_within`, ...), differences of the medians of regions, in the index's own unit
            (`fidelity/melanin_index`, `erythema_index`, `water_index`, `ita_deg`), and the share of the skin that
            cannot be read (`fidelity/unreadable`).
        regions: One row a region: `region`, and errors of the region's medians.
        pixels: (2, N) float32 by quantity: reference and estimate at evenly chosen pixels, to be pooled.
    """

    values: dict[str, float]
    regions: list[Row]
    pixels: dict[str, npt.NDArray[np.float32]]


def compare_maps(
    estimate: Mapping[str, Map],
    reference: Mapping[str, Map],
    skin: Bools,
    *,
    regions: Mapping[str, Bools] | None = None,
    suffix: str = "",
) -> Fidelity:
    """Return how far the maps of a reconstruction are from those they should be.

    Args:
        estimate: Maps of the reconstructed cube by name, (H, W), of `hyperskin.skin.maps`.
        reference: Maps of the measured or noise-free cube, by the same method, or a phantom's true ones.
        skin: Which pixels are skin, (H, W) bool.
        regions: Pixels of regions of the face by name, (H, W) bool each; the whole skin is the only one if None.
        suffix: Ends every key: `TRUTH` or nothing.

    Returns:
        Values for what both sides have.

    Raises:
        ShapeError: A map or region is not of the shape of `skin`.
    """
    _require_shapes(estimate, reference, skin, regions or {})
    values: dict[str, float] = {}
    pixels: dict[str, npt.NDArray[np.float32]] = {}
    unreadable = []
    for name, what in (_SHARES | _POINTS).items():
        if name not in estimate or name not in reference:
            continue
        told, found = _pairs(reference[name], estimate[name], skin, is_share=name in _SHARES)
        known = np.isfinite(told)
        unreadable.append(1 - float(np.isfinite(found[known]).mean()) if known.any() else math.nan)
        both = known & np.isfinite(found)
        if not both.any():
            continue
        told, found = told[both], found[both]
        pixels[what] = _thin(np.stack([told, found]))
        values |= _errors(what, told, found, is_share=name in _SHARES)
    rows = [
        row for name, where in (regions or {"skin": skin}).items() if (row := _region(name, estimate, reference, where))
    ]
    for key in _INDICES.values():
        differences = [float(row[key]) for row in rows if key in row]
        if differences:
            values[key] = math.fsum(differences) / len(differences)
    if unreadable:
        values["unreadable"] = max(unreadable)
    return Fidelity(
        values={f"{PREFIX}{key}{suffix}": value for key, value in values.items() if math.isfinite(value)},
        regions=rows,
        pixels={f"{what}{suffix}": pair for what, pair in pixels.items()},
    )


def pool(captures: Sequence[Fidelity]) -> dict[str, float]:
    """Return what can be told only over all captures together, by metric key.

    `fidelity/melanin_r` and its like correlate the pixels of all people: a person's level counts, where
    `melanin_r_within` sees only what differs within one face. `fidelity/oxygenation_constant_mae_pp` is the error of
    saying for every pixel what is the mean of all: whoever is not below it reads nothing.
    """
    metrics = {}
    for what in dict.fromkeys(name for capture in captures for name in capture.pixels):
        told, found = np.concatenate([one.pixels[what] for one in captures if what in one.pixels], axis=1, dtype=float)
        base, _, suffix = what.partition("_")
        suffix = f"_{suffix}" if suffix else ""
        metrics[f"{PREFIX}{base}_r{suffix}"] = _correlation(told, found)
        if base in _POINTS.values():
            metrics[f"{PREFIX}{base}_constant_mae_pp{suffix}"] = 100 * float(np.abs(told - told.mean()).mean())
    return {key: value for key, value in metrics.items() if math.isfinite(value)}


def per_region(captures: Sequence[Fidelity]) -> list[Row]:
    """Return one row a region, with means over the captures that show it."""
    groups: dict[str, list[Row]] = {}
    for row in (row for capture in captures for row in capture.regions):
        groups.setdefault(str(row["region"]), []).append(row)
    return [{"region": name, "n_images": len(members), **_means(members)} for name, members in groups.items()]


def _require_shapes(
    estimate: Mapping[str, Map], reference: Mapping[str, Map], skin: Bools, regions: Mapping[str, Bools]
) -> None:
    for name, values in (*estimate.items(), *reference.items(), *regions.items()):
        if values.shape != skin.shape:
            raise ShapeError(f"Every map and region must be {skin.shape} like `skin`; got {name} {values.shape}.")


def _pairs(reference: Map, estimate: Map, skin: Bools, *, is_share: bool) -> tuple[Floats, Floats]:
    """Return both sides at the skin's pixels, as logarithms where shares are compared; NaN where there is none."""
    told, found = reference[skin].astype(np.float64), estimate[skin].astype(np.float64)
    if not is_share:
        return told, found
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(told), np.log(found)


def _errors(what: str, told: Floats, found: Floats, *, is_share: bool) -> dict[str, float]:
    within = {f"{what}_r_within": _correlation(told, found)}
    if is_share:
        return {f"{what}_relative_error": float(np.median(np.abs(np.expm1(found - told))))} | within
    return {f"{what}_mae_pp": 100 * float(np.abs(found - told).mean())} | within


def _correlation(told: Floats, found: Floats) -> float:
    """Return Pearson's r; NaN for too few pixels, or where one side is constant but for its last digits."""
    if told.size < _LEAST_PIXELS or min(told.std(), found.std()) < _CONSTANT:
        return math.nan
    one, other = told - told.mean(), found - found.mean()
    return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))


def _region(name: str, estimate: Mapping[str, Map], reference: Mapping[str, Map], where: Bools) -> Row:
    """Return the errors of one region's medians; empty where it shows too little skin."""
    row: Row = {}
    for key, told, found in _medians(estimate, reference, where):
        if key in _SHARES:
            row[f"{_SHARES[key]}_relative_error"] = abs(found / told - 1)
        elif key in _POINTS:
            row[f"{_POINTS[key]}_error_pp"] = 100 * abs(found - told)
        else:
            row[_INDICES[key]] = abs(found - told)
    return {"region": name, **row} if row else {}


def _medians(
    estimate: Mapping[str, Map], reference: Mapping[str, Map], where: Bools
) -> Iterator[tuple[str, float, float]]:
    for key in (*_SHARES, *_POINTS, *_INDICES):
        if key in estimate and key in reference:
            told, found = reference[key][where], estimate[key][where]
            both = np.isfinite(told) & np.isfinite(found)
            if np.count_nonzero(both) >= _LEAST_PIXELS:
                yield key, float(np.median(told[both])), float(np.median(found[both]))


def _thin(pairs: Floats) -> npt.NDArray[np.float32]:
    step = -(-pairs.shape[1] // _MOST_PIXELS) or 1
    return pairs[:, ::step].astype(np.float32)


def _means(rows: Sequence[Row]) -> Row:
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, float))
    found = {key: [float(row[key]) for row in rows if key in row] for key in keys}
    return {key: math.fsum(values) / len(values) for key, values in found.items()}
