"""Raw counts to the cubes that are wanted, in one pass that holds a few lines; the detector's bands need no cube."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.envi import Counts
from hyperskin.errors import DataError, ShapeError
from hyperskin.spectral.calibration import Detector, Repair, inspect_detector, plan_repair, require_counts
from hyperskin.spectral.resampling import Kind, resampling_operator

Lines = npt.NDArray[np.float32]

_GROUP_BANDS = 8  # wanted bands whose neighbourhoods are multiplied together


@dataclass(frozen=True)
class Developed:
    """Some lines of a capture, developed.

    Attributes:
        cubes: (l, W, C_out) float32 reflectance by name.
        valid: (l, W) bool. False where a count that entered the cubes was at full scale or not finite, or came from a
            bad element that was not repaired.
        full: (l, W, C) float32 reflectance on all bands of the detector, if asked for.
    """

    cubes: dict[str, Lines]
    valid: npt.NDArray[np.bool_]
    full: Lines | None = None


@dataclass
class Tally:
    """What was met on the way, over all lines so far.

    Attributes:
        repaired: Pixels with a value from an element that was repaired.
        saturated: Pixels with a count at full scale.
        invalid: Pixels that are not valid.
        negative: Values below 0 in the cubes.
        above_one: Values above 1 in the cubes.
    """

    repaired: int = 0
    saturated: int = 0
    invalid: int = 0
    negative: int = 0
    above_one: int = 0


def develop(
    line_blocks: Callable[[int], Iterator[Counts]],
    white_lines: Counts,
    dark_lines: Counts,
    bands: Bands,
    targets: Mapping[str, Bands],
    *,
    kind: Kind,
    fwhm_nm: float | None = None,
    white_reflectance: float = 1.0,
    repair: bool = True,
    max_bad_fraction: float = 0.01,
    full_scale: int,
    lines: int = 16,
    keep_full: bool = False,
) -> Development:
    """Calibrate and resample a capture while its lines stream by.

    Args:
        line_blocks: Called with a number of lines, yields the capture's counts (l, W, C) from top to bottom.
        white_lines: Counts over the white reference, (L, W, C).
        dark_lines: Counts behind the closed shutter, (M, W, C).
        bands: Bands of the detector, C of them.
        targets: Bands of every cube that is wanted, by its name.
        kind: How bands are resampled, see `resampling_operator`.
        fwhm_nm: Width of the wanted bands in nm for "gaussian".
        white_reflectance: Reflectance of the white reference, unitless.
        repair: Whether bad detector elements are interpolated from their neighbours; else their pixels are invalid.
        max_bad_fraction: Largest fraction of bad elements that is accepted.
        full_scale: Largest count the sensor can give.
        lines: Lines to read and yield at once, 15 MB of FX10 counts by default; no value depends on it.
        keep_full: Whether the reflectance on all bands of the detector is yielded as well.

    Returns:
        An iterable over `Developed` blocks from top to bottom; its `counts()` are complete when it has ended.

    Raises:
        ShapeError: References, bands and counts do not fit together.
        DataError: The references cannot be right, `bands` do not cover the targets, or (while iterating) a count
            exceeds `full_scale`.

    Source:
        Hyper-Skin (2023), section 3: flat-field calibration with a white and a dark reference, then interpolation to 31
        bands. Both are linear in the counts, so that they are done as one.
    """
    if white_lines.shape[-1] != len(bands):
        raise ShapeError(f"`white_lines` must have {len(bands)} bands like `bands`; got shape {white_lines.shape}.")
    if not targets or lines < 1:
        raise DataError(f"There must be a cube to make and a line to yield; got {len(targets)} cubes, {lines} lines.")
    operator = np.concatenate(
        [resampling_operator(bands, target, kind=kind, fwhm_nm=fwhm_nm) for target in targets.values()]
    )
    detector = inspect_detector(
        white_lines,
        dark_lines,
        full_scale=full_scale,
        white_reflectance=white_reflectance,
        max_bad_fraction=max_bad_fraction,
    )
    plan = plan_repair(detector.bad if repair else np.zeros_like(detector.bad))
    sizes = {name: len(target) for name, target in targets.items()}
    return Development(line_blocks, detector, plan, operator, sizes, full_scale, lines, keep_full)


class Development:
    """A capture being developed; iterate once for its blocks, then ask for the counts. Made by `develop`."""

    def __init__(
        self,
        line_blocks: Callable[[int], Iterator[Counts]],
        detector: Detector,
        repair: Repair,
        operator: npt.NDArray[np.float64],
        sizes: Mapping[str, int],
        full_scale: int,
        lines: int,
        keep_full: bool,
    ) -> None:
        self.detector = detector
        self.tally = Tally()
        self._line_blocks = line_blocks
        self._sizes = sizes
        self._lines = lines
        self._combine = (_TwoTaps if _has_two_taps(operator) else _Neighbourhoods)(operator, detector, repair)
        self._substitutes = _Substitutes(detector, repair)
        self._watch = _Watch(operator, detector, repair, full_scale)
        self._all_bands = _AllBands(detector, repair) if keep_full else None

    def __iter__(self) -> Iterator[Developed]:
        """Yield the developed lines from top to bottom."""
        self.tally = Tally()
        for counts in self._line_blocks(self._lines):
            yield self._develop(counts)

    def counts(self) -> dict[str, int]:
        """Return what was met so far and how many detector elements are bad, as plain numbers."""
        tally = {field.name: getattr(self.tally, field.name) for field in fields(self.tally)}
        reasons = {f"{reason}_elements": count for reason, count in self.detector.reasons.items()}
        return {**tally, "bad_elements": int(np.count_nonzero(self.detector.bad)), **reasons}

    def _develop(self, counts: Counts) -> Developed:
        require_counts(counts, self.detector)
        rows = counts.transpose(0, 2, 1)  # as a recorder writes them: band by band, each contiguous along the line
        substitutes = self._substitutes(rows)
        combined = self._combine(rows, substitutes)
        valid, saturated_count = self._watch(rows)
        self.tally.saturated += saturated_count
        self.tally.invalid += int(np.count_nonzero(~valid))
        self.tally.repaired += len(rows) * self._watch.repaired_column_count
        self.tally.negative += int(np.count_nonzero(combined < 0))
        self.tally.above_one += int(np.count_nonzero(combined > 1))
        full = None if self._all_bands is None else _turn(self._all_bands(rows, substitutes))
        return Developed(self._split(combined), valid, full)

    def _split(self, combined: Lines) -> dict[str, Lines]:
        first, cubes = 0, {}
        for name, size in self._sizes.items():
            cubes[name] = _turn(combined[:, first : first + size])
            first += size
        return cubes


class _Substitutes:
    """Reflectance of the bad elements, (l, N), from their good neighbours."""

    def __init__(self, detector: Detector, repair: Repair) -> None:
        self._sides = []
        for (column, band), share in ((repair.first, 1.0 - repair.share), (repair.second, repair.share)):
            gain = share * detector.gain[column, band]
            self._sides.append((column, band, detector.dark[column, band], gain))

    def __call__(self, rows: Counts) -> Lines:
        parts = [(rows[:, band, column] - dark) * gain for column, band, dark, gain in self._sides]
        return np.asarray(sum(parts), dtype=np.float32)


class _AllBands:
    """The reflectance itself, on every band of the detector."""

    def __init__(self, detector: Detector, repair: Repair) -> None:
        self._gain = detector.gain.T.astype(np.float32, order="C")
        self._constant = -(detector.gain * detector.dark).T.astype(np.float32, order="C")
        self._repair = repair

    def __call__(self, rows: Counts, substitutes: Lines) -> Lines:
        reflectance = _empty_rows(len(rows), self._gain.shape)
        np.multiply(rows, self._gain, out=reflectance)
        reflectance += self._constant
        reflectance[:, self._repair.band, self._repair.column] = substitutes
        return reflectance


class _TwoTaps:
    """Bands that lie between two of the detector: two products and a sum, on the bands that matter alone.

    (1-f) R[j] + f R[j+1] with R = (c - dark) gain is first * c[j] + second * c[j+1] + constant.
    """

    def __init__(self, operator: npt.NDArray[np.float64], detector: Detector, repair: Repair) -> None:
        self._lower = np.minimum((operator != 0).argmax(axis=1), operator.shape[1] - 2)
        rows = np.arange(len(operator))
        dark, gain = detector.dark.T, detector.gain.T
        first = operator[rows, self._lower, np.newaxis] * gain[self._lower]
        second = operator[rows, self._lower + 1, np.newaxis] * gain[self._lower + 1]
        constant = -(first * dark[self._lower] + second * dark[self._lower + 1])
        self._first, self._second, self._constant = (part.astype(np.float32) for part in (first, second, constant))
        self._band, self._which = np.nonzero(operator[:, repair.band])
        self._column = repair.column[self._which]
        self._weight = operator[self._band, repair.band[self._which]].astype(np.float32)

    def __call__(self, rows: Counts, substitutes: Lines) -> Lines:
        combined = _empty_rows(len(rows), self._constant.shape)
        taken = np.empty(self._constant.shape, rows.dtype)
        product = np.empty_like(self._constant)
        for line, sums in zip(rows, combined, strict=True):
            np.take(line, self._lower, axis=0, out=taken, mode="clip")
            np.multiply(taken, self._first, out=sums)
            np.take(line, self._lower + 1, axis=0, out=taken, mode="clip")
            np.multiply(taken, self._second, out=product)
            sums += product
            sums += self._constant
        if self._which.size:
            patches = substitutes[:, self._which] * self._weight
            where: Any = (slice(None), self._band, self._column)  # numpy's stub of `at` knows no tuple
            np.add.at(combined, where, patches)
        return combined


class _Neighbourhoods:
    """Bands that are weighted means of many: a matrix product, group by group, on the bands that have weight.

    Every line is a product of its own, so that its values cannot depend on how many lines come together.
    """

    def __init__(self, operator: npt.NDArray[np.float64], detector: Detector, repair: Repair) -> None:
        dark, gain = detector.dark.T, detector.gain.T
        self._gain = gain.astype(np.float32, order="C")
        self._constant = -(operator @ (gain * dark)).astype(np.float32)
        self._repair = repair
        self._groups = []
        for first in range(0, len(operator), _GROUP_BANDS):
            wanted = slice(first, first + _GROUP_BANDS)
            used = np.flatnonzero(operator[wanted].any(axis=0))
            source = slice(int(used[0]), int(used[-1]) + 1)
            self._groups.append((wanted, source, operator[wanted, source].astype(np.float32, order="C")))

    def __call__(self, rows: Counts, substitutes: Lines) -> Lines:
        combined = _empty_rows(len(rows), self._constant.shape)
        scaled = np.empty_like(self._gain)
        for line, patches, sums in zip(rows, substitutes, combined, strict=True):
            np.multiply(line, self._gain, out=scaled)
            scaled[self._repair.band, self._repair.column] = patches
            for wanted, source, weights in self._groups:
                np.matmul(weights, scaled[source], out=sums[wanted])
            sums += self._constant
        return combined


class _Watch:
    """Tells which pixels can be trusted."""

    def __init__(self, operator: npt.NDArray[np.float64], detector: Detector, repair: Repair, full_scale: int) -> None:
        is_used = (operator != 0).any(axis=0)
        is_repaired = np.zeros_like(detector.bad)
        is_repaired[repair.column, repair.band] = True
        self._full_scale = full_scale
        self._is_used = is_used
        self._counted = is_used & ~detector.bad
        self._is_lost_column: npt.NDArray[np.bool_] = np.any(detector.bad & ~is_repaired & is_used, axis=1)
        needed = is_used[repair.band]
        self._patched_column = repair.column[needed]
        self._sides = (repair.first[:, needed], repair.second[:, needed])
        self.repaired_column_count = int(np.unique(self._patched_column).size)

    def __call__(self, rows: Counts) -> tuple[npt.NDArray[np.bool_], int]:
        """Return the valid map, (l, W), and how many pixels hold a count at full scale."""
        is_saturated = self._find_saturated(rows)
        valid = ~(is_saturated | self._is_lost_column)
        if np.issubdtype(rows.dtype, np.floating):
            valid &= (np.isfinite(rows) | ~self._is_used[:, np.newaxis]).all(axis=1)
        return valid, int(np.count_nonzero(is_saturated))

    def _find_saturated(self, rows: Counts) -> npt.NDArray[np.bool_]:
        is_saturated: npt.NDArray[np.bool_] = rows.max(axis=1) >= self._full_scale
        line, column = np.nonzero(is_saturated)
        if line.size == 0:
            return is_saturated
        spectra = np.where(self._counted[column], rows[line, :, column], 0)
        if (spectra > self._full_scale).any():
            raise DataError(
                f"Counts must not exceed the sensor's full scale of {self._full_scale}; got {spectra.max():g}."
            )
        is_saturated[line, column] = (spectra >= self._full_scale).any(axis=1)
        for source_column, band in self._sides:
            at_line, which = np.nonzero(rows[:, band, source_column] >= self._full_scale)
            is_saturated[at_line, self._patched_column[which]] = True
        return is_saturated


def _empty_rows(lines: int, shape: tuple[int, ...]) -> Lines:
    """Return room for (lines, bands, width) whose rows lie an odd number of cache lines apart.

    Rows of 1024 pixels without a gap would all fall on the same few places of the cache, and turning them would take
    eight times as long.
    """
    bands, width = shape
    room_px = 16 * (math.ceil(width / 16) | 1)
    return np.empty((lines, bands, room_px), dtype=np.float32)[..., :width]


def _turn(rows: Lines) -> Lines:
    """Return (l, bands, width) as (l, width, bands), contiguous."""
    return np.ascontiguousarray(rows.transpose(0, 2, 1))


def _has_two_taps(operator: npt.NDArray[np.float64]) -> bool:
    """Return whether every wanted band is made of at most two neighbours."""
    has_weight = operator != 0
    first, last = has_weight.argmax(axis=1), operator.shape[1] - 1 - has_weight[:, ::-1].argmax(axis=1)
    return bool(np.all(last - first <= 1))
