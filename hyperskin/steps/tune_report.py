"""What came of a search: numbers, tables and figures in its run, and whether it beat the recipe as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperskin.steps.captures import make_key
from hyperskin.steps.search import Plan
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import SWEEPS
from hyperskin.tuning.study import LEAST_FOR_IMPORTANCE, Search
from hyperskin.tuning.trial import Told

_log = logging.getLogger(__name__)


def search_run(root: Path, plan: Plan, store: str, *, should_stop: Callable[[], bool]) -> RunLog:
    """Return the run of a search, below which its trials have theirs; `should_stop` ends its wait for MLflow."""
    unit = plan.unit
    space = {f"space.{name}": text for name, text in plan.space.describe().items()}
    return RunLog(
        store,
        model=unit.model,
        pair=unit.pair.name,
        params={**plan.shared, **space},
        provenance=Provenance(
            unit_key=plan.name,
            manifest=unit.manifest,
            split=plan.manifest.split_digest(),
            evaluation="",
            code=unit.code,
            params=make_key(unit.config, plan.shared, space),
        ),
        data_name=plan.manifest.source,
        size=unit.size,
        root=root,
        experiment=SWEEPS,
        name=f"{unit.model}-{unit.pair.name} search",
        should_stop=should_stop,
        tags={"study": plan.name, "mlflow.source.name": "hyperskin tune", "mlflow.note.content": _introduce(plan)},
    )


def report(run: RunLog, plan: Plan, search: Search) -> None:
    """Tell the run what came of the search, and the log the best recipe."""
    from hyperskin.tuning.figures import draw_history, draw_importances, draw_values  # they load matplotlib

    trials, counts = search.trials(), search.counts()
    best, default, importances = search.best(), search.default(), search.importances()
    numbers = {f"trials/{state}": float(getattr(counts, state)) for state in ("complete", "pruned", "failed")}
    if best is not None and best.value is not None:
        numbers |= {"best/val_sam": best.value, "best/trial": float(best.number)}
        for name, value in best.recipe.items():
            run.set_tag(f"best.{name}", f"{value:g}" if isinstance(value, float) else str(value))
    if default is not None and default.value is not None:
        numbers["default/val_sam"] = default.value
    numbers |= {f"importance/{name}": share for name, share in importances.items()}
    run.log_summary(numbers)
    run.set_tag("mlflow.note.content", _introduce(plan) + "\n".join(_conclude(search, importances)))
    run.set_tag("beaten", str(search.is_beaten()).lower())
    run.log_tables({"trials": list(map(_row, trials))})
    title = f"{plan.unit.model} on {plan.unit.pair.name}"
    run.log_figure(draw_history(trials, title=title), "history")
    run.log_figure(draw_values(trials, title=title), "values")
    if importances:
        run.log_figure(draw_importances(importances, title=title, count=counts.complete), "importances")
    for line in describe(search):
        _log.info("%s on %s: %s", plan.unit.model, plan.unit.pair.name, line)


def describe(search: Search) -> list[str]:
    """Return in a few sentences what came of a search."""
    best, default, counts = search.best(), search.default(), search.counts()
    tried = f"{counts.complete} trials complete, {counts.pruned} pruned, {counts.failed} failed"
    if best is None or best.value is None:
        return [f"{tried}.", "No recipe was trained to its end, so none is recommended: look at the trials' reasons."]
    found = f"the best has a validated SAM of {best.value:.4f} rad ({say_recipe(best)})"
    if default is None or default.value is None:
        return [f"{tried}; {found}.", "The recipe as params.yaml has it did not come to its end."]
    if not search.is_beaten():
        return [f"{tried}; {found}.", "No recipe beat the one that params.yaml has already."]
    gain = 1 - best.value / default.value
    return [
        f"{tried}; {found}.",
        f"That beats the recipe as params.yaml has it, {default.value:.4f} rad, by {gain:.1%}.",
    ]


def say_recipe(trial: Told) -> str:
    """Return a recipe in a few words."""
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in trial.recipe.items()
    )


def _introduce(plan: Plan) -> str:
    limits = {name: value for name, value in plan.budget.items() if value is not None}
    effort = " and ".join(
        f"{value:g} {name.removesuffix('s') if value == 1 else name}" for name, value in limits.items()
    )
    clock = " As the clock ends a trial, the load of the machine decides too." if plan.budget["seconds"] else ""
    return (
        f"Search of the best recipe of **{plan.unit.model}** on **{plan.unit.pair.name}**. Every trial trains for at "
        f"most {effort} and is judged by the validation captures alone: no test capture is read.{clock}\n\n"
    )


def _conclude(search: Search, importances: dict[str, float]) -> list[str]:
    """Return the lines of the run's description that tell the result."""
    lines = [*describe(search), ""]
    named = (("as params.yaml has it", search.default()), ("best", search.best()))
    if rows := [(name, trial) for name, trial in named if trial is not None and trial.value is not None]:
        lines += [
            "| recipe | validated SAM in rad | learning rate | batch size | loss | trial |",
            "|---|---|---|---|---|---|",
        ]
        lines += [f"| {name} | {trial.value:.4f} | {_cells(trial)} | {trial.number} |" for name, trial in rows]
    if not importances:
        lines += ["", f"Which value matters how much is not said below {LEAST_FOR_IMPORTANCE} complete trials."]
    lines += ["", "Each recipe ran once and for a short time: what is best then need not be best in a full training."]
    return lines


def _cells(trial: Told) -> str:
    recipe = trial.recipe
    return f"{recipe['learning_rate']:g} | {recipe['batch_size']} | {recipe['loss']}"


def _row(trial: Told) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state,
        "val_sam": trial.value,
        **{name: trial.recipe.get(name) for name in ("learning_rate", "batch_size", "loss")},
        "recipe": "as params.yaml has it" if trial.is_default else "chosen",
        "seconds": None if trial.seconds is None else round(trial.seconds, 1),
        "attempts": trial.attempts,
        "reason": trial.reason,
    }
