"""What is left of the skin: melanin, blood, oxygenation and water read from reconstructions, and ties by angle."""

from __future__ import annotations

from hyperskin.reporting.document import Bullets, Grid, Line, Section, bullets, line
from hyperskin.reporting.examination import Examination, image_count, model_cell
from hyperskin.reporting.scores import known_columns, score_cell
from hyperskin.tracking.compare import SKIN, tell_constant, tell_ties


def skin_section(exam: Examination) -> Section:
    """Return errors and correlations of the maps, and models that tie by angle and differ in melanin."""
    title, anchor, columns = "What is left of the skin", f"{exam.anchor}-skin", known_columns(exam, SKIN)
    if not columns:
        nothing = line("No run was asked what it keeps of the skin: that needs masks and readable skin.")
        return Section(title, anchor, (nothing,))
    grid = Grid(
        caption=(
            "Melanin, blood, oxygenation and water read from the reconstruction, against the same reading of the "
            "measured cube; mean ± spread over captures. r: correlation over the pixels of all people; r within: "
            "within each face. pp: percentage points."
        ),
        heading=("model", *(column.heading for column in columns), "n"),
        rows=tuple(
            (model_cell(result), *(score_cell(exam, result, column) for column in columns), image_count(result))
            for result in exam.results
        ),
    )
    return Section(title, anchor, (grid, *map(line, tell_constant(exam.table)), *_ties(exam)))


def _ties(exam: Examination) -> list[Line | Bullets]:
    said = tell_ties(exam.table)
    if not said:
        return [line("No two models tie by angle and differ in melanin.")]
    return [bullets(*map(line, said))]
