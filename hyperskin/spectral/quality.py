"""How noisy each band of a cube is, judged from the cube alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Cube, require_cube, require_mask

_BLOCK_LINES = 32


def estimate_noise(cube: Cube, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the standard deviation of the noise in every band.

    Args:
        cube: Reflectance, (H, W, C).
        valid: (H, W), True = measured; a neighbourhood with an unmeasured pixel does not count.

    Returns:
        (C,) float64, in reflectance. NaN where no 3 x 3 neighbourhood is wholly valid.

    Raises:
        ShapeError: The shapes do not fit.

    Source:
        J. Immerkaer, "Fast Noise Variance Estimation", Computer Vision and Image Understanding 64 (1996): the mean
        absolute response to the difference of two Laplacians, which a plane and a straight edge do not excite.
    """
    require_cube("cube", cube)
    require_mask("valid", valid, (cube.shape[0], cube.shape[1]))
    height, band_count = cube.shape[0], cube.shape[2]
    total = np.zeros(band_count)
    count = 0
    for first in range(0, height - 2, _BLOCK_LINES):
        last = min(first + _BLOCK_LINES, height - 2)
        lines = np.where(valid[first : last + 2, :, None], cube[first : last + 2], 0).astype(np.float64)
        rows = lines[:-2] - 2 * lines[1:-1] + lines[2:]
        response = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
        whole = _all_valid(valid[first : last + 2])
        total += np.abs(response[whole]).sum(axis=0)
        count += int(np.count_nonzero(whole))
    if count == 0:
        return np.full(band_count, np.nan)
    noise: npt.NDArray[np.float64] = np.sqrt(np.pi / 2) / 6.0 * total / count
    return noise


def band_snr_db(cube: Cube, valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return 20 log10(mean reflectance / noise) of every band, (C,) float64.

    NaN where the noise cannot be told, where it is zero, or where the mean is not positive.
    """
    noise = estimate_noise(cube, valid)
    mean = cube[valid].mean(axis=0, dtype=np.float64) if valid.any() else np.full(cube.shape[2], np.nan)
    has_ratio = (mean > 0) & (noise > 0)
    ratio = np.divide(mean, noise, out=np.full(cube.shape[2], np.nan), where=has_ratio)
    decibels: npt.NDArray[np.float64] = 20.0 * np.log10(ratio)
    return decibels


def _all_valid(valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return where all nine pixels around a centre are valid, (H - 2, W - 2)."""
    rows = valid[:-2] & valid[1:-1] & valid[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
