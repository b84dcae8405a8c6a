"""Flow `sweep`: a search for every network on every pair, with several workers each; not what is searched."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.alive import marked_alive
from flows.follow import follow
from flows.jobs import (
    Command,
    Failures,
    Place,
    as_tasks,
    as_threads,
    hyperskin_command,
    log,
    require_none_failed,
    run_alone,
    run_here,
    say,
)
from flows.pools import workers_of
from flows.searches import Searches, SearchSigns, TuneJob, choose_networks
from flows.slots import find_slots
from flows.train_all import Workers, require_here
from hyperskin.data.manifest import Manifest
from hyperskin.environment import apply_closed_settings, child_environment, repository_root
from hyperskin.errors import HyperSkinError, UnknownNameError
from hyperskin.ledger import Ledger
from hyperskin.params import FILE_NAME, Params
from hyperskin.processes import Children
from hyperskin.steps.tuned import write_profile

DEPLOYMENT = "tune-unit/tune-unit"
_TRIES = 4  # of a worker that dies; its search goes on with the others meanwhile


@flow(name="sweep", persist_result=False)
def sweep(models: list[str] | None = None, pairs: list[str] | None = None, trials: int | None = None) -> None:
    """Search the best recipe of every network on every pair of params.yaml; goes on where it was.

    The best recipes come into params.tuned.yaml; `train-all` with the profile `tuned` trains them in full.

    Args:
        models: Only these networks; all where empty. Regressions have nothing to search.
        pairs: Only these pairs; all where empty.
        trials: Trials of each search; `sweep.trials` of params.yaml where empty.
    """
    root = repository_root()
    with marked_alive(root, str(runtime.flow_run.id)):
        sweep_networks(
            root, models=models, pairs=pairs, trials=trials, command=hyperskin_command, place=as_tasks, publish=_publish
        )


@flow(name="tune-unit", persist_result=False)
def tune_unit(model: str, pair: str, worker: int, total: int, name: str, attempt: int = 1) -> None:  # noqa: ARG001 - for people
    """Make trials of one search in a process of their own; `sweep` starts this where workers train.

    Args:
        model: The network.
        pair: On this pair.
        worker: Number of this worker.
        total: How many trials all of them make.
        name: The search that is meant; other data, code or parameters here are refused.
        attempt: How often this was tried, with this.
    """
    root = repository_root()
    with marked_alive(root, str(runtime.flow_run.id)):
        run_alone(root, TuneJob(model, pair, worker, total, name), command=hyperskin_command)


def sweep_networks(
    root: Path,
    *,
    models: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    trials: int | None = None,
    command: Command = hyperskin_command,
    place: Place = as_threads,
    workers: Workers = workers_of,
    publish: Callable[[list[str]], object] = lambda lines: None,  # noqa: ARG005 - nobody reads it
) -> list[str]:
    """Prepare, search for every network and pair, and tell what came of it; here, it needs no Prefect.

    Args:
        root: The repository.
        models: Only these networks; all where empty.
        pairs: Only these pairs; all where empty.
        trials: Trials of each search; those of params.yaml where empty.
        command: Makes a process's command of the words of a `hyperskin` call.
        place: Where the threads are that wait for processes here.
        workers: Opens the way to the workers of a deployment, where they train.
        publish: Takes the lines of the table.

    Returns:
        The lines of the table.

    Raises:
        UnknownNameError: A model or a pair is not in params.yaml, or nothing that is asked for can be searched.
        ServiceError: A search did not come to its end; the others did all the same.
    """
    params = Params.read(root / FILE_NAME)
    names = choose_networks(params, models, pairs)
    if not names:
        raise UnknownNameError(f"`models` must name a network; {', '.join(models or ())} has no recipe to search.")
    children = Children(root, child_environment(root))
    with children.stopped_on_error():
        children.run(command("prepare"), on_line=say)
    searches = Searches(root, params, names, trials or params.sweep.trials)
    failures: Failures = {}
    if left := searches.left():
        log().info("%d of %d searches are left, with %d workers each", len(left), len(names), params.sweep.workers)
        on_workers = params.execution.training == "workers"
        jobs = searches.jobs(params.sweep.workers, elsewhere=on_workers)
        failures = (
            _on_workers(root, params, searches, jobs, workers)
            if on_workers
            else _here(params, searches, jobs, children, command, place)
        )
        _conclude(searches, jobs, children, command)
    path = write_profile(root, root / FILE_NAME, params, Manifest.read(root / "data" / "manifest.json"))
    lines = [
        *searches.table(),
        "",
        f"validated SAM in rad; the recipes that beat those of params.yaml are in {path.name}",
    ]
    for line in lines:
        say(line)
    publish(lines)
    not_ended = set(searches.left())
    told = {str(job): reason for job, reason in failures.items() if (job.model, job.pair) in not_ended}
    require_none_failed(told, whole=f"All {len(names)} searches", again="sweep")
    return lines


def _here(
    params: Params, searches: Searches, jobs: Sequence[TuneJob], children: Children, command: Command, place: Place
) -> Failures:
    """Search in processes of this machine; a worker that dies is started again while its search has trials left."""

    def is_needed(job: TuneJob, failed: int) -> bool:
        return failed < _TRIES and not searches.is_whole((job.model, job.pair))

    slots = find_slots(params.train.slots)
    return run_here(jobs, verb="tune", children=children, slots=slots, command=command, place=place, again=is_needed)


def _on_workers(root: Path, params: Params, searches: Searches, jobs: Sequence[TuneJob], workers: Workers) -> Failures:
    ledger = Ledger.of(root)
    with workers(DEPLOYMENT) as api:
        signs = SearchSigns(ledger, searches, jobs)
        return follow(jobs, api=api, signs=signs, stale_s=params.execution.stale_s, failures_allowed=_TRIES - 1)


def _conclude(searches: Searches, jobs: Sequence[TuneJob], children: Children, command: Command) -> None:
    """Let what came of a search be told whose last worker died before it could; that is a matter of seconds."""
    for name in searches.left():
        if searches.is_whole(name):
            job = next(job for job in jobs if (job.model, job.pair) == name)
            with children.stopped_on_error():
                children.run(command(*job.words()), on_line=say)


def _publish(lines: list[str]) -> None:
    markdown = "\n".join(lines) + "\n"
    # the synchronous function of Prefect 3.8.8 leaves its connection open
    asyncio.run(acreate_markdown_artifact(markdown, key="sweep", description="All searches"))


def main() -> None:
    """Run the flow on a temporary server if anything is left to search, or else tell what came of it."""
    root = repository_root()
    apply_closed_settings(root)
    try:
        require_here(root, "sweep")
        if _is_done(root):
            sweep_networks(root, publish=lambda lines: sys.stdout.write("\n".join(lines) + "\n"))
        else:
            with temporary_settings(restore_defaults={PREFECT_API_URL}):  # an empty address would lose tasks' states
                sweep()
    except HyperSkinError as error:
        sys.exit(f"hyperskin: {error}")


def _is_done(root: Path) -> bool:
    """Tell whether all is searched: the server takes many seconds to start."""
    params = Params.read(root / FILE_NAME)
    if not (root / "data" / "manifest.json").is_file():
        return False
    return not Searches(root, params, choose_networks(params, None, None), params.sweep.trials).left()


if __name__ == "__main__":
    main()
