"""Structural similarity over masked windows: only pixels under the mask enter, in means and in variances alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from hyperskin.cube import Cube, Mask
from hyperskin.errors import DataError, UnknownNameError
from hyperskin.metrics.pixels import Float64, bounding_box, require_comparable, require_finite

Centres = Literal["any", "inside", "coverage"]
Border = Literal["valid", "renormalise"]

SIGMA_PX = 1.5
RADIUS_PX = 5
WINDOW_PX = 2 * RADIUS_PX + 1
_K1, _K2 = 0.01, 0.03
_STRIP_PX = 24  # rows of windows at a time: their fields fit a core's cache
_BLOCK_PX = 8  # windows of one matrix product: measured best of 4 to 64, larger ones multiply more zeros
_SAMPLE_PX = 4096
_LEAST_WEIGHT = 1e-250  # a lighter pixel, alone under a window's corner, would underflow


@dataclass(frozen=True)
class SsimResult:
    """Mean structural similarity over the windows that count.

    Attributes:
        value: Mean over bands, within [-1, 1]; NaN if no window counts.
        per_band: Mean of each band, (C,), float64.
        window_count: Windows in each band's mean.
    """

    value: float
    per_band: Float64
    window_count: int


def ssim(
    estimate: Cube,
    reference: Cube,
    mask: Mask | None = None,
    *,
    data_range: float,
    centres: Centres = "any",
    border: Border = "valid",
) -> SsimResult:
    """Return the mean structural similarity of two cubes, band by band, under a mask.

    Windows are 11 x 11 px, Gaussian with sigma 1.5 px. Within a window the weights are renormalised over the pixels
    under the mask, so nothing behind the mask has any influence, be it NaN. Variances are biased, since a window may
    hold a single pixel. On a full mask this is the index of Wang et al.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.
        data_range: Span of values that counts as full contrast; 1.0 for reflectance.
        centres: Which windows count: "any" with at least one pixel under the mask, all alike; "inside" those whose
            centre is under the mask, with the centre's weight; "coverage" those of "any", with the Gaussian weight of
            the mask in them, which is the one continuous in soft masks.
        border: "valid" takes the windows that lie wholly in the frame; "renormalise" takes every centre and treats
            what lies outside as behind the mask.

    Returns:
        The mean with its bands; NaN and 0 where no window counts.

    Raises:
        ShapeError: The arrays do not fit each other.
        DataError: A selected value is NaN or infinite, or `data_range` is not positive.
        UnknownNameError: `centres` or `border` has no such choice.

    Source:
        Wang et al. (2004), doi:10.1109/TIP.2003.819861, eq. 13; masked windows as Hyper-Skin (2023), section 4.1,
        describes them, by normalised convolution (Knutsson and Westin, 1993, doi:10.1109/CVPR.1993.341081).

    Examples:
        >>> cube = np.random.default_rng(0).random((24, 32, 31))
        >>> ssim(cube, cube, data_range=1.0).value
        1.0
    """
    (result,) = ssim_by_centres(
        estimate, reference, mask, data_range=data_range, centres=(centres,), border=border
    ).values()
    return result


def ssim_by_centres(
    estimate: Cube,
    reference: Cube,
    mask: Mask | None = None,
    *,
    data_range: float,
    centres: Sequence[Centres],
    border: Border = "valid",
) -> dict[Centres, SsimResult]:
    """Return what `ssim` returns for several choices of `centres`, at the price of one.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.
        data_range: Span of values that counts as full contrast.
        centres: Which windows count; several answers.
        border: As in `ssim`.

    Returns:
        One result for each of `centres`.

    Raises:
        HyperSkinError: As `ssim`.

    Source:
        As `ssim`.
    """
    _require_choices(data_range, centres, border)
    require_comparable(estimate, reference, mask)
    bands = reference.shape[2]
    scene = _prepare(estimate, reference, mask, border)
    if scene is None:
        return {rule: SsimResult(float("nan"), np.full(bands, np.nan), 0) for rule in centres}
    weights = {rule: scene.centre_weights(rule) for rule in centres}
    sums = {rule: np.zeros(bands) for rule in centres}
    for band, rows, similarity in _similarities(scene, data_range):
        for rule in centres:
            sums[rule][band] += np.einsum("ij,ij", weights[rule][rows], similarity)
    return {rule: _mean(sums[rule], weights[rule]) for rule in centres}


def ssim_map(
    estimate: Cube, reference: Cube, mask: Mask | None = None, *, data_range: float, border: Border = "valid"
) -> Float64:
    """Return the structural similarity around every pixel, averaged over bands.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Which pixels count, (H, W), bool or weights in [0, 1]; None for all.
        data_range: Span of values that counts as full contrast.
        border: As in `ssim`.

    Returns:
        The index, (H, W), float64, within [-1, 1]; NaN at centres behind the mask and, with border "valid", within
        5 px of the frame's edge. Its mean over the rest is `ssim(..., centres="inside")` for a bool mask.

    Raises:
        HyperSkinError: As `ssim`.

    Source:
        As `ssim`.
    """
    _require_choices(data_range, (), border)
    require_comparable(estimate, reference, mask)
    index = np.full(reference.shape[:2], np.nan)
    scene = _prepare(estimate, reference, mask, border)
    if scene is None:
        return index
    total = np.zeros_like(scene.coverage)
    for _, rows, similarity in _similarities(scene, data_range):
        total[rows] += similarity
    is_inside = scene.centre_weights("inside") > 0
    top, left = scene.first_centre
    part = index[top : top + total.shape[0], left : left + total.shape[1]]
    part[is_inside] = total[is_inside] / reference.shape[2]
    return index


@dataclass(frozen=True)
class _Scene:
    """The part of two cubes that windows under the mask can reach; windows sit wholly inside it.

    Attributes:
        estimate: (h, w, C).
        reference: (h, w, C).
        weights: (h, w), float64, largest 1; None if every pixel weighs 1.
        coverage: Gaussian weight of the mask under each window, (h - 10, w - 10); exactly 0 where no pixel counts.
        first_centre: Row and column, in the frame, of the first window's centre.
    """

    estimate: Cube
    reference: Cube
    weights: Float64 | None
    coverage: Float64
    first_centre: tuple[int, int]

    def centre_weights(self, centres: Centres) -> Float64:
        """Return how much each window counts, (h - 10, w - 10)."""
        if centres == "coverage":
            return self.coverage
        if centres == "any" or self.weights is None:
            return (self.coverage > 0).astype(np.float64)
        return self.weights[RADIUS_PX:-RADIUS_PX, RADIUS_PX:-RADIUS_PX]


def _prepare(estimate: Cube, reference: Cube, mask: Mask | None, border: Border) -> _Scene | None:
    """Cut the scene out of the frame; None if no window counts."""
    pixels: Mask = np.ones(reference.shape[:2], dtype=np.bool_) if mask is None else mask
    box = bounding_box(pixels > 0, margin_px=2 * RADIUS_PX)  # as far as windows with a pixel under the mask reach
    if box is None:
        return None
    rows, columns = box
    estimate, reference, pixels = estimate[rows, columns], reference[rows, columns], pixels[rows, columns]
    first_centre = (rows.start + RADIUS_PX, columns.start + RADIUS_PX)
    if border == "renormalise":
        first_centre = (rows.start, columns.start)
        rim = ((RADIUS_PX, RADIUS_PX), (RADIUS_PX, RADIUS_PX))
        estimate, reference = np.pad(estimate, (*rim, (0, 0))), np.pad(reference, (*rim, (0, 0)))
        pixels = np.pad(pixels, rim)
    if min(pixels.shape) < WINDOW_PX:
        return None
    weights = None if np.all(pixels == 1) else _weights(pixels)
    return _Scene(estimate, reference, weights, _coverage(pixels.shape, weights), first_centre)


def _weights(mask: Mask) -> Float64:
    """Return the mask as float64 with largest value 1, which changes no mean and keeps small ones from underflowing."""
    weights = mask.astype(np.float64)
    weights /= weights.max()
    return np.where(mask > 0, np.maximum(weights, _LEAST_WEIGHT), 0.0)


def _coverage(shape: tuple[int, ...], weights: Float64 | None) -> Float64:
    height, width = shape
    if weights is None:
        return np.ones((height - 2 * RADIUS_PX, width - 2 * RADIUS_PX))
    inner = (slice(RADIUS_PX, -RADIUS_PX), slice(RADIUS_PX, -RADIUS_PX))
    kernel = _kernel()
    coverage = ndimage.correlate1d(ndimage.correlate1d(weights, kernel, axis=0), kernel, axis=1)[inner]
    # A corner weighs 1e-6, so a threshold on the sum would lose windows; the maximum is exact.
    is_reached = ndimage.maximum_filter((weights > 0).astype(np.uint8), size=WINDOW_PX)[inner] > 0
    return np.where(is_reached, coverage, 0.0)


def _similarities(scene: _Scene, data_range: float) -> Iterator[tuple[int, slice, Float64]]:
    """Yield band, rows of windows, and the index at those windows, (rows, w - 10): strip by strip, band by band.

    With moments of the cubes' sum a = x + y and difference d = x - y, 2 xy = (aa - dd) / 2 and xx + yy = (aa + dd) / 2,
    for means as for variances. So four filtered fields do the work of five, equal cubes give exactly 1, the index
    cannot leave [-1, 1], and swapping the cubes changes no bit.
    """
    height, width = scene.coverage.shape
    strip = _Strip(scene)
    floors = 2.0 * np.square([_K1 * data_range, _K2 * data_range]).reshape(2, 1, 1)
    for top in range(0, height, _STRIP_PX):
        rows = strip.load(top)
        for band in range(scene.reference.shape[2]):
            with np.errstate(invalid="ignore", over="ignore"):  # a selected NaN stays NaN, and `_mean` refuses it
                of_sum, of_difference = strip.moments(band)
                above = of_sum - of_difference + floors
                below = of_sum + of_difference + floors
                index = above[0] * above[1] / (below[0] * below[1])
            yield band, rows, index[: rows.stop - top, :width]


class _Strip:
    """Windowed moments of some rows of windows, one band at a time, in buffers that fit a core's cache.

    The separable filter is two rounds of products with a small banded matrix, which BLAS does faster than any loop
    over 11 taps.
    """

    def __init__(self, scene: _Scene) -> None:
        self._scene = scene
        blocks = -(-scene.coverage.shape[1] // _BLOCK_PX)
        height, width = _STRIP_PX + 2 * RADIUS_PX, blocks * _BLOCK_PX + 2 * RADIUS_PX
        windows = (_STRIP_PX, blocks * _BLOCK_PX)  # some lie beyond the scene, on zeros
        self._typical = _typical_sum_and_difference(scene)
        self._across = _banded_kernel()
        self._down = np.ascontiguousarray(self._across.T)
        self._planes = np.zeros((2, scene.reference.shape[2], height, width))
        self._weights = np.zeros((height, width))
        self._inverse_coverage = np.zeros(windows)
        self._fields = np.zeros((4, height, width))  # a, d, aa, dd
        self._halfway = np.zeros((4, _STRIP_PX, width))
        self._filtered = np.zeros((4, *windows))
        self._moments = np.zeros((2, 2, *windows))
        # The same memory in blocks: 18 rows in, 8 out, (4, 3, 18 or 8, w); 18 columns in, 8 out, (blocks, 96, 18 or 8).
        taps = _BLOCK_PX + 2 * RADIUS_PX
        self._rows_in = sliding_window_view(self._fields, taps, axis=1)[:, ::_BLOCK_PX].swapaxes(2, 3)
        self._rows_out = self._halfway.reshape(4, -1, _BLOCK_PX, width)
        lines = self._halfway.reshape(-1, width)
        self._columns_in = sliding_window_view(lines, taps, axis=1)[:, ::_BLOCK_PX].swapaxes(0, 1)
        self._columns_out = self._filtered.reshape(-1, blocks, _BLOCK_PX).swapaxes(0, 1)

    def load(self, top: int) -> slice:
        """Read what the windows from row `top` on cover; return their rows."""
        scene = self._scene
        read = slice(top, top + _STRIP_PX + 2 * RADIUS_PX)
        lines, columns = scene.reference[read].shape[:2]
        for line in range(lines):  # line by line the transposition stays in the cache
            self._planes[0, :, line, :columns] = scene.estimate[top + line].T
            self._planes[1, :, line, :columns] = scene.reference[top + line].T
        self._planes[:, :, lines:] = 0.0
        rows = slice(top, top + lines - 2 * RADIUS_PX)
        if scene.weights is not None:
            self._weights[:lines, :columns] = scene.weights[read]
            self._weights[lines:] = 0.0
            np.copyto(self._planes, 0.0, where=self._weights == 0)  # before any product: 0 * NaN is NaN
            coverage = scene.coverage[rows]
            self._inverse_coverage[:] = 0.0
            inverse = self._inverse_coverage[: coverage.shape[0], : coverage.shape[1]]
            np.divide(1.0, coverage, where=coverage > 0, out=inverse)
        return rows

    def moments(self, band: int) -> Float64:
        """Return squared mean and variance of a = x + y and of d = x - y, (2, 2, 24, w - 10 or more) as [of a, of d].

        The array is good until the next call; what lies beyond the scene is finite and means nothing.
        """
        estimate, reference = self._planes[:, band]
        offset = self._typical[:, band, np.newaxis, np.newaxis]
        fields = self._fields
        np.add(estimate, reference, out=fields[0])
        np.subtract(estimate, reference, out=fields[1])
        fields[:2] -= offset  # else mean of squares - square of mean would lose digits
        np.multiply(fields[:2], fields[:2], out=fields[2:])
        if self._scene.weights is not None:
            fields *= self._weights
        np.matmul(self._down, self._rows_in, out=self._rows_out)
        np.matmul(self._columns_in, self._across, out=self._columns_out)
        if self._scene.weights is not None:
            self._filtered *= self._inverse_coverage
        means, squares = self._filtered[:2], self._filtered[2:]
        np.subtract(squares, means * means, out=self._moments[:, 1])
        means += offset
        np.multiply(means, means, out=self._moments[:, 0])
        return self._moments


@np.errstate(invalid="ignore", over="ignore")
def _typical_sum_and_difference(scene: _Scene) -> Float64:
    """Return a constant near every band's x + y and x - y, (2, C), from pixels spread over those that count."""
    weights = scene.weights
    rows, columns = np.nonzero(np.ones(scene.reference.shape[:2]) if weights is None else weights)
    spread = slice(None, None, 1 + len(rows) // _SAMPLE_PX)
    estimate = scene.estimate[rows[spread], columns[spread]].mean(axis=0, dtype=np.float64)
    reference = scene.reference[rows[spread], columns[spread]].mean(axis=0, dtype=np.float64)
    return np.stack([estimate + reference, estimate - reference])


def _kernel() -> Float64:
    """Return the window's weights along one axis, (11,), sum 1."""
    kernel = np.exp(-0.5 * (np.arange(-RADIUS_PX, RADIUS_PX + 1) / SIGMA_PX) ** 2)
    normalised: Float64 = kernel / kernel.sum()
    return normalised


def _banded_kernel() -> Float64:
    """Return the matrix that filters 18 px to 8 from the right, (18, 8)."""
    banded = np.zeros((_BLOCK_PX + 2 * RADIUS_PX, _BLOCK_PX))
    for column in range(_BLOCK_PX):
        banded[column : column + WINDOW_PX, column] = _kernel()
    return banded


def _mean(sums: Float64, weights: Float64) -> SsimResult:
    window_count = int(np.count_nonzero(weights))
    if window_count == 0:
        return SsimResult(float("nan"), np.full(sums.shape, np.nan), 0)
    require_finite(sums)
    per_band = sums / weights.sum()
    return SsimResult(float(per_band.mean()), per_band, window_count)


def _require_choices(data_range: float, centres: Sequence[Centres], border: Border) -> None:
    if not (np.isfinite(data_range) and data_range > 0):
        raise DataError(f"`data_range` must be positive, 1.0 for reflectance; got {data_range!r}.")
    for rule in centres:
        if rule not in get_args(Centres):
            raise UnknownNameError(f"`centres` must be one of {', '.join(get_args(Centres))}; got {rule!r}.")
    if border not in get_args(Border):
        raise UnknownNameError(f"`border` must be one of {', '.join(get_args(Border))}; got {border!r}.")
