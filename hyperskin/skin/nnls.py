"""Least squares with coefficients that may not be negative: exact, for many right sides and few columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Spectra
from hyperskin.errors import ShapeError

Floats = npt.NDArray[np.float64]

_MOST_CONSTRAINED = 4
_RANK = 1e-11  # singular values below this share of the largest are zero
_CANCELS = 1e-9  # a squared residual below this share of the right side's is computed band by band
_BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class LeastSquares:
    """The solutions of N problems with one matrix.

    Attributes:
        coefficients: (N, K) float64; NaN where a right side is not finite.
        residual_rmse: Root mean square of what they leave, (N,) float64.
    """

    coefficients: Floats
    residual_rmse: Floats


def solve_nonnegative(matrix: Floats, right_sides: Spectra, *, free_count: int = 0) -> LeastSquares:
    """Return the coefficients x that minimise |matrix x - b| for every right side b, none of them negative.

    One of the solutions is a plain least-squares solution on some of the constrained columns, linearly independent,
    with zeros for the others; where columns are few, all such sets can be tried.

    Args:
        matrix: (C, K): at most 4 constrained columns, then the free ones.
        right_sides: (N, C).
        free_count: How many of the last columns may have any sign.

    Returns:
        The coefficients and what they leave. Where columns depend on each other several solutions leave the same, and
        one of them comes back.

    Raises:
        ShapeError: The arrays do not fit each other, or more than 4 columns are constrained.

    Source:
        Lawson and Hanson (1974), Solving Least Squares Problems, chapter 23, for what makes a solution.

    Examples:
        >>> columns = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> solve_nonnegative(columns, np.array([[2.0, -1.0, 0.0]])).coefficients.tolist()
        [[2.0, 0.0]]
    """
    columns = np.asarray(matrix, dtype=np.float64)
    if columns.ndim != 2 or right_sides.ndim != 2 or right_sides.shape[1] != columns.shape[0]:
        raise ShapeError(
            f"`right_sides` must be (N, C) for a `matrix` (C, K); got {right_sides.shape} for {columns.shape}."
        )
    constrained = columns.shape[1] - free_count
    if not 0 <= constrained <= _MOST_CONSTRAINED or free_count < 0:
        raise ShapeError(
            f"`matrix` must have 0 to {_MOST_CONSTRAINED} columns beside {free_count} free ones; got {constrained}."
        )
    solver = _Solver(columns, constrained)
    coefficients = np.empty((len(right_sides), columns.shape[1]))
    rmse = np.empty(len(right_sides))
    with np.errstate(invalid="ignore"):
        for first in range(0, len(right_sides), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            solver.solve(right_sides[rows].astype(np.float64, copy=False), coefficients[rows], rmse[rows])
    return LeastSquares(coefficients, rmse)


class _Solver:
    """A matrix made ready for many right sides.

    A right side is projected on all columns once. What follows needs only its few coordinates in their space, the free
    columns' first: sets of constrained columns differ in the others alone.
    """

    def __init__(self, columns: Floats, constrained: int) -> None:
        lengths = np.linalg.norm(columns, axis=0)
        scale = np.where(lengths > 0, lengths, 1.0)
        scaled = columns / scale
        free = _basis(scaled[:, constrained:])
        apart = scaled[:, :constrained] - free @ (free.T @ scaled[:, :constrained])
        own = _basis(apart)
        self._columns, self._constrained, self._own_from = columns, constrained, free.shape[1]
        self._basis = np.hstack([free, own])
        reduced = self._basis.T @ scaled
        self._plain = (np.linalg.pinv(reduced, rcond=_RANK) / scale[:, None]).T  # (r, K)
        # The free coefficients are those of the right side, less those of the constrained columns' part.
        free_inverse = np.linalg.pinv(scaled[:, constrained:], rcond=_RANK) / scale[constrained:, None]
        self._free = (free_inverse @ self._basis).T
        self._free_of_constrained = free_inverse @ columns[:, :constrained]
        # All sets at once: their coefficients, then coordinates of the part that they explain.
        self._sets = [
            chosen for size in range(constrained - 1, -1, -1) for chosen in combinations(range(constrained), size)
        ]
        rows = [np.empty((0, own.shape[1]))]
        for chosen in self._sets:
            within = own.T @ apart[:, list(chosen)]
            rows += [np.linalg.pinv(within, rcond=_RANK) / scale[list(chosen), None], _basis(within).T]
        self._ranks = [len(explained) for explained in rows[2::2]]
        self._trial = np.vstack(rows)

    def solve(self, right_sides: Floats, coefficients: Floats, rmse: Floats) -> None:
        """Fill the coefficients, (N, K), and what they leave, (N,)."""
        coordinates = right_sides @ self._basis
        np.matmul(coordinates, self._plain, out=coefficients)
        squared = np.vecdot(right_sides, right_sides)
        left = squared - np.vecdot(coordinates, coordinates)
        is_negative = np.zeros(len(coefficients), dtype=np.bool_)
        for column in coefficients[:, : self._constrained].T:
            is_negative |= column < 0
        negative = np.flatnonzero(is_negative)
        if negative.size:
            chosen, more = self._choose(coordinates[negative])
            coefficients[negative] = chosen
            left[negative] += more
        unusable = ~np.isfinite(squared)
        coefficients[unusable] = np.nan
        cancels = np.flatnonzero(~(left > _CANCELS * squared) | unusable)
        if cancels.size:
            rest = right_sides[cancels] - coefficients[cancels] @ self._columns.T
            left[cancels] = np.vecdot(rest, rest)
        np.sqrt(left / len(self._columns), out=rmse)

    def _choose(self, coordinates: Floats) -> tuple[Floats, Floats]:
        """Return the coefficients that belong to coordinates (n, r), and how much more they leave, squared."""
        own = np.ascontiguousarray(coordinates[:, self._own_from :].T)
        trial = self._trial @ own
        most = np.full(own.shape[1], -1.0)
        best = np.zeros((self._constrained, own.shape[1]))
        at = 0
        for chosen, rank in zip(self._sets, self._ranks, strict=True):
            found, explained = trial[at : at + len(chosen)], trial[at + len(chosen) : at + len(chosen) + rank]
            score = np.einsum("rn,rn->n", explained, explained)
            is_better = score > most
            for values in found:
                is_better &= values >= 0
            np.copyto(most, score, where=is_better)
            best *= ~is_better
            for column, values in zip(chosen, found, strict=True):
                np.copyto(best[column], values, where=is_better)
            at += len(chosen) + rank
        free = coordinates @ self._free - best.T @ self._free_of_constrained.T
        return np.hstack([best.T, free]), np.asarray(np.einsum("rn,rn->n", own, own) - most)


def _basis(columns: Floats) -> Floats:
    """Return an orthonormal basis of what the columns span, (C, r)."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > _RANK])
