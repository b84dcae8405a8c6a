"""A reconstruction examined with every camera's pictures, against the same from stored predictions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.data.frames import PairFiles, read_frame
from hyperskin.data.manifest import CaptureEntry, FileEntry, Manifest
from hyperskin.errors import DataError
from hyperskin.models.regression import Regression
from hyperskin.models.regression import fit_regression as fit_pixels
from hyperskin.pairs import find_pair
from hyperskin.steps.cameras import camera_metrics, camera_rows, examine_cameras, own_scores
from hyperskin.steps.evaluate import evaluate
from hyperskin.steps.fit import fit_regression
from hyperskin.steps.unit import Unit

WriteCapture = Callable[..., PairFiles]
PAIR = find_pair("rgb_vis")
CAMERAS = {"cie": 0, "twin": 0, "other": 1}


@pytest.fixture
def files(write_capture: WriteCapture) -> list[PairFiles]:
    """Two captures seen by three cameras, two of which see the same; the second has no mask."""
    first = write_capture("p001_neutral_front", seed=1, cameras=CAMERAS, invalid=(slice(9, 12), slice(9, 12)))
    return [first, replace(write_capture("p002_smile_left", seed=2, cameras=CAMERAS), mask=None)]


def _ramp(given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A reconstruction that takes the channels for the ends of the spectrum and its middle."""
    across = np.linspace(0, 1, 31, dtype=np.float32)
    basis = np.stack([1 - across, across, 4 * across * (1 - across)])
    return (0.05 + 0.4 * given @ basis).astype(np.float32)


def _reference_angle(estimate: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> float:
    one, other = (list(map(float, spectrum)) for spectrum in (estimate, reference))
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return float(np.arccos(dot / np.sqrt(sum(a * a for a in one) * sum(b * b for b in other))))


def test_scores_are_the_means_over_predictions_pixel_by_pixel(files: list[PairFiles]) -> None:
    found = examine_cameras(_ramp, files, PAIR, cameras=list(CAMERAS))
    for camera in CAMERAS:
        full, masked = [], []
        for file in files:
            frame = read_frame(file, PAIR, camera=camera)
            estimate = _ramp(frame.input)
            angles = {
                (row, column): _reference_angle(estimate[row, column], frame.reference[row, column])
                for row, column in np.argwhere(frame.valid)
            }
            full.append(np.mean(list(angles.values())))
            if frame.mask is not None:
                masked.append(np.mean([angle for place, angle in angles.items() if frame.mask[place]]))
        assert found[camera]["sam/full"] == pytest.approx(np.mean(full), rel=1e-5)
        assert found[camera]["sam/masked"] == pytest.approx(np.mean(masked), rel=1e-5)
    assert found["other"]["sam/full"] > found["cie"]["sam/full"]


def test_cameras_that_see_the_same_score_the_same_and_so_does_the_evaluation(files: list[PairFiles]) -> None:
    found = examine_cameras(_ramp, files, PAIR, cameras=["twin", "cie"])
    assert found["twin"] == found["cie"] == own_scores(evaluate(_ramp, files, PAIR, camera="cie").summary.metrics)
    assert set(found["cie"]) == {"sam/full", "sam/masked", "ssim/masked"}


def test_no_camera_reads_nothing(files: list[PairFiles]) -> None:
    files[0].inputs.unlink()
    assert examine_cameras(_ramp, files, PAIR, cameras=[]) == {}


def test_an_estimate_that_is_not_finite_is_refused(files: list[PairFiles]) -> None:
    with pytest.raises(DataError, match="must be finite; that of p001_neutral_front is not"):
        examine_cameras(lambda given: _ramp(given) * np.float32(np.nan), files, PAIR, cameras=["other"])


def test_keys_and_rows_name_score_and_camera() -> None:
    by_camera = {"cie": {"sam/masked": 0.1, "sam/full": 0.2}, "other": {"sam/full": 0.3}}
    assert camera_metrics(by_camera) == {
        "camera_sam_masked/cie": 0.1, "camera_sam_full/cie": 0.2, "camera_sam_full/other": 0.3,
    }  # fmt: skip
    assert camera_rows(by_camera, "cie") == [
        {"camera": "cie", "sam/masked": 0.1, "sam/full": 0.2, "pictures": "of the evaluation"},
        {"camera": "other", "sam/full": 0.3, "pictures": "of another camera"},
    ]


# A regression on several cameras


def _fit(files: list[PairFiles], *cameras: str) -> Regression:
    entries = {}
    for file in files:
        there = [FileEntry(str(path), 0, "") for path in (file.cube, file.inputs)]
        name = file.capture.name
        entries[name] = CaptureEntry(
            CaptureId.parse(name), "train", *there, None, (24, 32), {"vis": "", "valid": ""}, {}
        )
    recipe = {"ridge": 1e-9, "transfer": "linear", "camera": " + ".join(cameras)}
    unit = Unit("regression_linear", PAIR, {}, recipe, "key", "code", "d", cameras, (), ())
    fitted = fit_regression(unit, Manifest(Path("/"), "cave", {}, entries, "d"), lambda: False)
    assert isinstance(fitted.reconstruct.__self__, Regression)  # type: ignore[attr-defined]  # a bound method
    assert fitted.metrics["train/pixels"] == len(cameras) * sum(
        read_frame(f, PAIR, camera="cie").valid.sum() for f in files
    )
    return fitted.reconstruct.__self__  # type: ignore[attr-defined]  # the same


def test_a_regression_sees_every_pixel_of_every_camera(files: list[PairFiles]) -> None:
    frames = [read_frame(file, PAIR, camera=camera) for camera in ("cie", "other") for file in files]
    inputs, targets = (np.concatenate([part[frame.valid] for frame, part in seen]) for seen in (
        [(frame, frame.input) for frame in frames], [(frame, frame.reference) for frame in frames]
    ))  # fmt: skip
    expected = fit_pixels("linear", inputs, targets, ridge=1e-9, transfer="linear")
    np.testing.assert_allclose(_fit(files, "cie", "other").weights, expected.weights, rtol=1e-6, atol=1e-9)


def test_a_regression_on_cameras_that_see_the_same_is_that_on_one(files: list[PairFiles]) -> None:
    np.testing.assert_allclose(_fit(files, "cie", "twin").weights, _fit(files, "cie").weights, rtol=1e-9, atol=1e-12)
