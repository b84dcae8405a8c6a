"""What a pair's study comes to, in order: scores over seeds, who is better, light, cameras, learning, cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from hyperskin.reporting.document import Bullets, Drawing, Grid, Line, Section, Words, bullets, line
from hyperskin.reporting.examination import SIMILARITY, count_of, model_cell, score
from hyperskin.reporting.study.cost import cost_grid
from hyperskin.reporting.study.drawn import learning_blocks, light_drawings, pareto_blocks
from hyperskin.reporting.study.learning import find_ending
from hyperskin.reporting.study.light import light_grid, light_keys
from hyperskin.reporting.study.other_cameras import camera_grids
from hyperskin.reporting.study.rivals import rival_blocks
from hyperskin.reporting.study.seeds import Group, Pool
from hyperskin.reporting.subjects import say_limits
from hyperskin.tracking.compare import Column
from hyperskin.tracking.results import Record


def study_section(pool: Pool, measured: Sequence[Record], *, title: str, anchor: str = "") -> Section:
    """Return all of it as sections below one heading.

    Args:
        pool: The groups of one pair.
        measured: Rows of what reconstructions cost, as in `price_of`.
        title: Of the heading.
        anchor: Of the heading; one of its own where empty.
    """
    name = pool.exam.anchor
    below: dict[str, tuple[str, list[Any]]] = {
        "Scores over seeds": ("seeds", [scores_grid(pool), *_tell(pool)]),
        "Who is better": ("rivals", list(rival_blocks(pool))),
        "In other light": ("light", list(_light(pool))),
        "With other cameras": ("study-cameras", list(camera_grids(pool))),
        "Learning curves": ("curves", list(learning_blocks(pool))),
        "Cost": ("cost", [cost_grid(pool, measured), *pareto_blocks(pool, measured)]),
    }
    sections = [
        Section(heading, f"{name}-{short}", tuple(blocks)) for heading, (short, blocks) in below.items() if blocks
    ]
    return Section(title, anchor or f"{name}-study", tuple(sections))


def scores_grid(pool: Pool) -> Grid:
    """Return every model's score with its interval over subjects, beside it how far seeds lie apart, and its end."""
    column = pool.exam.deciding
    similarity = SIMILARITY[column.metric]
    return Grid(
        caption=(
            f"{column.heading} in rad and {similarity.heading}, test set {pool.exam.table.evaluation[:8]}: means over "
            "seeds and captures. Interval: 95 %, bootstrap over subjects of scores averaged over seeds, so that more "
            "seeds make none narrower. Seeds: lowest to highest mean, and the standard deviation. At the end: whether "
            "the training was still getting better."
        ),
        heading=(
            "model", "seeds", "mean", "interval", "lowest to highest", "deviation", "mean", "interval", "at the end",
        ),
        rows=tuple(_row(group, column, similarity) for group in pool.groups),
        over=(("", 2), (column.heading, 2), ("seeds", 2), (similarity.heading, 2), ("", 1)),
    )  # fmt: skip


def _row(group: Group, column: Column, similarity: Column) -> tuple[Words, ...]:
    spread = group.spread(column.metric)
    digits = column.digits
    apart = ("-", "-")
    if spread is not None:
        apart = (f"{spread.low:.{digits}f} to {spread.high:.{digits}f}", f"{spread.deviation:.{digits}f}")
    return (
        model_cell(group.mean),
        str(len(group.members)) if any(group.seeds) else "-",
        *_mean(group, column),
        *apart,
        *_mean(group, similarity),
        find_ending(group).word,
    )


def _mean(group: Group, column: Column) -> tuple[str, str]:
    interval, value = group.interval(column.metric), score(group.mean, column.metric)
    return (
        f"{value:.{column.digits}f}" if math.isfinite(value) else "-",
        "-" if interval is None else say_limits(interval, column.digits),
    )


def _tell(pool: Pool) -> Iterator[Line | Bullets]:
    """Say what must be known to read the table: few people, seeds alone, files that are gone."""
    column = pool.exam.deciding
    intervals = [found for group in pool.groups if (found := group.interval(column.metric)) is not None]
    if intervals:
        people = max(found.subject_count for found in intervals)
        captures = max(found.value_count for found in intervals)
        yield line(f"{count_of(captures, 'test capture')} of {count_of(people, 'subject')}.")
    if warnings := [line(f"{group.mean.label}: {words}.") for group in pool.groups for words in _warn(group)]:
        yield bullets(*warnings)


def _warn(group: Group) -> Iterator[str]:
    """Yield what makes the seeds of a model no repetition of one training."""
    if 0 < group.lacking_count < len(group.members):
        runs = count_of(group.lacking_count, "run")
        yield f"the files of {runs} are gone, so that its interval and differences are of the others"
    for tag, what in {"code": "code", "manifest": "data"}.items():
        if len({member.tags.get(tag) for member in group.members}) > 1:
            yield f"its seeds were trained by different {what}, which spreads them too"


def _light(pool: Pool) -> Iterator[Grid | Drawing]:
    for column in light_keys(pool):
        yield light_grid(pool, column)
        yield from light_drawings(pool, column)
