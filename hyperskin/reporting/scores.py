"""Ours in the form of the paper's Tables 3 and 4, beside what the published rule makes of the same cubes."""

from __future__ import annotations

import math

from hyperskin.data.test_sets import OWN
from hyperskin.reporting.document import Grid, Line, Section, Span, Words, line
from hyperskin.reporting.examination import Examination, count_of, image_count, model_cell, score
from hyperskin.reporting.published import published_blocks
from hyperskin.tracking.compare import OURS, PUBLISHED, TRUTH, Column, find_best, networks_below_floor, tell_noise
from hyperskin.tracking.results import Result

TITLES = {
    "rgb_vis": "Table 3: RGB to 31 visible bands (rgb_vis)",
    "msi_nir": "Table 4: RGB and 960 nm to 31 infrared bands (msi_nir)",
    "msi_visnir": "ICASSP 2024: RGB and 960 nm to 61 bands (msi_visnir)",
}


def scores_section(exam: Examination, *, source: str, is_invented: bool, test_set: str) -> Section:
    """Return our table, what it says of the floor, and apart from it what was published."""
    blocks: list[object] = [_ours(exam)]
    if not exam.has_masks:
        blocks.append(line("The test captures have no masks, so that there is no masked score; SAM over all decides."))
    blocks += [line(said) for said in (*_tell_floor(exam), *tell_noise(exam.table))]
    theirs = published_blocks(exam.pair.name)
    if exam.anchor != exam.pair.name:
        blocks.append(line("What was published stands with ", Span("the first camera", anchor=exam.pair.name), "."))
    elif theirs:
        blocks += [_why_apart(exam, source, is_invented=is_invented, test_set=test_set), *theirs]
    return Section("Scores", f"{exam.anchor}-scores", tuple(blocks))


def score_cell(exam: Examination, result: Result, column: Column) -> Words:
    """Return a mean and its spread, bold where it is the best of the table."""
    value = score(result, column.metric)
    if not math.isfinite(value):
        return "-"
    spread = result.row.metrics.get(f"{column.metric}_std") if result.row.image_count != 1 else None
    is_best = find_best(exam.table.rows, column) is result.row
    shown = "" if spread is None else f"{spread:.{column.digits}f}"
    return Span(f"{value:.{column.digits}f}", shown, "strong" if is_best else "")


def known_columns(exam: Examination, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return the columns that some run has a number for."""
    return tuple(column for column in columns if find_best(exam.table.rows, column) is not None)


def _ours(exam: Examination) -> Grid:
    halves = {
        "by the rule of the published code": known_columns(exam, PUBLISHED),
        "ours, as the paper's text says": known_columns(exam, OURS),
        "against the truth": known_columns(exam, (TRUTH,)),
    }
    halves = {name: columns for name, columns in halves.items() if columns}
    columns = [column for half in halves.values() for column in half]
    rows = [
        (
            model_cell(result),
            *(score_cell(exam, result, column) for column in columns),
            image_count(result),
        )
        for result in exam.results
    ]
    return Grid(
        caption=(
            f"Ours, test set {exam.table.evaluation[:8]}: mean ± spread (population) over test captures. SSIM: higher "
            "is better. SAM in rad: lower is better. Bold: best of its column. Italics: regressions, the floor. "
            "Every network was trained here from nothing, so that there is no pre-trained half."
        ),
        heading=("model", *(column.heading for column in columns), "n"),
        rows=tuple(rows),
        over=(("", 1), *((name, len(half)) for name, half in halves.items()), ("", 1)),
    )


def _tell_floor(exam: Examination) -> list[str]:
    """Say which networks are not better than the best regression, by the mean alone."""
    if not exam.networks:
        return ["No network was trained on this pair."]
    floor, below = exam.best_floor, networks_below_floor(exam.table)
    if floor is None:
        return ["No regression was fitted on this pair, so that nobody knows what a network must beat."]
    named = f"{floor.label} ({score(floor, exam.deciding.metric):.4f})"
    if below:
        return [f"Not better by {exam.deciding.heading} than the best regression, {named}: {'; '.join(below)}."]
    return [f"Every network is better by {exam.deciding.heading} than the best regression, {named}."]


def _why_apart(exam: Examination, source: str, *, is_invented: bool, test_set: str) -> Line:
    captures = count_of(exam.results[0].row.image_count or 0, "capture")
    if is_invented:
        ours = f"Ours are of {captures} of people that the computer made up"
    elif test_set == OWN:
        ours = f"Ours are of {captures} of the source {source}"
    else:
        ours = f"Ours are of {captures}, the subjects of {test_set}"
    return line(
        Span("Published scores stand apart, and nothing is ranked across.", style="strong"),
        f" {ours}. The published rows below are of other captures, or of the same people with other masks or without "
        "any, so that a lower number here is no better model than theirs. What compares is the rule: the columns by "
        "the published code are computed as theirs were. That rule multiplies both cubes by the mask and counts the "
        "black background as perfect, so that its masked SSIM also grows with the size of the background.",
    )
