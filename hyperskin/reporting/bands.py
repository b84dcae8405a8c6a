"""Where on the spectrum a model fails, and on whom: SSIM and RMSE by band, the angle by subject."""

from __future__ import annotations

import math

from hyperskin.reporting.curves import Drawn, choose, draw_bands, draw_subjects
from hyperskin.reporting.document import Drawing, Grid, Line, Section, Words, line
from hyperskin.reporting.examination import Examination, by_subject, model_cell, score
from hyperskin.tracking.results import Record, Result

_REGIONS = {"masked": "masked", "full": "with background"}


def bands_section(exam: Examination) -> Section:
    """Return the paper's Figure 3 in form, and beside it what has no value by band: the spectral angle."""
    pair = exam.pair.name
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
        name=f"{exam.pair.name}-bands",
        figure=draw_bands(drawn, regions, given),
        alt=(
            f"SSIM and RMSE of {_name(drawn)} for every band of {exam.pair.name}; "
            f"{best.label} has its lowest SSIM, {_similarity(lowest, next(iter(regions))):.3f}, at "
            f"{lowest['wavelength_nm']:g} nm."
        ),
        caption=(
            "SSIM and RMSE of each band, means over the test captures (the paper's Figure 3 in form, over all captures "
            f"instead of one). Dashed: the best regression. {_say_left_out(exam, drawn)}"
            + (f"Dotted line: {_say_nm(given)}, which the input holds already. " if given else "")
            + "SAM has no value by band: it is the angle between whole spectra. RMSE is of reflectance."
        ),
    )


def _subjects(exam: Examination, drawn: list[Drawn]) -> Drawing:
    column = exam.deciding
    return Drawing(
        name=f"{exam.pair.name}-angles",
        figure=draw_subjects(drawn, column.metric, f"{column.heading} in rad"),
        alt=f"{column.heading} of every test capture by subject, for {_name(drawn)}.",
        caption=(
            f"{column.heading} by subject: each dot is a capture, each bar the mean of a subject's captures. "
            f"{_say_left_out(exam, drawn)}"
        ),
    )


def _without_given(exam: Examination) -> list[Grid | Line]:
    """Return SSIM with and without the bands that the input holds already, which are no achievement."""
    pair = exam.pair
    regions = [name for name in _REGIONS if any(_mean(result, name, ()) is not None for result in exam.results)]
    if not pair.given_nm or not regions:
        return []
    rows = []
    for result in exam.results:
        cells: list[Words] = []
        for region in regions:
            for left_out in ((), pair.given_nm):
                mean = _mean(result, region, left_out)
                cells.append("-" if mean is None else f"{mean:.4f}")
        rows.append((model_cell(result), *cells))
    grid = Grid(
        caption=f"SSIM with and without {_say_nm(pair.given_nm)}, which the input holds already.",
        heading=("model", *("all bands", f"without {_say_nm(pair.given_nm)}") * len(regions)),
        rows=tuple(rows),
        over=(("", 1), *((_REGIONS[region], 2) for region in regions)),
    )
    return [grid]


def _mean(result: Result, region: str, left_out: tuple[float, ...]) -> float | None:
    """Return the mean SSIM over bands; all have the same windows, so that it is the mean over everything."""
    bands = [band for band in result.tables.get("per_band", []) if band["wavelength_nm"] not in left_out]
    values = [float(band[f"ssim/{region}"]) for band in bands if f"ssim/{region}" in band]
    return math.fsum(values) / len(values) if values else None


def _similarity(band: Record, region: str) -> float:
    return float(band.get(f"ssim/{region}", math.nan))


def _say_left_out(exam: Examination, drawn: list[Drawn]) -> str:
    count = len(exam.results) - len(drawn)
    return f"Not drawn, but in the tables: {count} of {len(exam.results)} models. " if count else ""


def _name(drawn: list[Drawn]) -> str:
    return ", ".join(each.result.label for each in drawn)


def _say_nm(wavelengths: tuple[float, ...]) -> str:
    return f"{', '.join(f'{nm:g}' for nm in wavelengths)} nm"
