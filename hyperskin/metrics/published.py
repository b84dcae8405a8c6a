"""The benchmark authors' own evaluation, faults included, so that a score can be held against their tables.

Its SSIM multiplies both cubes by the mask and averages over every window, so that background, which is equal in both,
scores 1 and counts; its contrast constants follow the largest value span of the image at hand. Its SAM is an arccos in
float32 whose NaNs, among them all pixels where the estimate is zero, are dropped from the mean. The numbers to judge a
model by are in ssim.py and sam.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Cube, Mask
from hyperskin.metrics.pixels import bounding_box, require_comparable, require_finite, row_blocks
from hyperskin.metrics.ssim import RADIUS_PX, WINDOW_PX, ssim

Float32 = npt.NDArray[np.float32]


def published_ssim(estimate: Cube, reference: Cube, mask: Mask | None = None) -> float:
    """Return SSIM by the rule of the published evaluation.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Multiplied into both cubes, (H, W), bool or weights in [0, 1]; None to leave them as they are.

    Returns:
        The mean over all bands and all windows wholly in the frame, background included; NaN if the frame is smaller
        than a window or both cubes are constant.

    Raises:
        ShapeError: The arrays do not fit each other.
        DataError: A selected value is NaN or infinite.

    Source:
        Hyper-Skin (2023), evaluation code: `StructuralSimilarityIndexMeasure` of torchmetrics 0.11.0 with its defaults,
        Tables 3 and 4.

    Examples:
        >>> cube = np.random.default_rng(0).random((24, 32, 31))
        >>> published_ssim(cube, cube)
        1.0
    """
    require_comparable(estimate, reference, mask)
    height, width, _ = reference.shape
    window_count = (height - WINDOW_PX + 1) * (width - WINDOW_PX + 1)
    if min(height, width) < WINDOW_PX:
        return float("nan")
    if mask is not None:
        box = bounding_box(mask > 0, margin_px=2 * RADIUS_PX)
        if box is None:
            return float("nan")  # two black cubes: constants of zero
        estimate, reference = _multiply(estimate[box], mask[box]), _multiply(reference[box], mask[box])
    has_background = mask is not None and not np.all(mask > 0)
    data_range = max(_span(estimate, with_zero=has_background), _span(reference, with_zero=has_background))
    require_finite(data_range)
    if data_range == 0:
        return float("nan")
    inner = ssim(estimate, reference, data_range=data_range)
    return float(1.0 - (1.0 - inner.value) * inner.window_count / window_count)  # windows outside the box score 1


def published_sam(estimate: Cube, reference: Cube, mask: Mask | None = None) -> float:
    """Return SAM by the rule of the published evaluation.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        mask: Multiplied into both cubes, (H, W), bool or weights in [0, 1]; None to leave them as they are.

    Returns:
        The mean in radians over the pixels whose float32 cosine lies in [-1, 1]; NaN if there is none. Noise below
        3e-4 rad.

    Raises:
        ShapeError: The arrays do not fit each other.

    Source:
        Hyper-Skin (2023), evaluation code, Tables 3 and 4.

    Examples:
        >>> estimate, reference = np.array([[[0.0, 1.0], [0.0, 0.0]]]), np.array([[[1.0, 0.0], [1.0, 0.0]]])
        >>> round(published_sam(estimate, reference), 6)  # the black estimate does not count
        1.570796
    """
    require_comparable(estimate, reference, mask)
    angle_sum, pixel_count = 0.0, 0
    for rows in row_blocks(*reference.shape[:2]):
        weights = None if mask is None else mask[rows]
        estimated, measured = _multiply(estimate[rows], weights), _multiply(reference[rows], weights)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            lengths = np.sqrt(np.vecdot(estimated, estimated)) * np.sqrt(np.vecdot(measured, measured))
            angles = np.arccos(np.vecdot(estimated, measured) / lengths)
        kept = angles[~np.isnan(angles)]
        angle_sum += float(kept.sum(dtype=np.float64))
        pixel_count += kept.size
    return angle_sum / pixel_count if pixel_count else float("nan")


def _multiply(cube: Cube, mask: Mask | None) -> Float32:
    """Return `cube` times `mask` in float32, (H, W, C); 0 behind the mask, whatever the cube holds there."""
    if mask is None:
        return cube.astype(np.float32)
    weights = mask.astype(np.float32)[..., np.newaxis]
    return np.where(weights > 0, cube, 0).astype(np.float32) * weights


def _span(cube: Cube, *, with_zero: bool) -> float:
    lowest, highest = float(cube.min()), float(cube.max())
    return max(highest, 0.0) - min(lowest, 0.0) if with_zero else highest - lowest
