"""From one capture's cubes to its scores, and from many captures' scores to the tables people compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hyperskin.cube import Cube, require_mask
from hyperskin.errors import DataError, EmptyMaskError, ShapeError
from hyperskin.metrics.pixels import Float64, require_comparable
from hyperskin.metrics.pointwise import pointwise_errors
from hyperskin.metrics.published import published_sam, published_ssim
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import WINDOW_PX, Centres, ssim_by_centres

METRICS_VERSION = 2
"""Part of the evaluation fingerprint: grows whenever a change moves a logged number."""

DATA_RANGE = 1.0  # reflectance of the white reference

Bool = npt.NDArray[np.bool_]
Row = dict[str, str | float]


@dataclass(frozen=True)
class CaptureScores:
    """What one reconstruction scored.

    Attributes:
        capture: Name of the capture.
        subject: Whose it is.
        expression: "neutral" or "smile", where known.
        direction: "front", "left" or "right", where known.
        values: Score by metric key (`sam/masked`, `ssim/full`, ...); finite numbers only, so a perfect capture has no
            `psnr`, and a capture without a mask has only keys that end in `/full`.
        per_band: `ssim` and `rmse` of each band, (C,), float64, by metric key.
        counts: Of the masked region, or of the full one where there is no mask: `pixel_count` pixels in the mean
            angle, `left_out` pixels with a black reference, `window_count` windows in each band's SSIM,
            `lost_to_valid` pixels that were not measured.
        skin_type: "very light" to "dark", by the colour of the measured skin; None where it is not known.
        ita_deg: The individual typology angle that says so, in degrees.
    """

    capture: str
    subject: str
    expression: str | None
    direction: str | None
    values: dict[str, float]
    per_band: dict[str, Float64] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    skin_type: str | None = None
    ita_deg: float | None = None


@dataclass(frozen=True)
class Summary:
    """Scores of many captures as numbers and rows of plain values.

    Attributes:
        metrics: By metric key the mean over the captures that have it, each capture counting once; with suffix `_std`
            the population standard deviation over captures, `_std_sample` the sample one, `_std_subjects` the
            population one over subjects' means, `_n` the captures that have it, where those are fewer than the region
            has. Further `n_images`, `n_images/masked`, `n_images/full`, `n_subjects` and the sums `n_left_out` and
            `n_lost_to_valid`.
        per_image: One row a capture, `image` first.
        per_subject: One row a subject, with means over its captures.
        per_expression: One row an expression, with means over its captures, and how many captures and subjects.
        per_direction: One row a direction, alike.
        per_skin_type: One row a skin type, alike, light to dark.
        band_means: Mean over captures of each band, (C,), float64, by metric key.
    """

    metrics: dict[str, float]
    per_image: list[Row]
    per_subject: list[Row]
    per_expression: list[Row]
    per_direction: list[Row]
    per_skin_type: list[Row]
    band_means: dict[str, Float64]

    def per_band(self, wavelength_nm: Sequence[float]) -> list[Row]:
        """Return one row a band, `wavelength_nm` first.

        Raises:
            ShapeError: The scores have another number of bands.
        """
        for key, means in self.band_means.items():
            if len(means) != len(wavelength_nm):
                raise ShapeError(f"`wavelength_nm` must name {len(means)} bands like {key}; got {len(wavelength_nm)}.")
        return [
            {"wavelength_nm": float(centre_nm), **{key: float(means[i]) for key, means in self.band_means.items()}}
            for i, centre_nm in enumerate(wavelength_nm)
        ]


def score_capture(
    estimate: Cube,
    reference: Cube,
    *,
    capture: str,
    subject: str,
    expression: str | None,
    direction: str | None,
    mask: Bool | None,
    valid: Bool,
    given: Sequence[int] = (),
) -> CaptureScores:
    """Return every score of one reconstructed capture.

    The region "masked" is the subject's measured pixels, "full" all measured ones. Where the input holds some of the
    target bands, the scores `sam`, `ssim` and `rmse` come a second time without them, with `_unseen` behind the region:
    whoever copies what is given has reconstructed nothing.

    Args:
        estimate: Reconstructed reflectance, (H, W, C).
        reference: Measured reflectance on the same bands, (H, W, C).
        capture: Name of the capture.
        subject: Whose it is.
        expression: "neutral" or "smile", where known.
        direction: "front", "left" or "right", where known.
        mask: Subject or not, (H, W) bool; None where there is no mask.
        valid: Measured or not, (H, W) bool.
        given: Indices of the bands that the input already holds.

    Returns:
        The scores, under the names they are logged by.

    Raises:
        ShapeError: The arrays do not fit each other.
        EmptyMaskError: A region holds no pixel, or no whole window.
        DataError: A measured value, or its estimate, is NaN or infinite; or all references in a region are black.

    Source:
        Hyper-Skin (2023), section 4.1: evaluation with and without background.
    """
    _require_frame(estimate, reference, mask, valid)
    regions = {"full": valid} if mask is None else {"masked": mask & valid, "full": valid}
    values: dict[str, float] = {}
    per_band: dict[str, Float64] = {}
    counts: dict[str, int] = {}
    for region, selected in regions.items():
        if not selected.any():
            raise EmptyMaskError(f"Capture {capture} must have measured pixels to score; region {region!r} holds none.")
        try:
            found = _score_region(estimate, reference, None if selected.all() else selected, region, given)
        except DataError as error:
            raise type(error)(f"Capture {capture}, region {region!r}: {error}") from error
        values |= found.values
        per_band |= found.per_band
        counts = counts or found.counts
    counts["lost_to_valid"] = int(np.count_nonzero(~valid if mask is None else mask & ~valid))
    return CaptureScores(capture, subject, expression, direction, values, per_band, counts)


def summarise(scores: Sequence[CaptureScores]) -> Summary:
    """Return means, spreads and tables of many captures, sorted by name, so that their order changes nothing.

    Raises:
        DataError: There is no score, or one capture comes twice.
        ShapeError: Captures have different numbers of bands.
    """
    _require_distinct(scores)
    scores = sorted(scores, key=lambda score: score.capture)
    per_subject = _group_rows(scores, "subject")
    metrics = {"n_images": float(len(scores)), "n_subjects": float(len(per_subject))}
    for count in ("left_out", "lost_to_valid"):
        metrics[f"n_{count}"] = float(sum(score.counts.get(count, 0) for score in scores))
    for region in ("masked", "full"):
        if image_count := sum(f"sam/{region}" in score.values for score in scores):
            metrics[f"n_images/{region}"] = float(image_count)
    for key in _keys(scores):
        found = [score.values[key] for score in scores if key in score.values]
        subject_means = [float(row[key]) for row in per_subject if key in row]
        metrics |= _statistics(key, found, subject_means)
        if len(found) < metrics.get(f"n_images/{'masked' if 'masked' in key else 'full'}", 0):
            metrics[f"{key}_n"] = float(len(found))
    return Summary(
        metrics=metrics,
        per_image=[_image_row(score) for score in scores],
        per_subject=per_subject,
        per_expression=_group_rows(scores, "expression"),
        per_direction=_group_rows(scores, "direction"),
        per_skin_type=sorted(_group_rows(scores, "skin_type"), key=lambda row: row["ita_deg"], reverse=True),
        band_means=_band_means(scores),
    )


@dataclass(frozen=True)
class _RegionScores:
    values: dict[str, float]
    per_band: dict[str, Float64]
    counts: dict[str, int]


def _score_region(
    estimate: Cube, reference: Cube, selected: Bool | None, region: str, given: Sequence[int]
) -> _RegionScores:
    """Return all scores over `selected`, (H, W); None for every pixel."""
    angle = sam(estimate, reference, selected)
    if angle.pixel_count == 0:
        raise DataError("a reference spectrum must be other than zero; all are zero.")
    centres: tuple[Centres, ...] = ("any", "inside") if region == "masked" else ("any",)
    similarity = ssim_by_centres(estimate, reference, selected, data_range=DATA_RANGE, centres=centres)
    if similarity["any"].window_count == 0:
        raise EmptyMaskError(f"a frame must hold a whole {WINDOW_PX} x {WINDOW_PX} px window; it is {reference.shape}.")
    errors = pointwise_errors(estimate, reference, selected)
    values = {
        f"sam/{region}": angle.value,
        f"ssim/{region}": similarity["any"].value,
        f"rmse/{region}": errors.rmse,
        f"psnr/{region}": errors.psnr(DATA_RANGE),
        f"mae/{region}": errors.mae,
        f"mrae/{region}": errors.mrae,
        f"mrae_floored/{region}": errors.floored,
        f"ssim/published_{region}": published_ssim(estimate, reference, selected),
        f"sam/published_{region}": published_sam(estimate, reference, selected),
    }
    if "inside" in similarity:
        values[f"ssim/{region}_inside"] = similarity["inside"].value
    if given:
        unseen = np.delete(np.arange(reference.shape[2]), given)
        values[f"sam/{region}_unseen"] = sam(estimate[..., unseen], reference[..., unseen], selected).value
        values[f"ssim/{region}_unseen"] = float(similarity["any"].per_band[unseen].mean())
        values[f"rmse/{region}_unseen"] = float(np.sqrt(np.square(errors.rmse_per_band[unseen]).mean()))
    return _RegionScores(
        values={key: value for key, value in values.items() if math.isfinite(value)},
        per_band={f"ssim/{region}": similarity["any"].per_band, f"rmse/{region}": errors.rmse_per_band},
        counts={
            "pixel_count": angle.pixel_count,
            "left_out": angle.left_out,
            "window_count": similarity["any"].window_count,
        },
    )


def _require_frame(estimate: Cube, reference: Cube, mask: Bool | None, valid: Bool) -> None:
    require_comparable(estimate, reference, mask)
    require_mask("valid", valid, (reference.shape[0], reference.shape[1]))
    for name, region in (("mask", mask), ("valid", valid)):
        if region is not None and region.dtype != np.bool_:
            raise ShapeError(f"`{name}` must be bool; got dtype {region.dtype}: compare it with a threshold first.")


def _require_distinct(scores: Sequence[CaptureScores]) -> None:
    names = [score.capture for score in scores]
    if not names:
        raise DataError("`scores` must hold at least one capture; got none.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"`scores` must hold every capture once; got {', '.join(twice)} more than once.")


def _keys(scores: Sequence[CaptureScores]) -> list[str]:
    """Return every metric key that some capture has, in order of appearance."""
    return list(dict.fromkeys(key for score in scores for key in score.values))


def _statistics(key: str, values: Sequence[float], subject_means: Sequence[float]) -> dict[str, float]:
    statistics = {key: _mean(values), f"{key}_std": _std(values, 0)}
    if len(values) > 1:
        statistics[f"{key}_std_sample"] = _std(values, 1)
    if len(subject_means) > 1:
        statistics[f"{key}_std_subjects"] = _std(subject_means, 0)
    return statistics


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _std(values: Sequence[float], lost_degrees: int) -> float:
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - lost_degrees))


def _image_row(score: CaptureScores) -> Row:
    return {
        "image": score.capture,
        "subject": score.subject,
        "expression": score.expression or "",
        "direction": score.direction or "",
        "skin_type": score.skin_type or "",
        **_mean_angle([score]),
        **score.values,
        **score.counts,
    }


def _group_rows(scores: Sequence[CaptureScores], attribute: str) -> list[Row]:
    """Return a row of means for each value of `attribute`, sorted; captures that do not know theirs are in no row."""
    groups: dict[str, list[CaptureScores]] = {}
    for score in scores:
        name = getattr(score, attribute)
        if name is not None:
            groups.setdefault(name, []).append(score)
    return [_group_row(attribute, name, groups[name]) for name in sorted(groups)]


def _group_row(attribute: str, name: str, members: Sequence[CaptureScores]) -> Row:
    row: Row = {attribute: name, "n_images": len(members)}
    if attribute != "subject":
        row["n_subjects"] = len({score.subject for score in members})
    row |= _mean_angle(members)
    for key in _keys(members):
        row[key] = _mean([score.values[key] for score in members if key in score.values])
    return row


def _mean_angle(scores: Sequence[CaptureScores]) -> Row:
    known = [score.ita_deg for score in scores if score.ita_deg is not None]
    return {"ita_deg": _mean(known)} if known else {}


def _band_means(scores: Sequence[CaptureScores]) -> dict[str, Float64]:
    means = {}
    for key in dict.fromkeys(key for score in scores for key in score.per_band):
        curves = [score.per_band[key] for score in scores if key in score.per_band]
        if len({len(curve) for curve in curves}) > 1:
            raise ShapeError(f"All captures must have one number of bands; {key} has {sorted({*map(len, curves)})}.")
        means[key] = np.mean(curves, axis=0)
    return means
