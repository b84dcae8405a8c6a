"""Flow `train-all`: every model on every pair, on this machine or on workers; not how one is trained."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.artifacts import acreate_markdown_artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.alive import marked_alive
from flows.follow import Api, follow
from flows.jobs import (
    Command,
    Failures,
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
from flows.slots import find_slots
from flows.units import LedgerSigns, choose_units, group_units, open_jobs, params_words
from hyperskin.data.manifest import Manifest
from hyperskin.environment import apply_closed_settings, child_environment, repository_root
from hyperskin.errors import HyperSkinError, MissingFileError, ServiceError
from hyperskin.ledger import Ledger
from hyperskin.pairs import find_pair
from hyperskin.params import FILE_NAME, Params, profile_file
from hyperskin.processes import Children
from hyperskin.steps.finished import open_units
from hyperskin.steps.unit import UnitName

DEPLOYMENT = "train-unit/train-unit"
Workers = Callable[[str], contextlib.AbstractContextManager[Api]]


@flow(name="train-all", persist_result=False)
def train_all(models: list[str] | None = None, pairs: list[str] | None = None, profile: str | None = None) -> None:
    """Train and evaluate every model on every pair of params.yaml, then compare; what is finished is skipped.

    Args:
        models: Only these models, regressions included (`regression_polynomial`); all where empty.
        pairs: Only these pairs; all where empty.
        profile: Take params.PROFILE.yaml instead of params.yaml: `tuned` for the recipes that `sweep` found.
    """
    root = repository_root()
    with marked_alive(root, str(runtime.flow_run.id)):
        train_all_units(
            root,
            models=models,
            pairs=pairs,
            profile=profile,
            command=hyperskin_command,
            place=as_tasks,
            publish=_publish,
        )


def train_all_units(
    root: Path,
    *,
    models: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    profile: str | None = None,
    command: Command = hyperskin_command,
    place: Place = as_threads,
    workers: Workers = workers_of,
    publish: Callable[[list[str]], object] = lambda lines: None,  # noqa: ARG005 - nobody reads it
) -> list[str]:
    """Prepare, train every unit of params.yaml, compare; where units are trained here, it needs no Prefect.

    Args:
        root: The repository.
        models: Only these models; all where empty.
        pairs: Only these pairs; all where empty.
        profile: Take params.PROFILE.yaml instead of params.yaml.
        command: Makes a process's command of the words of a `hyperskin` call.
        place: Where the threads are that wait for processes here.
        workers: Opens the way to the workers of a deployment, where they train.
        publish: Takes the lines of the comparison.

    Returns:
        The lines of the comparison.

    Raises:
        UnknownNameError: A model or a pair is not in params.yaml.
        ServiceError: A step failed; every other unit was trained all the same.
    """
    params_file, params = _read_params(root, profile)
    units = choose_units(params, models, pairs)
    children = Children(root, child_environment(root))
    with children.stopped_on_error():
        children.run(command("prepare", *params_words(params_file)), on_line=say)
    job_count, failures = train_jobs(root, params_file, params, units, children, command, place, workers)
    told = {str(job): reason for job, reason in failures.items()}
    comparison: list[str] = []
    if not job_count or len(told) < job_count:
        try:
            with children.stopped_on_error():
                comparison = children.run(command("compare"), on_line=say)
            publish(comparison)
        except ServiceError as error:
            told["the comparison"] = str(error)
    require_none_failed(told, whole=f"All {len(units)} trainings and the comparison", again="train-all")
    return comparison


def _read_params(root: Path, profile: str | None) -> tuple[str, Params]:
    """Return the name of the parameter file and what it holds; a profile of another params.yaml is warned of."""
    params = Params.read(root / FILE_NAME)
    if not profile:
        return FILE_NAME, params
    name = profile_file(profile)
    if not (root / name).is_file():
        raise MissingFileError(
            f"The profile {profile!r} must be in {name}; there is none: run `prefect deployment run sweep` first, or "
            f"copy {FILE_NAME} there and change it."
        )
    other = Params.read(root / name)
    if not other.differs_in_pairs_alone(params):
        log().warning(
            "%s differs from %s in more than recipes by pair; if it was not meant to, run sweep again, which skips "
            "what is searched", name, FILE_NAME,
        )  # fmt: skip
    return name, other


def train_jobs(
    root: Path,
    params_file: str,
    params: Params,
    units: Sequence[UnitName],
    children: Children,
    command: Command,
    place: Place,
    workers: Workers,
) -> tuple[int, Failures]:
    """Train units where params say, here or on workers, and return in how many jobs, and which failed."""
    if params.execution.training == "workers":
        return _on_workers(root, params_file, params, units, workers)
    return _here(params_file, params, units, children, command, place)


def _here(
    params_file: str, params: Params, units: Sequence[UnitName], children: Children, command: Command, place: Place
) -> tuple[int, Failures]:
    """Train in processes of this machine; what is finished they find out themselves."""
    jobs = group_units(units, params, params_file)
    slots = find_slots(params.train.slots)
    log().info("%d trainings, %d at a time", len(units), len(slots))
    return len(jobs), run_here(jobs, verb="train", children=children, slots=slots, command=command, place=place)


def _on_workers(
    root: Path, params_file: str, params: Params, units: Sequence[UnitName], workers: Workers
) -> tuple[int, Failures]:
    """Train on workers what is not finished."""
    ledger = Ledger.of(root)
    jobs = open_jobs(root, params, units, ledger, params_file)
    log().info("%d trainings; what is not finished goes to workers in %d runs", len(units), len(jobs))
    with workers(DEPLOYMENT) as api:
        return len(jobs), follow(jobs, api=api, signs=LedgerSigns(ledger, jobs), stale_s=params.execution.stale_s)


def _publish(lines: list[str]) -> None:
    table = "\n".join(lines)
    markdown = f"```text\n{table}\n```\n"
    # the synchronous function of Prefect 3.8.8 leaves its connection open
    asyncio.run(acreate_markdown_artifact(markdown, key="comparison", description="All finished trainings"))


def main() -> None:
    """Run the flow on a temporary server, if there is anything to train, or else compare."""
    run_alone_or_served(
        "train-all",
        left=lambda root: [name.pair for name in open_units(root)],
        served=lambda: train_all(),
        rest=lambda root: Children(root, child_environment(root)).run(
            hyperskin_command("compare"), on_line=_tell_terminal
        ),
    )


def run_alone_or_served(
    name: str, *, left: Callable[[Path], list[str]], served: Callable[[], Any], rest: Callable[[Path], Any]
) -> None:
    """Run a flow that trains on a temporary server, or what is left of it without one; a failure is one sentence.

    The server takes many seconds to start.

    Args:
        name: The flow's.
        left: Returns the pairs of the trainings that are not finished.
        served: The flow.
        rest: Does what there is to do where all of them are.
    """
    root = repository_root()
    apply_closed_settings(root)
    try:
        require_here(root, name)
        if pairs := left(root):
            _require_trainable(root, pairs)
            with temporary_settings(restore_defaults={PREFECT_API_URL}):  # an empty address would lose tasks' states
                served()
        else:
            sys.stdout.write("Every training of params.yaml is finished.\n")
            rest(root)
    except HyperSkinError as error:
        sys.exit(f"hyperskin: {error}")
    except KeyboardInterrupt:  # the trainings are stopped, each with its checkpoint
        sys.stderr.write("hyperskin: stopped; the same command goes on where it was.\n")
        sys.exit(128 + signal.SIGINT)


def require_here(root: Path, name: str) -> None:
    """Refuse a flow on a temporary server where workers of another are to do its work."""
    if Params.read(root / FILE_NAME).execution.training != "here":
        raise ServiceError(
            "`execution.training` in params.yaml must be here for a flow without a server of its own, which no worker "
            f"asks for work; it is workers: start `hyperskin up` and run `prefect deployment run {name}`."
        )


def _require_trainable(root: Path, pairs: Sequence[str]) -> None:
    """Refuse data that no training could end with, as `prepare` does, before a server starts for it."""
    path = root / "data" / "manifest.json"
    if path.is_file():
        Manifest.read(path).require_pairs(find_pair(name) for name in dict.fromkeys(pairs))


def _tell_terminal(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
