"""A reconstruction examined in other light, against the same from stored predictions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.data.exposure import expose_rgb
from hyperskin.data.frames import PairFiles, read_frame, read_truth
from hyperskin.data.truth import TruthFiles
from hyperskin.errors import DataError
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim
from hyperskin.pairs import find_pair
from hyperskin.steps.evaluate import evaluate
from hyperskin.steps.exposures import examine_exposures, exposure_metrics, own_rows

PAIR = find_pair("rgb_vis")


@pytest.fixture
def files(write_capture: Callable[..., PairFiles], write_truth: Callable[..., TruthFiles]) -> list[PairFiles]:
    """Two captures: the truth of the first is known; the second has no mask."""
    first = write_capture("p001_neutral_front", seed=1, invalid=(slice(9, 12), slice(9, 12)))
    return [
        replace(first, truth=write_truth()),
        replace(write_capture("p002_smile_left", seed=2), mask=None),
    ]


def _ramp(given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A reconstruction that takes the channels as stored for the ends of the spectrum and its middle."""
    across = np.linspace(0, 1, 31, dtype=np.float32)
    basis = np.stack([1 - across, across, 4 * across * (1 - across)])
    return (0.05 + 0.4 * given @ basis).astype(np.float32)


def test_a_row_scores_the_picture_in_that_light_against_the_reference_in_that_light(files: list[PairFiles]) -> None:
    rows = examine_exposures(_ramp, files, PAIR, camera="cie", gains=[0.5, 0.25])
    assert [(row["exposure"], row["image"], row["subject"]) for row in rows] == [
        (gain, name, name[:4]) for gain in (0.5, 0.25) for name in ("p001_neutral_front", "p002_smile_left")
    ]
    for row, file in zip(rows, files * 2, strict=True):
        gain = float(row["exposure"])
        frame = read_frame(file, PAIR, camera="cie")
        stored = np.rint(frame.input * 255).astype(np.uint8)
        estimate = _ramp(expose_rgb(stored, gain).astype(np.float32) / 255)
        reference = np.float32(gain) * frame.reference
        assert row["sam/full"] == pytest.approx(sam(estimate, reference, frame.valid).value, rel=1e-3)
        assert ("sam/masked" in row) == ("ssim/masked" in row) == (frame.mask is not None)
        assert ("sam/skin_truth" in row) == (file.truth is not None)
        if frame.mask is not None:
            subject = frame.mask & frame.valid
            similarity = ssim(estimate, reference, subject, data_range=1.0).value
            assert row["sam/masked"] == pytest.approx(sam(estimate, reference, subject).value, rel=1e-3)
            assert row["ssim/masked"] == pytest.approx(similarity, rel=1e-3)
        if file.truth is not None:
            truth = read_truth(file.truth, PAIR)
            skin = truth.skin & frame.valid
            assert row["sam/skin_truth"] == pytest.approx(sam(estimate, truth.reference, skin).value, rel=1e-6)


def test_a_model_that_grows_with_the_light_loses_only_what_8_bits_lose(files: list[PairFiles]) -> None:
    def linear(given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        light = np.where(given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4)
        return (_ramp(light.astype(np.float32)) - 0.05).astype(np.float32)

    own = {row["image"]: row for row in own_rows(evaluate(linear, files, PAIR, camera="cie").scores)}
    for row in examine_exposures(linear, files, PAIR, camera="cie", gains=[0.7, 0.5]):
        for key in ("sam/full", "sam/skin_truth"):
            if key in row:
                assert row[key] == pytest.approx(own[row["image"]][key], abs=0.01)
    stored = examine_exposures(_ramp, files[:1], PAIR, camera="cie", gains=[0.25])[0]
    assert abs(float(stored["sam/full"]) - float(own["p001_neutral_front"]["sam/full"])) > 0.01


def test_the_own_light_is_the_evaluations(files: list[PairFiles]) -> None:
    rows = own_rows(evaluate(_ramp, files, PAIR, camera="cie").scores)
    again = examine_exposures(_ramp, files, PAIR, camera="cie", gains=[1.0])
    assert [set(row) for row in rows] == [set(row) for row in again]
    for row, same in zip(rows, again, strict=True):
        assert row["exposure"] == 1.0
        assert {key: value for key, value in row.items() if isinstance(value, str)} == {
            key: value for key, value in same.items() if isinstance(value, str)
        }
        assert [row[key] for key in row if "/" in key] == pytest.approx([same[key] for key in row if "/" in key])


def test_means_have_keys_that_name_score_and_light() -> None:
    rows = [
        {"exposure": 1.0, "image": "a", "subject": "p001", "sam/masked": 0.1, "sam/full": 0.2},
        {"exposure": 1.0, "image": "b", "subject": "p002", "sam/full": 0.4},
        {"exposure": 0.25, "image": "a", "subject": "p001", "ssim/masked": 0.9, "sam/skin_truth": 0.3},
    ]
    assert exposure_metrics(rows) == pytest.approx(
        {
            "exposure_sam_masked/1": 0.1,
            "exposure_sam_full/1": 0.3,
            "exposure_ssim_masked/0.25": 0.9,
            "exposure_sam_skin_truth/0.25": 0.3,
        }
    )
    assert exposure_metrics([]) == {}


def test_no_light_reads_nothing_and_an_estimate_must_be_finite(files: list[PairFiles]) -> None:
    with pytest.raises(DataError, match="must be finite; that of p001_neutral_front is not"):
        examine_exposures(lambda given: _ramp(given) * np.float32(np.nan), files, PAIR, camera="cie", gains=[0.5])
    files[0].inputs.unlink()
    assert examine_exposures(_ramp, files, PAIR, camera="cie", gains=[]) == []
