"""Who is better than whom: paired differences over people, and whether seeds alone lie as far apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hyperskin.metrics.paired import MOST_EXACT
from hyperskin.reporting.document import Grid, Line, Span, Words, line
from hyperskin.reporting.examination import count_of, model_cell
from hyperskin.reporting.study.seeds import Group, Pool
from hyperskin.reporting.subjects import CLEAR, Difference, differences, say_limits
from hyperskin.tracking.compare import Column
from hyperskin.tracking.runs import is_floor

OWN = "basal"
"""The model that others are held against beside the best regression."""


@dataclass(frozen=True)
class Rival:
    """A model held against another, on the same captures.

    Attributes:
        group: The model.
        other: What it is held against.
        difference: Its score minus the other's, by subject, averaged over seeds.
        seed_width: From the lowest to the highest seed, of whichever of the two spreads wider; None where neither was
            trained twice.
    """

    group: Group
    other: Group
    difference: Difference
    seed_width: float | None

    @property
    def is_within_seeds(self) -> bool:
        """Whether another draw of the seeds could have made as much of a difference."""
        return self.seed_width is not None and abs(self.difference.interval.mean) < self.seed_width


def references(pool: Pool) -> list[tuple[str, Group]]:
    """Return what all others are held against, with why: the best regression, and basal or else the best model."""
    own = next((each for each in pool.exam.by_score() if each.row.model == OWN), None)
    chosen = {"the best regression": pool.exam.best_floor, OWN if own else "the best model": own or pool.exam.best}
    found: list[tuple[str, Group]] = []
    for why, result in chosen.items():
        if result is not None and all(result is not group.mean for _, group in found):
            found.append((why, pool.group_of(result)))
    return found


def find_rivals(pool: Pool, other: Group, column: Column) -> list[Rival]:
    """Return every other model held against one of them; p values are corrected for all of these together."""
    rest = [group.mean for group in pool.groups if group is not other]
    found = []
    for difference in differences(rest, other.mean, column):
        group = pool.group_of(difference.result)
        found.append(Rival(group, other, difference, _wider(group, other, column.metric)))
    return found


def rival_blocks(pool: Pool) -> Iterator[Grid | Line]:
    """Yield a table for each reference, and below it in words what can be told from chance and what cannot."""
    column = pool.exam.deciding
    for why, other in references(pool):
        if rivals := find_rivals(pool, other, column):
            yield _grid(rivals, why, column)
            yield from _tell(rivals, column)


def _wider(one: Group, other: Group, key: str) -> float | None:
    widths = [spread.width for group in (one, other) if (spread := group.spread(key)) is not None]
    return max(widths, default=None)


def _grid(rivals: Sequence[Rival], why: str, column: Column) -> Grid:
    name = rivals[0].other.mean.label
    called = name if why == name else f"{why}, {name}"
    return Grid(
        caption=(
            f"{column.heading}: difference from {called}, on the same captures, scores averaged over seeds first; a "
            "negative one is better. Interval: 95 %, bootstrap over subjects. p: sign-flip test of the subjects' "
            f"means, two-sided; p*: corrected for all rows (Holm). Bold: p* at most {CLEAR:g}. Seeds: how far the "
            "seeds of one model lie apart, the wider of the two."
        ),
        heading=("model", "difference", "95 % interval", "better on", "p", "p*", "seeds"),
        rows=tuple(_row(rival, column) for rival in rivals),
    )


def _row(rival: Rival, column: Column) -> tuple[Words, ...]:
    each = rival.difference
    mean = f"{each.interval.mean:+.{column.digits}f}"
    return (
        model_cell(rival.group.mean),
        Span(mean, style="strong") if each.is_clear else mean,
        say_limits(each.interval, column.digits, sign="+"),
        f"{each.better_count} of {each.test.subject_count}",
        f"{each.test.p:.2g}",
        f"{each.p:.2g}",
        _say_seeds(rival, column),
    )


def _say_seeds(rival: Rival, column: Column) -> str:
    if rival.seed_width is not None:
        return f"{rival.seed_width:.{column.digits}f}"
    return "one seed" if any((*rival.group.seeds, *rival.other.seeds)) else "-"


def _tell(rivals: Sequence[Rival], column: Column) -> Iterator[Line]:
    """Say which differences are more than chance over people, which are not, and which seeds could have made."""
    name = rivals[0].other.mean.label
    for words, chosen in (
        ("better than", [each for each in rivals if each.difference.is_clear and each.difference.interval.mean < 0]),
        ("worse than", [each for each in rivals if each.difference.is_clear and each.difference.interval.mean > 0]),
        ("not significantly different from", [each for each in rivals if not each.difference.is_clear]),
    ):
        if chosen:
            yield line(f"By {column.heading} {words} {name}: {_name(chosen)}.")
    yield from _tell_smallest(rivals)
    if within := [each for each in rivals if each.is_within_seeds]:
        yield line(f"The difference from {name} is smaller than the spread of seeds: {_name(within)}.")
    alone = [each for each in rivals if len(each.group.members) < 2 and not is_floor(each.group.mean.row.model)]
    if alone:
        yield line(f"Trained with one seed, so that nobody knows what another would give: {_name(alone)}.")


def _tell_smallest(rivals: Sequence[Rival]) -> Iterator[Line]:
    """Say how low p can come with so few people."""
    test = rivals[0].difference.test
    if test.subject_count > MOST_EXACT:
        return
    corrected = min(1.0, test.smallest_p * len(rivals))
    words = f"With {count_of(test.subject_count, 'subject')} p cannot come below {test.smallest_p:.2g}"
    if len(rivals) > 1:
        words += f", and the lowest p* of {len(rivals)} rows not below {corrected:.2g}"
    yield line(f"{words}{': nothing here can be significant' if corrected > CLEAR else ''}.")


def _name(rivals: Sequence[Rival]) -> str:
    return "; ".join(rival.group.mean.label for rival in rivals)
