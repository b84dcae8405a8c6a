"""Every number of a study as rows, one table for each question: for CSV files and for MLflow."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence

from hyperskin.metrics.intervals import Interval
from hyperskin.reporting.examination import SIMILARITY, score
from hyperskin.reporting.study.cost import price_of
from hyperskin.reporting.study.learning import find_ending, taken
from hyperskin.reporting.study.light import in_light, light_keys
from hyperskin.reporting.study.other_cameras import camera_scores
from hyperskin.reporting.study.rivals import find_rivals, references
from hyperskin.reporting.study.seeds import Group, Pool
from hyperskin.tracking.results import Record
from hyperskin.tracking.runs import is_floor
from hyperskin.tracking.seeds import SEED

Cell = str | float | None
Rows = list[dict[str, Cell]]

_NAMES = ("model", "pair", "size")  # of what a row of costs is, before what it costs


def study_tables(pools: Sequence[Pool], measured: Sequence[Record]) -> dict[str, Rows]:
    """Return the tables by name: scores, differences, light, cameras, learning, cost, runs; without empty ones."""
    tables: dict[str, Rows] = {
        "scores": [row for pool in pools for row in _scores(pool, measured)],
        "differences": [row for pool in pools for row in _differences(pool)],
        "light": [row for pool in pools for row in _light(pool)],
        "cameras": [row for pool in pools for row in _cameras(pool)],
        "learning": [row for pool in pools for row in _learning(pool)],
        "cost": [{name: row.get(name) for name in (*_NAMES, *sorted(row.keys() - set(_NAMES)))} for row in measured],
        "runs": [row for pool in pools for row in _runs(pool)],
    }
    return {name: rows for name, rows in tables.items() if rows}


def to_csv(rows: Sequence[Mapping[str, Cell]]) -> str:
    """Return rows with the columns that any of them has, in full."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_write(row.get(name)) for name in names])
    return stream.getvalue()


def _scores(pool: Pool, measured: Sequence[Record]) -> Iterator[dict[str, Cell]]:
    deciding = pool.exam.deciding
    for group in pool.groups:
        ending, price = find_ending(group), price_of(group, measured)
        shared: dict[str, Cell] = {
            "parameters": price.parameters,
            "kmac_per_px": price.kmac_per_px,
            "frame_s": price.frame_s,
            "peak_mb": price.peak_mb,
            "training_s": score(group.mean, "cost/training_s"),
            "steps": taken(group, "steps"),
            "late_improvement": ending.improvement,
            "at_the_end": ending.word,
        }
        for column in (deciding, SIMILARITY[deciding.metric]):
            spread = group.spread(column.metric)
            yield {
                **_about(group),
                "score": column.metric,
                "seeds": float(len(group.members)) if any(group.seeds) else None,
                "mean": score(group.mean, column.metric),
                **_limits(group.interval(column.metric)),
                "seed_low": None if spread is None else spread.low,
                "seed_high": None if spread is None else spread.high,
                "seed_deviation": None if spread is None else spread.deviation,
                **shared,
            }


def _differences(pool: Pool) -> Iterator[dict[str, Cell]]:
    column = pool.exam.deciding
    for why, other in references(pool):
        for rival in find_rivals(pool, other, column):
            each = rival.difference
            yield {
                **_about(rival.group),
                "against": other.mean.label,
                "which_is": why,
                "score": column.metric,
                "difference": each.interval.mean,
                **_limits(each.interval),
                "better_on": float(each.better_count),
                "p": each.test.p,
                "p_corrected": each.p,
                "smallest_p": each.test.smallest_p,
                "seed_width": rival.seed_width,
                "within_seeds": str(rival.is_within_seeds).lower(),
            }


def _light(pool: Pool) -> Iterator[dict[str, Cell]]:
    for column in light_keys(pool):
        for group in pool.groups:
            for gain, found in in_light(group, column).items():
                shown: dict[str, Cell] = {"exposure": gain, "score": column.metric, "mean": found.mean}
                yield {**_about(group), **shown, **_limits(found.interval), "ratio": found.ratio}


def _cameras(pool: Pool) -> Iterator[dict[str, Cell]]:
    for group in pool.groups:
        for camera, value in camera_scores(group, pool.exam.deciding).items():
            yield {**_about(group), "pictures": camera, "score": pool.exam.deciding.metric, "mean": value}


def _learning(pool: Pool) -> Iterator[dict[str, Cell]]:
    """Yield every epoch of every seed, and the one validation of each regression."""
    for group in pool.groups:
        key = f"val_{pool.exam.deciding.metric}"
        if is_floor(group.mean.row.model) and math.isfinite(value := score(group.mean, key)):
            yield {**_about(group), "score": key, "value": value}
        for member in group.members:
            steps, seconds = dict(member.steps), dict(member.seconds)
            for epoch, value in member.curve:
                yield {
                    **_about(group),
                    "seed": member.row.params.get(SEED, ""),
                    "epoch": float(epoch),
                    "steps": steps.get(epoch),
                    "seconds": seconds.get(epoch),
                    "score": member.curve_key,
                    "value": value,
                }


def _runs(pool: Pool) -> Iterator[dict[str, Cell]]:
    for group in pool.groups:
        for member in group.members:
            digests = {name: member.tags.get(name, "") for name in ("manifest", "code", "params", "git.commit")}
            seed = member.row.params.get(SEED, "")
            yield {
                "run": member.row.run_id,
                **_about(group),
                "seed": seed,
                pool.exam.deciding.metric: score(member, pool.exam.deciding.metric),
                **digests,
            }


def _about(group: Group) -> dict[str, Cell]:
    row = group.mean.row
    return {"model": group.mean.label, "pair": row.pair, "camera": row.camera, "test_set": row.evaluation}


def _limits(interval: Interval | None) -> dict[str, Cell]:
    if interval is None:
        return {"low": None, "high": None, "captures": None, "subjects": None}
    counts = {"captures": float(interval.value_count), "subjects": float(interval.subject_count)}
    return {"low": interval.low, "high": interval.high, **counts}


def _write(value: Cell) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
