"""A reconstruction examined with the pictures of other cameras than the one it was made for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from hyperskin.data.frames import Frame, PairFiles, read_views
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim
from hyperskin.metrics.summary import DATA_RANGE, Row
from hyperskin.pairs import Pair
from hyperskin.steps.evaluate import Reconstruct, require_finite

KEYS = ("sam/masked", "ssim/masked", "sam/full")
"""What is said of every camera; masked where there are masks."""

View = tuple[str, Frame]
"""A camera, and a capture as it saw it."""

Scores = dict[str, float]
Bools = npt.NDArray[np.bool_]


def examine_cameras(
    reconstruct: Reconstruct,
    files: Sequence[PairFiles],
    pair: Pair,
    *,
    cameras: Sequence[str],
    progress: Callable[[Iterable[View]], Iterable[View]] = iter,
) -> dict[str, Scores]:
    """Return by camera the mean scores over captures, as the evaluation defines them.

    Args:
        reconstruct: The model.
        files: The captures.
        pair: The reconstruction task.
        cameras: Whose RGB goes in, one after the other.
        progress: Wraps the pictures, for a bar.

    Raises:
        DataError: An estimate is not finite, or a capture lacks a camera's picture.
    """
    found: dict[str, dict[str, list[float]]] = {camera: {} for camera in cameras}
    for camera, frame in progress(_views(files, pair, cameras)):
        for key, score in score_frame(reconstruct_frame(reconstruct, frame), frame).items():
            found[camera].setdefault(key, []).append(score)
    return {camera: {key: fmean(scores) for key, scores in own.items()} for camera, own in found.items()}


def own_scores(metrics: Mapping[str, float]) -> Scores:
    """Return what an evaluation's metrics say of the camera it was made with."""
    return {key: metrics[key] for key in KEYS if key in metrics}


def camera_metrics(by_camera: Mapping[str, Scores]) -> dict[str, float]:
    """Return the scores by metric key, such as `camera_sam_masked/cie`: the first part says what, the second whose."""
    return {
        f"camera_{key.replace('/', '_')}/{camera}": score
        for camera, scores in by_camera.items()
        for key, score in scores.items()
    }


def camera_rows(by_camera: Mapping[str, Scores], own: str) -> list[Row]:
    """Return a row a camera; the one that the evaluation was made with says so."""
    return [
        {"camera": camera, **scores, "pictures": "of the evaluation" if camera == own else "of another camera"}
        for camera, scores in by_camera.items()
    ]


def _views(files: Sequence[PairFiles], pair: Pair, cameras: Sequence[str]) -> Iterator[View]:
    for file in files if cameras else ():
        yield from zip(cameras, read_views(file, pair, cameras=cameras), strict=True)


def reconstruct_frame(reconstruct: Reconstruct, frame: Frame) -> npt.NDArray[np.float32]:
    """Return the estimate of a frame, (H, W, C_out), after checking that it is finite."""
    estimate = reconstruct(frame.input)
    require_finite(estimate, frame.capture.name)
    return estimate


def score_frame(estimate: npt.NDArray[np.float32], frame: Frame) -> Scores:
    """Return the scores `KEYS` of an estimate, as the evaluation defines them."""
    scores = {"sam/full": sam(estimate, frame.reference, _unless_all(frame.valid)).value}
    if frame.mask is not None:
        subject = _unless_all(frame.valid & frame.mask)
        scores["sam/masked"] = sam(estimate, frame.reference, subject).value
        scores["ssim/masked"] = ssim(estimate, frame.reference, subject, data_range=DATA_RANGE).value
    return scores


def _unless_all(selected: Bools) -> Bools | None:
    """Return a selection, None where it is everything, as the evaluation has it."""
    return None if selected.all() else selected
