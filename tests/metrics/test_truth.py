"""Scores against the truth: each is its metric on the right two cubes and the right pixels."""

import numpy as np
import pytest

from hyperskin.errors import ShapeError
from hyperskin.metrics.pointwise import rmse
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim
from hyperskin.metrics.truth import score_against_truth

VALID = np.ones((24, 32), dtype=bool)
SKIN = np.zeros((24, 32), dtype=bool)
SKIN[8:18, 10:20] = True
ON_SKIN = {"sam/skin", "ssim/skin", "rmse/skin", "sam/skin_truth", "rmse/skin_truth", "sam/floor_skin"}
MASKED = {"sam/masked_truth", "ssim/masked_truth", "sam/floor_masked"}


def _score(phantom, truth=None, *, skin=SKIN, mask="own", valid=VALID):
    chosen = phantom.mask if isinstance(mask, str) else mask
    truth = 0.9 * phantom.reference if truth is None else truth
    return score_against_truth(phantom.estimate, phantom.reference, truth, skin=skin, mask=chosen, valid=valid)


def test_two_pixels_by_hand():
    """Measured (1, 0), noise-free (1, 1), estimate (0, 1): a right angle to the one, half of it to the other."""
    shape = (1, 2, 2)
    estimate, reference, truth = (np.broadcast_to(v, shape) for v in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0)))
    everything = np.ones(shape[:2], dtype=bool)
    values = score_against_truth(estimate, reference, truth, skin=everything, mask=everything, valid=everything)
    quarter = np.pi / 4
    assert values == pytest.approx(
        {
            "sam/skin": 2 * quarter,
            "rmse/skin": 1.0,
            **{f"sam/{region}_truth": quarter for region in ("full", "masked", "skin")},
            "rmse/skin_truth": np.sqrt(0.5),
            "sam/floor_masked": quarter,
            "sam/floor_skin": quarter,
        }
    )  # no window fits, so no SSIM


def test_its_values_are_those_of_the_metrics(phantom):
    truth = phantom.reference + 0.01 * np.sin(np.arange(31))
    values = _score(phantom, truth)
    estimate, reference, mask = phantom.estimate, phantom.reference, phantom.mask
    assert set(values) == ON_SKIN | MASKED | {"sam/full_truth"}
    assert values["sam/skin"] == sam(estimate, reference, SKIN).value
    assert values["ssim/skin"] == ssim(estimate, reference, SKIN, data_range=1.0, centres="inside").value
    assert values["rmse/skin"] == rmse(estimate, reference, SKIN)
    assert values["rmse/skin_truth"] == rmse(estimate, truth, SKIN)
    assert values["ssim/masked_truth"] == ssim(estimate, truth, mask, data_range=1.0).value
    for region, selected in (("full", None), ("masked", mask), ("skin", SKIN)):
        assert values[f"sam/{region}_truth"] == sam(estimate, truth, selected).value
    assert values["sam/floor_masked"] == sam(reference, truth, mask).value
    assert values["sam/floor_skin"] == sam(reference, truth, SKIN).value


def test_the_truth_as_an_estimate_scores_the_floor_against_the_measured_cube(phantom):
    truth = phantom.reference + 0.01 * np.sin(np.arange(31))
    values = _score(phantom._replace(estimate=truth), truth)
    assert values["sam/skin_truth"] == values["rmse/skin_truth"] == 0.0
    assert values["sam/skin"] == pytest.approx(values["sam/floor_skin"], rel=1e-12)


def test_the_floor_is_the_same_for_every_model(phantom):
    other = phantom._replace(estimate=phantom.estimate[::-1])
    for key in ("sam/floor_masked", "sam/floor_skin"):
        assert _score(phantom)[key] == _score(other)[key]


def test_pixels_that_were_not_measured_do_not_count(phantom):
    valid = VALID.copy()
    valid[:, 12:14] = False
    reference = phantom.reference.copy()
    reference[~valid] = np.nan
    broken = _score(phantom._replace(reference=reference), 0.9 * phantom.reference, valid=valid)
    assert broken == _score(phantom, valid=valid)
    assert broken["sam/skin"] == sam(phantom.estimate, phantom.reference, SKIN & valid).value


def test_without_a_mask_or_skin_those_scores_are_not_there(phantom):
    assert set(_score(phantom, mask=None)) == ON_SKIN | {"sam/full_truth"}
    assert set(_score(phantom, skin=np.zeros_like(SKIN))) == MASKED | {"sam/full_truth"}


def test_a_truth_of_another_size_is_refused(phantom):
    with pytest.raises(ShapeError):
        _score(phantom, phantom.reference[:20])
