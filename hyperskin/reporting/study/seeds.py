"""Seeds of a training as one model: scores averaged over seeds, capture by capture, and how far the seeds lie apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from hyperskin.metrics.intervals import Interval, clustered_mean
from hyperskin.reporting.examination import Examination, by_subject, score
from hyperskin.tracking.compare import Row, Table, label_row
from hyperskin.tracking.results import Record, Result
from hyperskin.tracking.seeds import SEED, average, group_by_seed

EXPOSURE = "exposure"
"""The column of a table "per_exposure" that says by how much the light was multiplied."""

_NAMES = (EXPOSURE, "wavelength_nm", "k")  # numbers that say what a row is about, as its words do; all else is measured


@dataclass(frozen=True)
class Spread:
    """How far the scores of several seeds lie apart.

    Attributes:
        low: The lowest.
        high: The highest.
        deviation: Standard deviation, of a sample.
        count: Seeds.
    """

    low: float
    high: float
    deviation: float
    count: int

    @property
    def width(self) -> float:
        """From the lowest to the highest."""
        return self.high - self.low


@dataclass(frozen=True)
class Group:
    """Trainings that differ in their seed alone.

    Attributes:
        mean: What they come to together, as a run: numbers, and tables of captures, averaged over seeds.
        members: The runs, by seed.
    """

    mean: Result
    members: tuple[Result, ...]

    @property
    def seeds(self) -> tuple[str, ...]:
        """Their seeds; an empty one for what has none."""
        return tuple(member.row.params.get(SEED, "") for member in self.members)

    @property
    def lacking_count(self) -> int:
        """Runs without a table of captures, whose files are gone."""
        return sum(not member.tables.get("per_image") for member in self.members)

    def spread(self, key: str) -> Spread | None:
        """Return how far the seeds lie apart in a score; None where fewer than two have it."""
        values = [value for member in self.members if math.isfinite(value := score(member, key))]
        return Spread(min(values), max(values), stdev(values), len(values)) if len(values) > 1 else None

    def interval(self, key: str) -> Interval | None:
        """Return the mean of a score with its interval over subjects, which no number of seeds makes narrower."""
        values = {who: list(own.values()) for who, own in by_subject(self.mean, key).items()}
        return clustered_mean(values) if values else None


@dataclass(frozen=True)
class Pool:
    """One examination with the seeds of each training together.

    Attributes:
        exam: Its runs are means over seeds.
        groups: In the order of these.
    """

    exam: Examination
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, exam: Examination) -> Pool:
        """Return the groups of an examination."""
        by_id = {result.row.run_id: result for result in exam.results}
        members = [tuple(by_id[row.run_id] for row in rows) for rows in group_by_seed(exam.table.rows)]
        rows = [average([result.row for result in own]) for own in members]
        labels = [label_row(row, rows) for row in rows]
        groups = tuple(map(_average, members, rows, labels))
        table = Table(exam.table.pair, exam.table.evaluation, tuple(rows), tuple(labels), exam.table.is_present)
        return cls(replace(exam, table=table, results=tuple(group.mean for group in groups)), groups)

    @property
    def is_repeated(self) -> bool:
        """Whether something was trained with several seeds."""
        return any(len(group.members) > 1 for group in self.groups)

    @property
    def is_exposed(self) -> bool:
        """Whether something was examined in other light."""
        return any(group.mean.tables.get("per_exposure") for group in self.groups)

    def group_of(self, result: Result) -> Group:
        """Return the group whose mean a result is."""
        return next(group for group in self.groups if group.mean is result)


def mean_table(tables: Sequence[Sequence[Record]]) -> list[Record]:
    """Return the rows that all tables have, with the means of the numbers that all of them have there.

    Args:
        tables: One a seed; rows are the same where their words, exposure, wavelength and number of readings (k) are.
    """
    known = [{_name_of(row): row for row in table} for table in tables]
    names = [name for name in (known[0] if known else {}) if all(name in table for table in known)]
    return [_mean_row([table[name] for table in known]) for name in names]


def _average(members: tuple[Result, ...], row: Row, label: str) -> Group:
    first, *others = members
    if not others:
        return Group(replace(first, row=row, label=label), members)
    names = dict.fromkeys(name for member in members for name in member.tables)
    found = {name: mean_table([own for member in members if (own := member.tables.get(name))]) for name in names}
    tables = {name: rows for name, rows in found.items() if rows}
    mean = replace(first, row=row, label=label, tables=tables, ended_ms=max(each.ended_ms for each in members))
    return Group(mean, members)


def _mean_row(rows: Sequence[Record]) -> Record:
    mean: Record = {}
    for key, first in rows[0].items():
        values = [value for row in rows if isinstance(value := row.get(key), int | float)]
        if _is_name(key, first):
            mean[key] = first
        elif len(values) == len(rows):
            mean[key] = _mean(values)
    return mean


def _mean(values: Sequence[float]) -> float:
    """Return a mean; what is the same in all stays as it is, so that a number of captures is no fraction of one."""
    if len(set(values)) == 1:
        return values[0]
    counted = all(isinstance(value, int) for value in values)
    return round(fmean(values), 1) if counted else fmean(values)


def _name_of(row: Record) -> tuple[tuple[str, str | float], ...]:
    return tuple((key, value) for key, value in row.items() if _is_name(key, value))


def _is_name(key: str, value: str | float) -> bool:
    return key in _NAMES or isinstance(value, str)
