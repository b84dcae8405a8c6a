"""Scores that only a phantom can have: on nothing but skin, against the noise-free cube, and the noise's own."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Cube
from hyperskin.metrics.pixels import require_comparable
from hyperskin.metrics.pointwise import rmse
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim
from hyperskin.metrics.summary import DATA_RANGE


def score_against_truth(
    estimate: Cube,
    reference: Cube,
    truth: Cube,
    *,
    skin: npt.NDArray[np.bool_],
    mask: npt.NDArray[np.bool_] | None,
    valid: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """Return the scores of one capture whose noise-free cube is known.

    A model fitted to noisy cubes cannot come below their noise: the angle between measured and noise-free cube, here
    called floor, is what a perfect reconstruction would score. Against the noise-free cube that limit is gone.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        truth: Noise-free reflectance on the same bands and scale, (H, W, C).
        skin: Nothing but skin or not, (H, W) bool.
        mask: Subject or not, (H, W) bool; None where there is no mask.
        valid: Measured or not, (H, W) bool.

    Returns:
        Scores by metric key, finite ones only: `sam`, `ssim` and `rmse` of `/skin`, with windows centred on skin; `sam`
        of `/full_truth`, `/masked_truth` and `/skin_truth`, `ssim/masked_truth` and `rmse/skin_truth`, all against the
        noise-free cube; and `sam/floor_masked` and `sam/floor_skin`, the same for every model. A region without a
        measured pixel has none.

    Raises:
        ShapeError: The arrays do not fit each other.
        DataError: A selected value is NaN or infinite.
    """
    for other in (reference, truth):
        require_comparable(estimate, other, valid)
    regions = {"full": valid, "skin": skin & valid} | ({} if mask is None else {"masked": mask & valid})
    values = {}
    for region, selected in regions.items():
        values[f"sam/{region}_truth"] = sam(estimate, truth, selected).value
        if region != "full":
            values[f"sam/floor_{region}"] = sam(reference, truth, selected).value
    if "masked" in regions:
        values["ssim/masked_truth"] = ssim(estimate, truth, regions["masked"], data_range=DATA_RANGE).value
    on_skin = regions["skin"]
    values["sam/skin"] = sam(estimate, reference, on_skin).value
    values["ssim/skin"] = ssim(estimate, reference, on_skin, data_range=DATA_RANGE, centres="inside").value
    values["rmse/skin"] = rmse(estimate, reference, on_skin)
    values["rmse/skin_truth"] = rmse(estimate, truth, on_skin)
    return {key: value for key, value in values.items() if math.isfinite(value)}
