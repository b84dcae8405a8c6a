"""Flow `study`: every model by every seed, what each costs, and the report; not what is concluded from it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact

from flows.alive import marked_alive
from flows.jobs import (
    Command,
    Place,
    as_tasks,
    as_threads,
    hyperskin_command,
    log,
    require_none_failed,
    run_here,
    say,
)
from flows.pools import workers_of
from flows.train_all import Workers, run_alone_or_served, train_jobs
from flows.units import choose_units, open_jobs
from hyperskin.environment import child_environment, repository_root
from hyperskin.errors import ServiceError
from hyperskin.ledger import Ledger
from hyperskin.params import FILE_NAME, Params
from hyperskin.processes import Children

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # costs are a processor's
_ENDING = ("compare", "report", "study")


@dataclass(frozen=True)
class CostJob:
    """The measuring of what one frame costs a model."""

    model: str
    pair: str
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the cost of {self.model} on {self.pair}"

    def words(self) -> list[str]:
        """Return the arguments of `hyperskin`."""
        return ["cost", "--model", self.model, "--pair", self.pair]

    def parameters(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {"model": self.model, "pair": self.pair}


@flow(name="study", persist_result=False)
def study(models: list[str] | None = None, pairs: list[str] | None = None) -> None:
    """Train every model on every pair and camera by every seed, measure what each costs, report; goes on where it was.

    Args:
        models: Only these models, regressions included (`regression_polynomial`); all where empty.
        pairs: Only these pairs; all where empty.
    """
    root = repository_root()
    with marked_alive(root, str(runtime.flow_run.id)):
        study_models(root, models=models, pairs=pairs, command=hyperskin_command, place=as_tasks, publish=_publish)


def study_models(
    root: Path,
    *,
    models: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    command: Command = hyperskin_command,
    place: Place = as_threads,
    workers: Workers = workers_of,
    publish: Callable[[list[str]], object] = lambda lines: None,  # noqa: ARG005 - nobody reads it
) -> list[str]:
    """Prepare, train every unit by every seed of `study.seeds`, measure costs one after the other, and report.

    Costs are measured on this machine when the trainings are over, so that nothing of ours runs beside them.

    Args:
        root: The repository.
        models: Only these models; all where empty.
        pairs: Only these pairs; all where empty.
        command: Makes a process's command of the words of a `hyperskin` call.
        place: Where the threads are that wait for processes here.
        workers: Opens the way to the workers of a deployment, where they train.
        publish: Takes the lines of the study.

    Returns:
        Those lines.

    Raises:
        UnknownNameError: A model or a pair is not in params.yaml.
        ServiceError: A step failed; every other unit was trained and measured all the same.
    """
    params = Params.read(root / FILE_NAME)
    units = choose_units(params, models, pairs, params.study.seeds)
    costs = list(dict.fromkeys(CostJob(unit.model, unit.pair) for unit in units))
    children = Children(root, child_environment(root))
    with children.stopped_on_error():
        children.run(command("prepare"), on_line=say)
    if params.train.seed not in params.study.seeds:
        log().warning("no network of this study is registered: `study.seeds` lacks `train.seed`, %d", params.train.seed)
    job_count, failures = train_jobs(root, FILE_NAME, params, units, children, command, place, workers)
    told = {str(job): reason for job, reason in failures.items()}
    all_failed = bool(job_count) and len(told) == job_count
    log().info("%d costs to look up or measure, one after the other", len(costs))
    failures = run_here(costs, verb="measure", children=children, slots=[_ONE_THREAD], command=command, place=place)
    told |= {str(job): reason for job, reason in failures.items()}
    lines: list[str] = []
    try:
        for verb in () if all_failed else _ENDING:
            with children.stopped_on_error():
                lines = children.run(command(verb), on_line=say)
        publish(lines)
    except ServiceError as error:
        told["the report"] = str(error)
    require_none_failed(told, whole=f"All {len(units)} trainings, {len(costs)} costs and the report", again="study")
    return lines


def _publish(lines: list[str]) -> None:
    text = "\n".join(lines)
    markdown = f"```text\n{text}\n```\n"
    # the synchronous function of Prefect 3.8.8 leaves its connection open
    asyncio.run(acreate_markdown_artifact(markdown, key="study", description="What the study found"))


def main() -> None:
    """Run the flow on a temporary server if there is anything to train, or else measure and report."""
    run_alone_or_served("study", left=_left, served=study, rest=lambda root: study_models(root, publish=_tell_terminal))


def _tell_terminal(lines: list[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _left(root: Path) -> list[str]:
    """Return the pairs of the trainings that are not finished."""
    params = Params.read(root / FILE_NAME)
    units = choose_units(params, None, None, params.study.seeds)
    if not (root / "data" / "manifest.json").is_file():
        return [unit.pair for unit in units]
    return [job.pair for job in open_jobs(root, params, units, Ledger.of(root))]


if __name__ == "__main__":
    main()
