"""What a score costs: weights, multiplications, seconds and memory beside accuracy, and who is beaten in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hyperskin.reporting.document import Grid, Words
from hyperskin.reporting.examination import SIMILARITY, model_cell, score
from hyperskin.reporting.study.learning import find_ending, taken
from hyperskin.reporting.study.seeds import Group, Pool
from hyperskin.reporting.subjects import say_limits
from hyperskin.tracking.results import Record

KMAC = "cost/kmac_per_px"


@dataclass(frozen=True)
class Price:
    """What a reconstruction takes.

    Attributes:
        parameters: Fitted numbers.
        kmac_per_px: Thousand multiplications and additions a pixel.
        frame_s: Seconds of CPU time a frame.
        peak_mb: Memory that it takes at most.

    Each is NaN where nobody measured it.
    """

    parameters: float
    kmac_per_px: float
    frame_s: float
    peak_mb: float


@dataclass(frozen=True)
class Axis:
    """A price that accuracy is drawn against: the field of `Price`, and what the axis says."""

    name: str
    label: str


FRAME_S = Axis("frame_s", "CPU seconds per frame")
_AXES = (FRAME_S, Axis("kmac_per_px", "kMAC per pixel"), Axis("parameters", "parameters"))


def price_of(group: Group, measured: Sequence[Record]) -> Price:
    """Return what a model's reconstruction takes: from its runs, and as it was measured for a model of its size.

    Args:
        group: The model.
        measured: Rows with model, pair and size, and kmac_per_px, frame_s and peak_mb where known.
    """
    row = group.mean.row
    found = next(
        (each for each in measured if all(each.get(key) == getattr(row, key) for key in ("model", "pair", "size"))), {}
    )

    def known(name: str, key: str = "") -> float:
        value = score(group.mean, key)
        other = found.get(name)
        return value if math.isfinite(value) or not isinstance(other, int | float) else float(other)

    return Price(
        parameters=known("parameters", "cost/parameters"),
        kmac_per_px=known("kmac_per_px", KMAC),
        frame_s=known("frame_s"),
        peak_mb=known("peak_mb"),
    )


def choose_axis(prices: Sequence[Price]) -> Axis | None:
    """Return the first price that at least two models have: seconds, else multiplications, else parameters."""
    return next((axis for axis in _AXES if sum(_above_zero(price, axis) for price in prices) > 1), None)


def at(price: Price, axis: Axis) -> float:
    """Return where on the axis a price stands; NaN where a logarithmic one has no place for it."""
    return float(getattr(price, axis.name)) if _above_zero(price, axis) else math.nan


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points no other beats: none is as low in both numbers and lower in one; from left to right.

    Examples:
        >>> pareto_front([(1.0, 0.3), (2.0, 0.2), (3.0, 0.25), (4.0, 0.1)])
        [0, 1, 3]
    """
    front: list[int] = []
    lowest = math.inf
    for place in sorted(range(len(points)), key=points.__getitem__):
        if points[place][1] < lowest:
            front.append(place)
            lowest = points[place][1]
    return front


def cost_grid(pool: Pool, measured: Sequence[Record]) -> Grid:
    """Return accuracy beside all that it costs, and whether the training had come to its end."""
    column = pool.exam.deciding
    similarity = SIMILARITY[column.metric]
    heading = ("parameters", "kMAC per px", "CPU s per frame", "peak MB")
    return Grid(
        caption=f"Cost beside accuracy, means over seeds.{_say_measured(pool, measured)} Seconds and steps are of the "
        "training. At the end: whether the validation error was still falling, see the learning curves.",
        heading=(
            "model", *heading, column.heading, "95 % interval", similarity.heading, "seconds", "steps", "at the end"
        ),
        rows=tuple(_row(group, pool, measured) for group in pool.groups),
    )  # fmt: skip


def _row(group: Group, pool: Pool, measured: Sequence[Record]) -> tuple[Words, ...]:
    column = pool.exam.deciding
    price, interval = price_of(group, measured), group.interval(column.metric)
    return (
        model_cell(group.mean),
        _number(price.parameters, ",.0f"),
        _number(price.kmac_per_px, ".3g"),
        _number(price.frame_s, ".3g"),
        _number(price.peak_mb, ",.0f"),
        _number(score(group.mean, column.metric), f".{column.digits}f"),
        "-" if interval is None else say_limits(interval, column.digits),
        _number(score(group.mean, SIMILARITY[column.metric].metric), ".4f"),
        _number(score(group.mean, "cost/training_s"), ".1f"),
        _number(taken(group, "steps"), ",.0f"),
        find_ending(group).word,
    )


def _say_measured(pool: Pool, measured: Sequence[Record]) -> str:
    """Say of which frames and on what seconds and memory were measured."""
    own = [row for row in measured if row.get("pair") == pool.exam.pair.name and row.get("frame_px")]
    if not own:
        return ""
    frames = sorted({f"{float(row['frame_px']):.0f}" for row in own})
    threads = sorted({f"{float(row['threads']):.0f}" for row in own if "threads" in row})
    processors = sorted({str(row["processor"]) for row in own if row.get("processor")})
    sides = " or ".join(f"{side} x {side}" for side in frames)
    return f" A frame: {sides} px, threads {' or '.join(threads) or 'unknown'}, {', '.join(processors) or 'unknown'}."


def _above_zero(price: Price, axis: Axis) -> bool:
    value = getattr(price, axis.name)
    return math.isfinite(value) and value > 0


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "-"
