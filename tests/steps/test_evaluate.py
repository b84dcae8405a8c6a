"""Evaluation looks at whole frames and finds what no mean shows: constant estimates, NaN, spectra per subject."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.bands import VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import write_cubes
from hyperskin.data.frames import PairFiles
from hyperskin.data.truth import TruthFiles
from hyperskin.errors import DataError
from hyperskin.pairs import PAIRS
from hyperskin.pictures import save_mask
from hyperskin.skin.typology import skin_type
from hyperskin.steps.evaluate import Evaluation, Reconstruct, evaluate

PAIR = PAIRS["rgb_vis"]
SHAPE = (40, 48)


@pytest.fixture
def files(tmp_path: Path) -> list[PairFiles]:
    """Two captures of one subject: flat spectra of brightness 0.2 + row / 100; the first has a mask."""
    made = []
    for index, name in enumerate(("p001_neutral_front", "p001_smile_front")):
        level = np.broadcast_to(0.2 + np.arange(SHAPE[0])[:, None] / 100, SHAPE).astype(np.float32)
        cube = np.repeat(level[..., None], 31, axis=2)
        with write_cubes(
            tmp_path / f"{name}.h5", height=SHAPE[0], width=SHAPE[1], bands={"vis": VIS}, attributes={}
        ) as writer:
            writer.append({"vis": cube}, np.ones(SHAPE, dtype=np.bool_))
        with h5py.File(tmp_path / f"{name}_in.h5", "w") as file:
            file["rgb/cie"] = np.repeat(np.rint(level * 255).astype(np.uint8)[..., None], 3, axis=2)
        mask = np.zeros(SHAPE, dtype=np.bool_)
        mask[5:30, 2:46] = True
        save_mask(mask, tmp_path / f"{name}.png")
        has_mask = index == 0
        made.append(
            PairFiles(
                CaptureId.parse(name),
                tmp_path / f"{name}.h5",
                tmp_path / f"{name}_in.h5",
                tmp_path / f"{name}.png" if has_mask else None,
            )
        )
    return made


def _evaluate(reconstruct: Reconstruct, files: list[PairFiles]) -> Evaluation:
    return evaluate(reconstruct, files, PAIR, camera="cie")


def _grey(given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.repeat(given[..., :1], 31, axis=2)


def test_a_right_shape_of_spectrum_has_no_angle(files: list[PairFiles]) -> None:
    metrics = _evaluate(_grey, files).summary.metrics
    assert metrics["sam/full"] < 1e-4
    assert metrics["rmse/full"] < 0.003
    assert metrics["n_images"] == 2


def test_only_captures_with_a_mask_have_masked_scores(files: list[PairFiles]) -> None:
    scores = _evaluate(_grey, files).scores
    assert ["sam/masked" in own.values for own in scores] == [True, False]


def test_a_constant_estimate_is_flagged(files: list[PairFiles]) -> None:
    constant: Any = lambda given: np.full((*given.shape[:2], 31), 0.3, dtype=np.float32)  # noqa: E731 - one line
    assert _evaluate(constant, files).degenerate
    assert not _evaluate(_grey, files).degenerate


def test_an_estimate_that_is_not_finite_is_refused(files: list[PairFiles]) -> None:
    broken: Any = lambda given: np.full((*given.shape[:2], 31), np.nan, dtype=np.float32)  # noqa: E731 - one line
    with pytest.raises(DataError, match="must be finite; that of p001_neutral_front is not"):
        _evaluate(broken, files)


def test_region_spectra_pool_a_subjects_pixels(files: list[PairFiles]) -> None:
    """25 x 44 masked pixels of the first capture and all 40 x 48 of the second."""
    (spectra,) = _evaluate(_grey, files).spectra
    assert (spectra.subject, spectra.region, spectra.pixel_count) == ("p001", "frame", 25 * 44 + 40 * 48)
    rows = np.concatenate([np.repeat(np.arange(5, 30), 44), np.repeat(np.arange(40), 48)])
    assert spectra.measured_mean == pytest.approx(np.full(31, np.mean(0.2 + rows / 100)), abs=2e-5)
    assert spectra.measured_std == pytest.approx(np.full(31, np.std(rows / 100)), abs=2e-5)


def test_fewer_than_a_thousand_pixels_show_no_spectrum(files: list[PairFiles], tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[:20, :49] = True
    save_mask(mask, tmp_path / "p001_neutral_front.png")
    assert _evaluate(_grey, files[:1]).spectra == []


def test_every_frame_is_shown_to_whoever_draws(files: list[PairFiles]) -> None:
    seen: list[str] = []
    evaluate(_grey, files, PAIR, camera="cie", on_frame=lambda frame, estimate, skin: seen.append(frame.capture.name))
    assert seen == ["p001_neutral_front", "p001_smile_front"]


def test_scores_stand_by_type_of_skin_and_a_scene_without_a_mask_has_none(
    write_capture: Callable[..., PairFiles],
) -> None:
    files = [write_capture(), write_capture("p002_smile_left", mask=False)]
    evaluation = _evaluate(_grey, files)
    masked, scene = evaluation.scores
    assert masked.ita_deg is not None
    assert masked.skin_type == skin_type(masked.ita_deg)
    assert (scene.skin_type, scene.ita_deg) == (None, None)
    (row,) = evaluation.summary.per_skin_type
    assert (row["skin_type"], row["n_images"], row["n_subjects"]) == (masked.skin_type, 1, 1)
    for key in ("ssim/masked", "sam/masked", "fidelity/melanin_relative_error"):
        assert row[key] == masked.values[key]


def test_every_pair_types_a_capture_alike(write_capture: Callable[..., PairFiles]) -> None:
    files, found = [write_capture()], set()
    for pair in PAIRS.values():
        flat: Any = lambda given, bands=pair.out_channels: np.ones((*given.shape[:2], bands), dtype=np.float32)  # noqa: E731 - one line
        (score,) = evaluate(flat, files, pair, camera="cie").scores
        found.add((score.skin_type, score.ita_deg))
    assert len(found) == 1
    assert None not in found.pop()


def test_no_score_of_what_was_measured_needs_a_truth(files: list[PairFiles]) -> None:
    keys = _evaluate(_grey, files).summary.metrics
    assert not [key for key in keys if "truth" in key or "skin" in key or "/floor" in key]


def test_a_known_truth_is_scored_beside(
    write_capture: Callable[..., PairFiles], write_truth: Callable[..., TruthFiles]
) -> None:
    """A flat estimate of 0.5 is the truth itself, so the measured cube alone is to blame for its angle."""
    files = replace(write_capture(), truth=write_truth(0.5))
    flat: Any = lambda given: np.full((*given.shape[:2], 31), 0.5, dtype=np.float32)  # noqa: E731 - one line
    evaluation = _evaluate(flat, [files])
    metrics = evaluation.summary.metrics
    assert metrics["sam/skin_truth"] < 1e-4
    assert metrics["rmse/skin_truth"] < 1e-4
    assert metrics["sam/skin"] == pytest.approx(metrics["sam/floor_skin"], abs=1e-4)
    assert metrics["sam/masked"] == pytest.approx(metrics["sam/floor_masked"], abs=1e-4)
    assert "sam/masked_truth" in evaluation.summary.per_image[0]
