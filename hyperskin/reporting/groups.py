"""Whether everybody is served alike: scores by skin type, expression, direction, region of the face, camera."""

from __future__ import annotations

from collections.abc import Sequence

from hyperskin.reporting.document import Section, Span, Words, line
from hyperskin.reporting.examination import SIMILARITY, Examination, model_cell
from hyperskin.reporting.grids import Part, side_by_side, with_count
from hyperskin.tracking.compare import SKIN, Column
from hyperskin.tracking.results import Record, Result

_TABLES = {
    "per_skin_type": "skin type",
    "per_expression": "expression",
    "per_direction": "direction",
    "per_region": "region of the face",
    "per_camera": "camera whose pictures go in; bold: the one that all other tables are of",
}
_TRUTH = "_truth"  # ends the keys of what is held against a phantom's truth
_CAPTURES, _SUBJECTS = "n_images", "n_subjects"
_OWN_CAMERA = "of the evaluation"  # as a table of cameras calls it
_MELANIN = SKIN[0]


def groups_section(exam: Examination) -> Section:
    """Return a table for each grouping that some run knows, with how many captures each group has."""
    blocks: list[object] = []
    for name, what in _TABLES.items():
        known = [result for result in exam.results if result.tables.get(name)]
        parts = [_part(known, name, column) for column in _columns(exam, known, name)]
        if all(len(result.tables[name]) < 2 for result in known):
            continue  # one group has nobody to be compared with
        blocks += side_by_side(f"By {what}", "model", [model_cell(result) for result in known], parts)
    title, anchor = "Groups: is everybody served alike?", f"{exam.anchor}-groups"
    if not blocks:
        return Section(title, anchor, (line("No run has tables by group."),))
    note = line(
        "Means over the captures of each group; n counts captures, and behind it people. Where a group is one person, "
        "a gap between groups is a gap between two people. Gap: largest minus smallest of the row."
    )
    return Section(title, anchor, (note, *blocks))


def _columns(exam: Examination, known: Sequence[Result], name: str) -> list[Column]:
    """Return the scores that the table holds, of those that matter: the angle, the similarity, melanin."""
    held = {key for result in known for row in result.tables[name] for key in row}
    short = _MELANIN.metric.rpartition("/")[2]  # as regions name it
    wanted = [exam.deciding, SIMILARITY[exam.deciding.metric]]
    melanin = next((key for key in (_MELANIN.metric, f"{_MELANIN.metric}{_TRUTH}", short) if key in held), None)
    found = [column for column in wanted if column.metric in held]
    if melanin is not None:
        heading = "melanin off by, relative" + (", against the truth" if melanin.endswith(_TRUTH) else "")
        found.append(Column(melanin, heading, is_higher_better=False, digits=_MELANIN.digits))
    return found


def _part(known: Sequence[Result], name: str, column: Column) -> Part:
    """Return one score of every model by group, and how far the groups lie apart."""
    groups = list(dict.fromkeys(_name_of(row) for result in known for row in result.tables[name]))
    return Part(
        over=column.heading,
        heading=(*(_heading(known, name, group) for group in groups), "gap"),
        rows=tuple(_cells(result, name, groups, column) for result in known),
    )


def _cells(result: Result, name: str, groups: Sequence[str], column: Column) -> tuple[Words, ...]:
    rows = {_name_of(row): row for row in result.tables[name] if column.metric in row}
    found = {group: float(row[column.metric]) for group, row in rows.items()}
    cells: list[Words] = []
    for group in groups:
        text = f"{found[group]:.{column.digits}f}" if group in found else "-"
        is_own = group in rows and rows[group].get("pictures") == _OWN_CAMERA
        cells.append(Span(text, style="strong") if is_own else text)
    gap = f"{max(found.values()) - min(found.values()):.{column.digits}f}" if len(found) > 1 else "-"
    return (*cells, gap)


def _name_of(row: Record) -> str:
    """Return what names a row: its first column, whatever that is called."""
    return str(next(iter(row.values())))


def _heading(known: Sequence[Result], name: str, group: str) -> str:
    """Return a group with how many captures and, where runs say so, people are in it."""
    rows = [row for result in known for row in result.tables[name] if _name_of(row) == group]
    captures, people = (max(int(row.get(key, 0)) for row in rows) for key in (_CAPTURES, _SUBJECTS))
    return with_count(group, captures, people)
