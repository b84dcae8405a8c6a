"""What a score cost: weights, seconds, epochs, and how the networks learned."""

from __future__ import annotations

import math

from hyperskin.reporting.curves import choose, draw_learning
from hyperskin.reporting.document import Drawing, Grid, Section, Words
from hyperskin.reporting.examination import Examination, count_of, model_cell, score
from hyperskin.tracking.results import Result

_LABELS = {
    "val_sam/masked": "SAM masked in rad, validation",
    "val_sam/full": "SAM with background in rad, validation",
}


def cost_section(exam: Examination, *, draws: bool = True) -> Section:
    """Return parameters and time of every run and, if it `draws`, the learning curves of the networks."""
    grid = Grid(
        caption=(
            "Cost of training. Best epoch: the one whose weights were kept, by the validation captures. Seconds depend "
            "on the machine and on what else it did."
        ),
        heading=("model", "device", "parameters", "seconds", "epochs", "best epoch", "validation SAM there"),
        rows=tuple(
            (model_cell(result), result.tags.get("environment.device", "-"), *_cells(result)) for result in exam.results
        ),
        left=2,
    )
    return Section("Training", f"{exam.anchor}-training", (grid, *(_curves(exam) if draws else ())))


def _cells(result: Result) -> list[Words]:
    best = score(result, "train/best_epoch")
    return [
        _number(score(result, "cost/parameters"), ",.0f"),
        _number(score(result, "cost/training_s"), ".1f"),
        str(len(result.curve)) if result.curve else "-",
        _number(best, ".0f"),
        _number(score(result, "train/best_val"), ".4f"),
    ]


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "-"


def _curves(exam: Examination) -> list[Drawing]:
    learned = [each for each in choose(exam) if len(each.result.curve) > 1]
    if not learned:
        return []
    key = learned[0].result.curve_key
    drawn = [each for each in learned if each.result.curve_key == key]
    drawing = Drawing(
        name=f"{exam.anchor}-learning",
        figure=draw_learning(drawn, _LABELS[key]),
        alt="; ".join(_say_curve(each.result) for each in drawn) + ".",
        caption="Learning curves: the angle on the validation captures after each epoch; the dot is the lowest.",
    )
    return [drawing]


def _say_curve(result: Result) -> str:
    values = [value for _, value in result.curve]
    epochs = count_of(len(values), "epoch")
    return f"{result.label} goes from {values[0]:.4f} to {min(values):.4f} at its best within {epochs}"
