"""A reconstruction examined as if there had been more or less light than there was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean

import numpy as np

from hyperskin.data.exposure import read_exposed
from hyperskin.data.frames import Frame, PairFiles, Truth, read_truth
from hyperskin.metrics.sam import sam
from hyperskin.metrics.summary import CaptureScores, Row
from hyperskin.pairs import Pair
from hyperskin.steps.cameras import KEYS, reconstruct_frame, score_frame
from hyperskin.steps.evaluate import Reconstruct

_SKIN = "sam/skin_truth"
_EXPOSURE = "exposure"

View = tuple[float, Frame, Truth | None]
"""How many times the light is left, a capture in that light, and what is known of it in its own."""


def examine_exposures(
    reconstruct: Reconstruct,
    files: Sequence[PairFiles],
    pair: Pair,
    *,
    camera: str,
    gains: Sequence[float],
    progress: Callable[[Iterable[View]], Iterable[View]] = iter,
) -> list[Row]:
    """Return a row for each gain and capture, gain by gain, with the scores that the evaluation defines.

    The picture is stored in 8 bits again, and the reference is as much darker, so that a model that says how bright a
    face was says it of that light.

    Args:
        reconstruct: The model.
        files: The captures.
        pair: The reconstruction task.
        camera: Whose RGB goes in.
        gains: How many times the light is left, one after the other.
        progress: Wraps the pictures, for a bar.

    Raises:
        DataError: An estimate is not finite.
    """
    rows: list[Row] = []
    for gain, frame, truth in progress(_views(files, pair, camera, gains)):
        estimate = reconstruct_frame(reconstruct, frame)
        scores = score_frame(estimate, frame)
        if truth is not None:
            scores[_SKIN] = sam(estimate, truth.reference * np.float32(gain), truth.skin & frame.valid).value
        rows.append(_row(gain, frame.capture.name, frame.capture.subject, scores))
    return sorted(rows, key=lambda row: gains.index(float(row[_EXPOSURE])))


def own_rows(scores: Sequence[CaptureScores]) -> list[Row]:
    """Return the rows of an evaluation, which is that in the light as it was."""
    return [_row(1.0, own.capture, own.subject, own.values) for own in scores]


def exposure_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Return means over captures by metric key, such as `exposure_sam_masked/0.25`: what, and in how much light."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for key in row.keys() & {*KEYS, _SKIN}:
            name = f"{_EXPOSURE}_{key.replace('/', '_')}/{row[_EXPOSURE]:g}"
            found.setdefault(name, []).append(float(row[key]))
    return {name: fmean(values) for name, values in sorted(found.items())}


def _views(files: Sequence[PairFiles], pair: Pair, camera: str, gains: Sequence[float]) -> Iterator[View]:
    for file in files if gains else ():
        truth = None if file.truth is None else read_truth(file.truth, pair)
        for gain, frame in zip(gains, read_exposed(file, pair, camera=camera, gains=gains), strict=True):
            yield gain, frame, truth


def _row(gain: float, image: str, subject: str, scores: dict[str, float]) -> Row:
    known = {key: scores[key] for key in (*KEYS, _SKIN) if math.isfinite(scores.get(key, math.nan))}
    return {_EXPOSURE: gain, "image": image, "subject": subject, **known}
