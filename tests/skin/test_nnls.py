"""Least squares without negative coefficients."""

import numpy as np
import pytest
from scipy.optimize import nnls

from hyperskin.errors import ShapeError
from hyperskin.skin.nnls import solve_nonnegative


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def _reference_solve(matrix, right_side, free_count):
    """One right side by scipy, a free column as the difference of two that may not be negative."""
    constrained = matrix.shape[1] - free_count
    found, left = nnls(np.hstack([matrix, -matrix[:, constrained:]]), right_side)
    values = found[: matrix.shape[1]].copy()
    values[constrained:] -= found[matrix.shape[1] :]
    return values, left / np.sqrt(len(matrix))


def test_a_case_solved_by_hand():
    """Columns (1, 0, 0) and (1, 1, 0): (1, -1, 0) wants 2 and -1; without the second 1 is best, and 1 is left."""
    columns = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    found = solve_nonnegative(columns, np.array([[1.0, -1.0, 0.0], [3.0, 1.0, 0.0], [-1.0, -1.0, 2.0]]))
    np.testing.assert_allclose(found.coefficients, [[1, 0], [2, 1], [0, 0]], atol=1e-15)
    np.testing.assert_allclose(found.residual_rmse, [np.sqrt(1 / 3), 0, np.sqrt(2)], atol=1e-15)


def test_a_free_column_takes_any_sign():
    columns = np.array([[1.0, 1.0], [0.0, 1.0]])
    found = solve_nonnegative(columns, np.array([[-3.0, -3.0], [-1.0, -3.0], [-4.0, -2.0]]), free_count=1)
    np.testing.assert_allclose(found.coefficients, [[0, -3], [2, -3], [0, -3]], atol=1e-14)


@pytest.mark.parametrize(("constrained", "free"), [(1, 0), (2, 1), (3, 1), (4, 0), (4, 2), (0, 2)])
def test_solutions_are_those_of_scipy(rng, constrained, free):
    matrix = rng.normal(size=(25, constrained + free)) * np.array([1e3, 1.0, 1e-2, 5.0, 1.0, 1.0])[: constrained + free]
    right_sides = rng.normal(size=(300, 25))
    found = solve_nonnegative(matrix, right_sides, free_count=free)
    expected = [_reference_solve(matrix, one, free) for one in right_sides]
    np.testing.assert_allclose(found.coefficients, [values for values, _ in expected], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.residual_rmse, [left for _, left in expected], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("free", [0, 1])
def test_solutions_fulfil_the_conditions_of_a_minimum(rng, free):
    """The gradient is 0 along every positive or free coefficient, and leads nowhere below along one that is 0."""
    matrix, right_sides = rng.normal(size=(12, 3 + free)), rng.normal(size=(5000, 12))
    found = solve_nonnegative(matrix, right_sides, free_count=free).coefficients
    gradient = (found @ matrix.T - right_sides) @ matrix
    assert (found[:, :3] >= 0).all()
    assert (gradient[:, :3] > -1e-10).all()
    assert np.abs(gradient[:, 3:]).max(initial=0) < 1e-10
    assert np.abs(gradient[:, :3] * found[:, :3]).max() < 1e-10
    assert len({tuple(row) for row in (found[:, :3] > 0).tolist()}) == 8  # every set of columns occurs


def test_columns_that_depend_on_each_other(rng):
    """Twins, a zero column, a sum of others and a copy of the free one: what is left is still the least."""
    base = rng.normal(size=(15, 2))
    for matrix, free in (
        (np.column_stack([base[:, 0], base[:, 0], base[:, 1]]), 0),
        (np.column_stack([base[:, 0], -base[:, 0], base[:, 1]]), 1),
        (np.column_stack([base[:, 0], np.zeros(15), base[:, 1]]), 0),
        (np.column_stack([base, base.sum(axis=1), np.ones(15)]), 1),
        (np.column_stack([base[:, 0], np.ones(15), np.ones(15)]), 1),
        (np.zeros((15, 3)), 0),
    ):
        right_sides = rng.normal(size=(200, 15))
        found = solve_nonnegative(matrix, right_sides, free_count=free)
        assert (found.coefficients[:, : matrix.shape[1] - free] >= 0).all()
        expected = [_reference_solve(matrix, one, free)[1] for one in right_sides]
        np.testing.assert_allclose(found.residual_rmse, expected, rtol=1e-7)
        left = right_sides - found.coefficients @ matrix.T
        np.testing.assert_allclose(found.residual_rmse, np.sqrt(np.mean(left**2, axis=1)), rtol=1e-9)


def test_ties_are_broken_without_a_wrong_turn():
    """Right sides on the border between two sets: a coefficient is exactly 0 either way."""
    matrix = np.eye(4)[:, :3]
    corners = np.array(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [2.0])).reshape(4, -1).T
    found = solve_nonnegative(matrix, corners)
    np.testing.assert_array_equal(found.coefficients, np.maximum(corners[:, :3], 0))


def test_an_exact_sum_leaves_nothing(rng):
    matrix = rng.random((25, 4))
    wanted = rng.uniform(0, 1, (100, 4))
    wanted[::2, 1] = 0
    found = solve_nonnegative(matrix, wanted @ matrix.T, free_count=1)
    np.testing.assert_allclose(found.coefficients, wanted, atol=1e-12)
    assert found.residual_rmse.max() < 1e-13  # not 1e-8, as a difference of squares would leave


def test_a_right_side_that_is_not_finite_spoils_itself_only(rng):
    matrix, right_sides = rng.normal(size=(10, 3)), rng.normal(size=(6, 10)).astype(np.float32)
    clean = solve_nonnegative(matrix, right_sides)
    right_sides[2, 4], right_sides[4, 0] = np.nan, np.inf
    found = solve_nonnegative(matrix, right_sides)
    good = [0, 1, 3, 5]
    assert np.isnan(found.coefficients[[2, 4]]).all()
    assert np.isnan(found.residual_rmse[[2, 4]]).all()
    np.testing.assert_array_equal(found.coefficients[good], clean.coefficients[good])


def test_the_place_in_a_block_does_not_matter(rng):
    matrix, right_sides = rng.normal(size=(25, 4)), rng.normal(size=(9001, 25))
    found = solve_nonnegative(matrix, right_sides, free_count=1).coefficients
    apart = solve_nonnegative(matrix, right_sides[4090:4100], free_count=1).coefficients
    np.testing.assert_allclose(apart, found[4090:4100], atol=1e-12)
    assert solve_nonnegative(matrix, right_sides[:0], free_count=1).coefficients.shape == (0, 4)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"must be \(N, C\) for a `matrix` \(C, K\); got \(2, 3\) for \(4, 2\)"):
        solve_nonnegative(np.ones((4, 2)), np.ones((2, 3)))
    with pytest.raises(ShapeError, match="0 to 4 columns beside 1 free ones; got 5"):
        solve_nonnegative(np.ones((9, 6)), np.ones((2, 9)), free_count=1)
