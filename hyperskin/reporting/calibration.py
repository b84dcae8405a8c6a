"""What measuring a person once is worth: scores of the person's other captures, by how many spectra were measured."""

from __future__ import annotations

from collections.abc import Sequence

from hyperskin.metrics.readings import summarise_readings
from hyperskin.reporting.document import Section, Span, Words, line
from hyperskin.reporting.examination import Examination, model_cell
from hyperskin.reporting.grids import Part, side_by_side
from hyperskin.tracking.compare import Column
from hyperskin.tracking.results import Record, Result

_TABLE = "per_calibration"
_COLUMNS = (
    Column("sam/bare_skin", "SAM on bare skin", is_higher_better=False),
    Column("sam/bare_skin_truth", "SAM on bare skin, against the truth", is_higher_better=False),
    Column("fidelity/melanin_relative_error", "melanin off by, relative", is_higher_better=False, digits=3),
    Column("fidelity/blood_relative_error", "blood off by, relative", is_higher_better=False, digits=3),
)


def calibration_section(exam: Examination) -> Section:
    """Return a table a score: every model without readings and with each number of them."""
    title, anchor = "Subject calibration: a person measured once", f"{exam.anchor}-calibration"
    known = [result for result in exam.results if result.tables.get(_TABLE)]
    if not known:
        nothing = line("No run has tried it: that needs masks, and test subjects with two captures or more.")
        return Section(title, anchor, (nothing,))
    note = line(
        "So many spectra of skin (K) of a subject's first capture, measured, give a gain for each band, which is "
        "applied to what the model makes of the subject's other captures; these are scored, the first is not. Change: "
        "from K = 0, with its 95 % interval, bootstrap over subjects; bold where that excludes 0. All captures are of "
        "one session, under the same lamps and by the same sensor: on another day less may be left of it."
    )
    return Section(title, anchor, (note, *(grid for column in _COLUMNS for grid in _grids(known, column))))


def _grids(known: Sequence[Result], column: Column) -> list[object]:
    """Return the table of one score; none where no run has it."""
    rows = [
        {int(row["k"]): row for row in summarise_readings(result.tables[_TABLE]) if row["score"] == column.metric}
        for result in known
    ]
    counts = sorted({count for own in rows for count in own})
    if not counts:
        return []
    parts = [_part([own.get(count) for own in rows], count, column) for count in counts]
    most = sum(len(part.heading) for part in parts)  # narrow ones
    largest = max((row for own in rows for row in own.values()), key=lambda row: row["n_images"])
    caption = f"{column.heading}; means over {largest['n_images']} captures of {largest['n_subjects']} subjects"
    return [*side_by_side(caption, "model", [model_cell(result) for result in known], parts, most=most)]


def _part(rows: Sequence[Record | None], count: int, column: Column) -> Part:
    if count == 0:
        return Part("K = 0", ("mean",), tuple((_mean(row, column),) for row in rows))
    cells = tuple((_mean(row, column), _change(row, column), _better(row)) for row in rows)
    return Part(f"K = {count}", ("mean", "change", "better on"), cells)


def _mean(row: Record | None, column: Column) -> str:
    return "-" if row is None else f"{row['mean']:.{column.digits}f}"


def _change(row: Record | None, column: Column) -> Words:
    if row is None:
        return "-"
    said = f"{row['change']:+.{column.digits}f}"
    if "low" not in row:
        return said
    low, high = float(row["low"]), float(row["high"])
    said += f" ({low:+.{column.digits}f} to {high:+.{column.digits}f})"
    return Span(said, style="strong") if high < 0 or low > 0 else said


def _better(row: Record | None) -> str:
    return "-" if row is None else f"{row['better']} of {row['n_subjects']}"
