"""What each subject says: scores by person, intervals that draw whole people, and which models they tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hyperskin.metrics.intervals import Interval, clustered_mean, distinct_draws, holm
from hyperskin.metrics.paired import SignFlipTest, sign_flip_test
from hyperskin.reporting.document import Grid, Line, Section, Span, Words, line
from hyperskin.reporting.examination import (
    SIMILARITY,
    Examination,
    by_subject,
    count_of,
    model_cell,
    subjects_of,
)
from hyperskin.reporting.grids import Part, side_by_side, with_count
from hyperskin.tracking.compare import Column
from hyperskin.tracking.results import Result

CLEAR = 0.05
"""What p may be at most, for a difference to be told from chance."""

_FEW = 10  # subjects; below, a bootstrap knows too few people to be trusted to its second digit


@dataclass(frozen=True)
class Difference:
    """One model's score minus another's on the same captures.

    Attributes:
        interval: Mean over captures, and the bootstrap over subjects.
        test: The sign-flip test of the subjects' mean differences.
        better_count: Subjects on whom the model is better by its mean.
        p: The test's p value, corrected for all differences of the table.
    """

    result: Result
    interval: Interval
    test: SignFlipTest
    better_count: int
    p: float

    @property
    def is_clear(self) -> bool:
        """Whether chance alone would seldom do it."""
        return self.p <= CLEAR


def subjects_section(exam: Examination, *, compares: bool = True) -> Section:
    """Return intervals, scores by subject and, if it `compares`, paired differences, for SAM and for SSIM beside it."""
    columns = (exam.deciding, SIMILARITY[exam.deciding.metric])
    known = [result for result in exam.results if by_subject(result, exam.deciding.metric)]
    anchor = f"{exam.anchor}-subjects"
    if not known:
        nothing = line("No run has a table of its captures, so that nothing can be said of single subjects.")
        return Section("Subjects and intervals", anchor, (nothing,))
    subjects = subjects_of(known, exam.deciding.metric)
    blocks: list[object] = [*_tell_few(len(subjects)), _intervals(known, columns)]
    blocks += _per_subject(known, subjects, columns)
    if compares:
        blocks += _compare(exam, known, columns)
    return Section("Subjects and intervals", anchor, tuple(blocks))


def differences(results: Sequence[Result], other: Result, column: Column) -> list[Difference]:
    """Return how each of the models differs from `other` on the captures of `other`, those it lacks left out.

    The p values are corrected together (Holm), for that many models are looked at.
    """
    found = []
    for result in results:
        pairs = _paired(result, other, column.metric)
        if pairs:
            means = [math.fsum(own) / len(own) for _, own in sorted(pairs.items())]
            better_count = sum(column.beats(mean, 0) for mean in means)
            found.append((result, clustered_mean(pairs), sign_flip_test(means), better_count))
    corrected = holm([test.p for _, _, test, _ in found])
    return [Difference(*each, p) for each, p in zip(found, corrected, strict=True)]


def say_limits(interval: Interval, digits: int, *, sign: str = "") -> str:
    """Return the ends of an interval, or that there are none."""
    if interval.low is None or interval.high is None:
        return "none"
    return f"{interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f}"


def _paired(result: Result, other: Result, key: str) -> dict[str, list[float]]:
    """Return differences by subject, capture by capture; empty unless both know the same captures."""
    ours, theirs = by_subject(result, key), by_subject(other, key)
    if not ours or {who: own.keys() for who, own in ours.items()} != {who: own.keys() for who, own in theirs.items()}:
        return {}
    return {who: [own[capture] - theirs[who][capture] for capture in sorted(own)] for who, own in ours.items()}


def _tell_few(count: int) -> Iterator[Line]:
    if count == 1:
        yield line(
            Span("One test subject.", style="strong"),
            " There is no interval and no test: how the models would do on somebody else cannot be told.",
        )
    elif count < _FEW:
        yield line(
            Span(f"Only {count} test subjects.", style="strong"),
            f" Captures of one face are not independent, so that people are drawn, not captures: {count} can be "
            f"drawn in {distinct_draws(count)} ways. An interval from so few is rough and tends to be too narrow, and "
            f"no sign-flip test can come below p = {2.0 ** (1 - count):.2g}.",
        )


def _intervals(known: Sequence[Result], columns: Sequence[Column]) -> Grid:
    rows: list[tuple[Words, ...]] = []
    for result in known:
        cells: list[Words] = []
        count = subject_count = 0
        for column in columns:
            values = {who: list(own.values()) for who, own in by_subject(result, column.metric).items()}
            interval = clustered_mean(values) if values else None
            if interval is None:
                cells += ["-", "-"]
                continue
            count, subject_count = max(count, interval.value_count), interval.subject_count
            cells += [f"{interval.mean:.{column.digits}f}", say_limits(interval, column.digits)]
        rows.append((model_cell(result), *cells, str(count), str(subject_count)))
    return Grid(
        caption="Means over captures and their 95 % intervals: percentile bootstrap, 10 000 draws of whole subjects.",
        heading=("model", *("mean", "95 % interval") * len(columns), "n", "subjects"),
        rows=tuple(rows),
        over=(("", 1), *((column.heading, 2) for column in columns), ("", 2)),
    )


def _per_subject(known: Sequence[Result], subjects: Sequence[str], columns: Sequence[Column]) -> list[Grid]:
    """Return mean scores by subject."""
    parts = []
    for column in columns:
        found = [by_subject(result, column.metric) for result in known]
        counts = {who: max(len(own.get(who, {})) for own in found) for who in subjects}
        parts.append(
            Part(
                over=column.heading,
                heading=tuple(with_count(who, counts[who]) for who in subjects),
                rows=tuple(tuple(_mean(list(own.get(who, {}).values()), column) for who in subjects) for own in found),
            )
        )
    names = [model_cell(result) for result in known]
    return side_by_side("By subject: means over the captures of each", "model", names, parts)


def _mean(values: list[float], column: Column) -> str:
    return f"{math.fsum(values) / len(values):.{column.digits}f}" if values else "-"


def _compare(exam: Examination, known: Sequence[Result], columns: Sequence[Column]) -> Iterator[Grid | Line]:
    """Yield the differences from the best model and from the best regression, unless those are one."""
    best, floor = exam.best, exam.best_floor
    others = {"the best model": best, "the best regression, the floor": floor if floor is not best else None}
    if len(known) < 2:
        yield line("One model alone: there is nothing to compare it with.")
        return
    if len(subjects_of(known, exam.deciding.metric)) < 2:
        return  # and the section begins with why
    for name, other in others.items():
        if other is None:
            continue
        rest = [result for result in known if result is not other]
        found = {column: differences(rest, other, column) for column in columns}
        if found[exam.deciding]:
            yield from _differences(
                found, f"{name}, {other.label}" + (", a regression" if other is floor is best else "")
            )
            yield _tell_clear(found[exam.deciding], other, exam.deciding)


def _differences(found: Mapping[Column, Sequence[Difference]], name: str) -> Iterator[Grid]:
    """Yield one table: a row a model, for each score how far it is from another model's."""
    compared = [each.result for each in next(iter(found.values()))]
    parts = [_part(column, {each.result.row.run_id: each for each in own}, compared) for column, own in found.items()]
    yield from side_by_side(
        f"Difference from {name}, on the same captures: for SAM a negative one is better, for SSIM a positive one. "
        "Interval: 95 %, bootstrap over subjects. p: sign-flip test of the subjects' means, two-sided; p*: corrected "
        f"for all rows (Holm). Bold: p* at most {CLEAR:g}",
        "model",
        [model_cell(result) for result in compared],
        parts,
        most=sum(len(part.heading) for part in parts),  # narrow ones
    )


def _part(column: Column, found: Mapping[str, Difference], compared: Sequence[Result]) -> Part:
    rows: list[tuple[Words, ...]] = []
    for result in compared:
        each = found.get(result.row.run_id)
        if each is None:
            rows.append(("-",) * 5)
            continue
        mean = f"{each.interval.mean:+.{column.digits}f}"
        rows.append(
            (
                Span(mean, style="strong") if each.is_clear else mean,
                say_limits(each.interval, column.digits, sign="+"),
                f"{each.better_count} of {each.test.subject_count}",
                f"{each.test.p:.2g}",
                f"{each.p:.2g}",
            )
        )
    return Part(column.heading, ("difference", "95 % interval", "better on", "p", "p*"), tuple(rows))


def _tell_clear(found: Sequence[Difference], other: Result, column: Column) -> Line:
    unclear = [each.result.label for each in found if not each.is_clear]
    if not unclear:
        return line(f"By {column.heading} all of these differ from {other.label} beyond chance.")
    said = f"By {column.heading} not significantly different from {other.label}: {'; '.join(unclear)}."
    smallest, count = max(each.test.smallest_p for each in found), found[0].test.subject_count
    if smallest * len(found) > CLEAR:
        corrected = f", nor below {min(1.0, smallest * len(found)):.2g} once corrected" if len(found) > 1 else ""
        said += f" With {count_of(count, 'subject')} none can be: p cannot come below {smallest:.2g}{corrected}."
    return line(said)
