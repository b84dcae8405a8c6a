"""Where on the spectrum a model fails, and on whom: SSIM and RMSE by band, the angle by subject."""

from __future__ import annotations

import math

from hyperskin.reporting.curves import Drawn, choose, draw_bands, draw_subjects
from hyperskin.reporting.document import Drawing, Grid, Section, line
from hyperskin.reporting.examination import Examination, by_subject, image_count, model_cell, score
from hyperskin.tracking.compare import OURS
from hyperskin.tracking.results import Record

_REGIONS = {"masked": "masked", "full": "with background"}
_WITH_GIVEN = {column.metric: column for column in (OURS[3], OURS[2], OURS[1], OURS[0])}
_UNSEEN = "_unseen"  # ends the keys of what is scored without the given bands


def bands_section(exam: Examination) -> Section:
    """Return the paper's Figure 3 in form, and beside it what has no value by band: the spectral angle."""
    pair = exam.anchor
    drawn = [each for each in choose(exam) if each.result.tables.get("per_band")]
    blocks: list[object] = []
    if drawn:
        blocks.append(_bands(exam, drawn))
        blocks += _without_given(exam)
    dots = [each for each in choose(exam) if by_subject(each.result, exam.deciding.metric)]
    if dots:
        blocks.append(_subjects(exam, dots))
    if not blocks:
        blocks.append(line("No run has tables of its bands or captures."))
    return Section("Bands", f"{pair}-bands", tuple(blocks))


def _bands(exam: Examination, drawn: list[Drawn]) -> Drawing:
    first = drawn[0].result.tables["per_band"][0]
    regions = {name: heading for name, heading in _REGIONS.items() if f"ssim/{name}" in first}
    best = min((each.result for each in drawn), key=lambda result: score(result, exam.deciding.metric))
    lowest = min(best.tables["per_band"], key=lambda band: _similarity(band, next(iter(regions))))
    given = exam.pair.given_nm
    return Drawing(
        name=f"{exam.anchor}-bands",
        figure=draw_bands(drawn, regions, given),
        alt=(
            f"SSIM and RMSE of {_name(drawn)} for every band of {exam.pair.name}; "
            f"{best.label} has its lowest SSIM, {_similarity(lowest, next(iter(regions))):.3f}, at "
            f"{lowest['wavelength_nm']:g} nm."
        ),
        caption=(
            "SSIM and RMSE of each band, means over the test captures (the paper's Figure 3 in form, over all captures "
            f"instead of one). Dashed: the best regression.{_say_left_out(exam, drawn)}"
            + (f" Dotted line: {_say_nm(given)}, which the input holds already." if given else "")
            + " SAM has no value by band: it is the angle between whole spectra. RMSE is of reflectance."
        ),
    )


def _subjects(exam: Examination, drawn: list[Drawn]) -> Drawing:
    column = exam.deciding
    return Drawing(
        name=f"{exam.anchor}-angles",
        figure=draw_subjects(drawn, column.metric, f"{column.heading} in rad"),
        alt=f"{column.heading} of every test capture by subject, for {_name(drawn)}.",
        caption=(
            f"{column.heading} by subject: each dot is a capture, each bar the mean of a subject's captures."
            f"{_say_left_out(exam, drawn)}"
        ),
    )


def _without_given(exam: Examination) -> list[Grid]:
    """Return scores with and without the bands that the input holds already, which are no achievement."""
    keys = [key for key in _WITH_GIVEN if any(f"{key}{_UNSEEN}" in result.row.metrics for result in exam.results)]
    if not keys:
        return []
    given = _say_nm(exam.pair.given_nm)
    grid = Grid(
        caption=f"Scores with and without {given}, which the input holds already.",
        heading=("model", *("all bands", f"without {given}") * len(keys), "n"),
        rows=tuple(
            (
                model_cell(result),
                *(_number(score(result, key)) for base in keys for key in (base, f"{base}{_UNSEEN}")),
                image_count(result),
            )
            for result in exam.results
        ),
        over=(("", 1), *((_WITH_GIVEN[key].heading, 2) for key in keys), ("", 1)),
    )
    return [grid]


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _similarity(band: Record, region: str) -> float:
    return float(band.get(f"ssim/{region}", math.nan))


def _say_left_out(exam: Examination, drawn: list[Drawn]) -> str:
    count = len(exam.results) - len(drawn)
    return f" Not drawn, but in the tables: {count} of {len(exam.results)} models." if count else ""


def _name(drawn: list[Drawn]) -> str:
    return ", ".join(each.result.label for each in drawn)


def _say_nm(wavelengths: tuple[float, ...]) -> str:
    return f"{', '.join(f'{nm:g}' for nm in wavelengths)} nm"
