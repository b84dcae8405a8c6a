"""Trainings that differ in their seed alone: which they are, and what they come to together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from hyperskin.tracking.compare import Row

SEED = "seed"
_OF_EXAMINATION = ("test_cameras", "test_exposures")  # what was looked at besides changes no training


def group_by_seed(rows: Sequence[Row]) -> list[tuple[Row, ...]]:
    """Return rows together whose trainings differ in their seed alone, in the order of the first of each.

    A regression has no seed and is a group of one. Of trainings with the same seed the newest stands for both: a
    repeated number is no further seed.

    Args:
        rows: Runs, in any order.
    """
    groups: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in rows:
        own = groups.setdefault(_what_is_trained(row), {})
        seed = row.params.get(SEED, "")
        if seed not in own or row.started_ms > own[seed].started_ms:
            own[seed] = row
    return [tuple(own[seed] for seed in sorted(own, key=_in_order)) for own in groups.values()]


def average(rows: Sequence[Row]) -> Row:
    """Return trainings with several seeds as one row: means of the numbers that all of them have, and no seed.

    Examples:
        >>> one = Row("hrnet", "rgb_vis", "full", {"seed": "1"}, "e", {"sam/masked": 0.1}, "a", 0)
        >>> mean = average([one, replace(one, params={"seed": "2"}, metrics={"sam/masked": 0.3})])
        >>> mean.metrics, mean.params
        ({'sam/masked': 0.2}, {})
    """
    first, *others = rows
    known = [key for key in first.metrics if all(key in other.metrics for other in others)]
    return replace(
        first,
        params={key: value for key, value in first.params.items() if key != SEED},
        metrics={key: fmean(row.metrics[key] for row in rows) for key in known},
        tested=tuple(camera for camera in first.tested if all(camera in other.tested for other in others)),
    )


def _what_is_trained(row: Row) -> tuple[object, ...]:
    decides = {key: value for key, value in row.params.items() if key not in (SEED, *_OF_EXAMINATION)}
    return row.pair, row.evaluation, row.camera, row.model, row.size, row.file, tuple(sorted(decides.items()))


def _in_order(seed: str) -> tuple[int, str]:
    """Return what sorts seeds as numbers."""
    return (int(seed), "") if seed.isdigit() else (-1, seed)
