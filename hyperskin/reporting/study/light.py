"""How a model does in other light: its error where the picture was made darker, beside that of the picture as taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hyperskin.metrics.intervals import Interval, clustered_mean
from hyperskin.reporting.document import Grid
from hyperskin.reporting.examination import model_cell
from hyperskin.reporting.study.seeds import EXPOSURE, Group, Pool
from hyperskin.reporting.subjects import say_limits
from hyperskin.tracking.compare import TRUTH, Column

AS_TAKEN = 1.0
_TABLE = "per_exposure"


@dataclass(frozen=True)
class InLight:
    """A score in one light.

    Attributes:
        mean: Over captures, and over seeds before that.
        interval: Over subjects; None where only the mean is known.
        ratio: To the score of the picture as it was taken; NaN where that is not known.
    """

    mean: float
    interval: Interval | None
    ratio: float


def light_keys(pool: Pool) -> list[Column]:
    """Return the scores that were taken in other light: the deciding one, and that against the truth where known."""
    return [column for column in (pool.exam.deciding, TRUTH) if any(in_light(each, column) for each in pool.groups)]


def in_light(group: Group, column: Column) -> dict[float, InLight]:
    """Return a score by how much light there was, from the least; empty where it was not examined so."""
    values: dict[float, dict[str, list[float]]] = {}
    for row in group.mean.tables.get(_TABLE, []):
        gain, value = row.get(EXPOSURE), row.get(column.metric)
        if isinstance(gain, int | float) and isinstance(value, int | float):
            values.setdefault(float(gain), {}).setdefault(str(row["subject"]), []).append(float(value))
    intervals: dict[float, Interval | None] = {gain: clustered_mean(own) for gain, own in values.items()}
    means = {gain: each.mean for gain, each in intervals.items() if each is not None} or _from_metrics(group, column)
    whole = means.get(AS_TAKEN, math.nan)
    return {
        gain: InLight(mean, intervals.get(gain), mean / whole if whole else math.nan)
        for gain, mean in sorted(means.items())
    }


def light_grid(pool: Pool, column: Column) -> Grid:
    """Return a score in every light, a row a model, and how often it is the one of the picture as it was taken."""
    found = [(group, own) for group in pool.groups if (own := in_light(group, column))]
    gains = sorted({gain for _, own in found for gain in own}, reverse=True)
    ratios = [gain for gain in gains if gain != AS_TAKEN]
    return Grid(
        caption=(
            f"{column.heading} in other light: so many times as much, the picture stored in 8 bits again. Mean over "
            "seeds and captures, 95 % interval over subjects; then how many times the error in light 1."
        ),
        heading=("model", *(f"{gain:g}" for gain in (*gains, *ratios))),
        rows=tuple(
            (
                model_cell(group.mean),
                *(_cell(own.get(gain), column) for gain in gains),
                *(_ratio(own.get(gain)) for gain in ratios),
            )
            for group, own in found
        ),
        over=(("", 1), ("light", len(gains)), *((("times that in light 1", len(ratios)),) if ratios else ())),
    )


def _from_metrics(group: Group, column: Column) -> dict[float, float]:
    """Return means by light from the run's own numbers, for a run whose table is gone."""
    prefix = f"exposure_{column.metric.replace('/', '_')}/"
    return {
        float(key.removeprefix(prefix)): value
        for key, value in group.mean.row.metrics.items()
        if key.startswith(prefix)
    }


def _cell(found: InLight | None, column: Column) -> str:
    if found is None:
        return "-"
    mean = f"{found.mean:.{column.digits}f}"
    return mean if found.interval is None else f"{mean} ({say_limits(found.interval, column.digits)})"


def _ratio(found: InLight | None) -> str:
    return "-" if found is None or not math.isfinite(found.ratio) else f"{found.ratio:.2f}"
