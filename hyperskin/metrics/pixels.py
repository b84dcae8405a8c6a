"""Which pixels a metric looks at: the checks of its arguments, the mask's box, the selected spectra block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Cube, Mask, require_cube, require_mask, require_same_shape
from hyperskin.errors import DataError

Float64 = npt.NDArray[np.float64]
Box = tuple[slice, slice]

_BLOCK_PX = 4096  # two cubes' spectra of so many pixels stay in a core's cache


def require_comparable(estimate: Cube, reference: Cube, mask: Mask | None) -> None:
    """Raise ShapeError unless both cubes are (H, W, C) of one shape and `mask`, if any, is (H, W) with weights."""
    require_cube("estimate", estimate)
    require_cube("reference", reference)
    require_same_shape("estimate", estimate, "reference", reference)
    if mask is not None:
        require_mask("mask", mask, (reference.shape[0], reference.shape[1]))


def require_finite(sums: npt.ArrayLike) -> None:
    """Raise DataError unless all `sums` over selected values are finite, which they are if the values are."""
    if not np.isfinite(sums).all():
        raise DataError("`estimate` and `reference` must be finite wherever `mask` selects; got NaN or infinity.")


def bounding_box(selected: npt.NDArray[np.bool_], *, margin_px: int) -> Box | None:
    """Return rows and columns of the box around True, widened within the frame; None if all is False."""
    rows = np.flatnonzero(selected.any(axis=1))
    if rows.size == 0:
        return None
    return _widen(rows, margin_px), _widen(np.flatnonzero(selected.any(axis=0)), margin_px)


def row_blocks(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows that cover a frame, each some thousand pixels."""
    rows = max(1, _BLOCK_PX // width)
    for top in range(0, height, rows):
        yield slice(top, top + rows)


def selected_spectra(estimate: Cube, reference: Cube, mask: Mask | None) -> Iterator[tuple[Float64, Float64, Float64]]:
    """Yield estimated and measured spectra, (N, C), and weights, (N,), of the pixels that weigh anything.

    All are new float64 arrays of some thousand pixels; together they walk once over the frame, row by row.
    """
    height, width, bands = reference.shape
    for rows in row_blocks(height, width):
        if mask is None:
            estimated, measured = estimate[rows].reshape(-1, bands), reference[rows].reshape(-1, bands)
            weights = np.ones(len(measured))
        else:
            selected = mask[rows] > 0
            estimated, measured = estimate[rows][selected], reference[rows][selected]
            weights = mask[rows][selected].astype(np.float64)
        yield estimated.astype(np.float64), measured.astype(np.float64), weights


def _widen(indices: npt.NDArray[np.intp], margin_px: int) -> slice:
    return slice(max(0, int(indices[0]) - margin_px), int(indices[-1]) + 1 + margin_px)
