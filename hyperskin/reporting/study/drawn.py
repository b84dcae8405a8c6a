"""Groups and prices as figures with their words: what is drawn, what it is called, what is left out and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from hyperskin.reporting.curves import Drawn, choose
from hyperskin.reporting.document import Bullets, Drawing, Line, bullets, line
from hyperskin.reporting.examination import score
from hyperskin.reporting.study.cost import at, choose_axis, pareto_front, price_of
from hyperskin.reporting.study.figures import Learned, Lit, Priced, draw_learning, draw_light, draw_pareto
from hyperskin.reporting.study.learning import STILL, Against, curve_of, find_ending, mean_curve
from hyperskin.reporting.study.light import in_light
from hyperskin.reporting.study.seeds import Group, Pool
from hyperskin.tracking.compare import Column
from hyperskin.tracking.results import Record, Result
from hyperskin.tracking.runs import is_floor

_AXES: tuple[tuple[Against, str], ...] = (("seconds", "seconds of training"), ("steps", "steps"))
_LABELS = {"val_sam/masked": "SAM masked in rad, validation", "val_sam/full": "SAM with background in rad, validation"}
_MOST_FLOORS = 3
_MARKS = ("o", "s", "^", "D", "v", "P", "*")  # as many as the best regression and the colours of networks


def style_of(pool: Pool, result: Result) -> dict[str, Any]:
    """Return how a model looks as a point: its colour, its kind of line, its mark; grey where none is left."""
    for each, mark in zip(choose(pool.exam), _MARKS, strict=False):
        if each.result is result:
            return {**each.style, "marker": mark}
    return {"color": "#777777", "marker": "X"}


def light_drawings(pool: Pool, column: Column) -> Iterator[Drawing]:
    """Yield error against light, of the models that were examined so and that colours reach."""
    known = [(each, own) for each in choose(pool.exam) if (own := in_light(pool.group_of(each.result), column))]
    if not known or len({gain for _, own in known for gain in own}) < 2:
        return
    models = [
        Lit(
            each.result.label,
            style_of(pool, each.result),
            {gain: (lit.mean, lit.interval) for gain, lit in own.items()},
        )
        for each, own in known
    ]
    least = [(min(own), own[min(own)], each.result.label) for each, own in known]
    yield Drawing(
        name=f"{pool.exam.anchor}-light-{column.metric.replace('/', '-')}",
        figure=draw_light(models, f"{column.heading} in rad"),
        alt="; ".join(f"{name} has {found.mean:.4f} at light {gain:g}" for gain, found, name in least) + ".",
        caption=(
            f"{column.heading} against light, mean over seeds; whiskers: 95 % interval over subjects. Dashed: the best "
            "regression. A flat curve is a model that does not mind how much light there is."
        ),
    )


def learning_blocks(pool: Pool) -> Iterator[Drawing | Line | Bullets]:
    """Yield learning curves against seconds and steps, and which trainings had not come to their end."""
    networks = [each for each in choose(pool.exam) if not is_floor(each.result.row.model)]
    panels = {
        name: learned
        for against, name in _AXES
        if (learned := [found for each in networks if (found := _learned(each, pool, against)) is not None])
    }
    if panels:
        yield _learning(pool, panels)
    elif any(each.result.curve for each in networks):
        panels = {"epochs": [found for each in networks if (found := _learned(each, pool, "epochs")) is not None]}
        yield _learning(pool, panels)
        yield line("These runs do not say how many steps and seconds an epoch took: they were made before that.")
    trained = [group for group in pool.groups if group.mean.curve]
    if trained:
        yield bullets(*(line(f"{group.mean.label}: {find_ending(group).say()}.") for group in trained))
        yield line(
            f"Flat: in the last third of a training its lowest validation error fell by {100 * STILL:g} % of itself or "
            "less. A training that still falls is not beaten, it is not finished; one that is flat may still gain from "
            "a longer one, whose rate falls later."
        )


def pareto_blocks(pool: Pool, measured: Sequence[Record]) -> Iterator[Drawing | Line]:
    """Yield error against cost, of every model with both."""
    column = pool.exam.deciding
    prices = {id(group): price_of(group, measured) for group in pool.groups}
    axis = choose_axis(list(prices.values()))
    if axis is None:
        yield line("Nobody measured what the models cost, so that there is no plot of accuracy against cost.")
        return
    models = [
        Priced(
            label=group.mean.label,
            style=style_of(pool, group.mean),
            price=at(prices[id(group)], axis),
            error=score(group.mean, column.metric),
            interval=group.interval(column.metric),
        )
        for group in pool.groups
    ]
    drawn = [each for each in models if math.isfinite(each.price) and math.isfinite(each.error)]
    front = [drawn[place].label for place in pareto_front([(each.price, each.error) for each in drawn])]
    left_out = [each.label for each in models if each not in drawn]
    yield Drawing(
        name=f"{pool.exam.anchor}-pareto",
        figure=draw_pareto(drawn, axis.label, f"{column.heading} in rad"),
        alt=f"On the front, from cheap to dear: {', '.join(front)}.",
        caption=(
            f"{column.heading} against {axis.label}, mean over seeds; whiskers: 95 % interval over subjects. Dotted: "
            "the Pareto front, models that none beats in both by the mean. Colours as in the other figures; grey: no "
            "colour was left." + (f" Not drawn, for want of a cost above 0: {', '.join(left_out)}." if left_out else "")
        ),
    )


def _learned(each: Drawn, pool: Pool, against: Against) -> Learned | None:
    group = pool.group_of(each.result)
    key = each.result.curve_key
    curves = tuple(points for own in group.members if own.curve_key == key and (points := curve_of(own, against)))
    mean = mean_curve(curves)
    return Learned(each.result.label, each.style, curves, mean) if mean else None


def _learning(pool: Pool, panels: dict[str, list[Learned]]) -> Drawing:
    keys = [group.mean.curve_key for group in pool.groups if group.mean.curve_key]
    floors = _floors(pool, keys[0])
    names = {each.label: each for own in panels.values() for each in own}
    return Drawing(
        name=f"{pool.exam.anchor}-learning-over-seeds",
        figure=draw_learning(panels, {each.mean.label: score(each.mean, keys[0]) for each in floors}, _LABELS[keys[0]]),
        alt="; ".join(f"{name} ends at {each.mean[-1][1]:.4f}" for name, each in names.items()) + ".",
        caption=(
            f"Learning curves: error on the validation captures against {' and '.join(panels)}. "
            "Thin: a seed each; bold: their mean, as far as all of them went. "
            + ("Grey, across: regressions, validated on the same captures." if floors else _WITHOUT_FLOORS)
        ),
    )


_WITHOUT_FLOORS = "The regressions here were not validated, so that no line says where they stand."


def _floors(pool: Pool, key: str) -> list[Group]:
    """Return the best regressions that were validated."""
    known = [pool.group_of(each) for each in pool.exam.floors if math.isfinite(score(each, key))]
    return sorted(known, key=lambda group: score(group.mean, key))[:_MOST_FLOORS]
