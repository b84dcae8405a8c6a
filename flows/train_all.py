"""Flow `train-all`: every model on every pair, networks each in a process of their own; not how one is trained."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.alive import marked_alive
from flows.slots import Slots, find_slots
from hyperskin.data.manifest import Manifest
from hyperskin.environment import apply_closed_settings, child_environment, repository_root
from hyperskin.errors import HyperSkinError, ServiceError, UnknownNameError
from hyperskin.pairs import find_pair
from hyperskin.params import FILE_NAME, Params
from hyperskin.processes import Children
from hyperskin.steps.unit import is_regression, model_names, open_units


class Future(Protocol):
    """What a thread pool and Prefect alike give for work handed in."""

    def result(self) -> Any:
        """Wait for the work; raise what it raised."""


Unit = tuple[str, str]  # model and pair


@dataclass(frozen=True)
class Job:
    """What one process trains: a network, or all regressions of a pair, which take less time than its start."""

    models: tuple[str, ...]
    pair: str

    def __str__(self) -> str:
        return f"{', '.join(self.models)} on {self.pair}"

    def words(self) -> list[str]:
        """Return the arguments of `hyperskin`."""
        return ["train", *(word for model in self.models for word in ("--model", model)), "--pair", self.pair]


Submit = Callable[[Job], Future]
Place = Callable[[Callable[[Job], None], int], contextlib.AbstractContextManager[Submit]]


@flow(name="train-all", persist_result=False)
def train_all(models: list[str] | None = None, pairs: list[str] | None = None) -> None:
    """Train and evaluate every model on every pair of params.yaml, then compare; what is finished is skipped.

    Args:
        models: Only these models, regressions included (`regression_polynomial`); all where empty.
        pairs: Only these pairs; all where empty.
    """
    root = repository_root()
    with marked_alive(root, str(runtime.flow_run.id)):
        train_all_units(root, models=models, pairs=pairs, command=hyperskin_command, place=as_tasks, publish=_publish)


def hyperskin_command(*words: str) -> list[str]:
    """Return the command that runs `hyperskin WORDS`."""
    return [sys.executable, "-m", "hyperskin.cli", *words]


@contextlib.contextmanager
def as_threads(train: Callable[[Job], None], count: int) -> Iterator[Submit]:
    """Start jobs in plain threads, `count` at a time."""
    with ThreadPoolExecutor(count) as pool:
        yield lambda job: pool.submit(train, job)


@contextlib.contextmanager
def as_tasks(train: Callable[[Job], None], count: int) -> Iterator[Submit]:
    """Start jobs as Prefect tasks in threads of the flow's process, `count` at a time."""
    job_task = task(name="train", task_run_name="train {job}", cache_policy=NO_CACHE)(train)
    pool: ThreadPoolTaskRunner[None] = ThreadPoolTaskRunner(max_workers=count)
    with pool as runner:
        yield lambda job: runner.submit(job_task, {"job": job})


def train_all_units(
    root: Path,
    *,
    models: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
    command: Callable[..., list[str]] = hyperskin_command,
    place: Place = as_threads,
    publish: Callable[[list[str]], object] = lambda lines: None,  # noqa: ARG005 - nobody reads it
) -> list[str]:
    """Prepare, train every unit of params.yaml, compare; needs no Prefect.

    Args:
        root: The repository.
        models: Only these models; all where empty.
        pairs: Only these pairs; all where empty.
        command: Makes a process's command of the words of a `hyperskin` call.
        place: Where jobs are started.
        publish: Takes the lines of the comparison.

    Returns:
        The lines of the comparison.

    Raises:
        UnknownNameError: A model or a pair is not in params.yaml.
        ServiceError: A step failed; every other unit was trained all the same.
    """
    params = Params.read(root / FILE_NAME)
    units = choose_units(params, models, pairs)
    jobs = group_units(units)
    slots = find_slots(params.train.slots)
    free = Slots(slots)
    children = Children(root, child_environment(root))

    def train(job: Job) -> None:
        with free.taken() as slot:
            children.run(command(*job.words()), more=slot, on_line=_say)

    children.run(command("prepare"), on_line=_say)
    _log().info("%d trainings, %d at a time", len(units), len(slots))
    with place(train, len(slots)) as submit, children.stopped_on_error():
        failures = _gather({job: submit(job) for job in jobs})
    comparison: list[str] = []
    if len(failures) < len(jobs):
        try:
            comparison = children.run(command("compare"), on_line=_say)
            publish(comparison)
        except ServiceError as error:
            failures["the comparison"] = str(error)
    if failures:
        raise ServiceError(_tell(failures, len(units)))
    return comparison


def choose_units(params: Params, models: Sequence[str] | None, pairs: Sequence[str] | None) -> list[Unit]:
    """Return the units asked for, in the order of params: the regressions first, on all pairs, then network by network.

    Raises:
        UnknownNameError: A name is not in params.
    """
    chosen_models = _choose("models", models, model_names(params))
    chosen_pairs = _choose("pairs", pairs, params.train.pairs)
    return [(model, pair) for model in chosen_models for pair in chosen_pairs]


def group_units(units: Sequence[Unit]) -> list[Job]:
    """Return what each process is to train, in the order of units."""
    together: dict[Unit, list[str]] = {}
    for model, pair in units:
        together.setdefault(("regressions" if is_regression(model) else model, pair), []).append(model)
    return [Job(tuple(models), pair) for (_, pair), models in together.items()]


def _choose(what: str, wanted: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in wanted or ():
        if name not in known:
            raise UnknownNameError(f"`{what}` must be among {', '.join(known)}, as in {FILE_NAME}; got {name!r}.")
    return [name for name in known if not wanted or name in wanted]


def _gather(futures: Mapping[Job, Future]) -> dict[str, str]:
    """Wait for every job; return what went wrong, by name of the job."""
    failures = {}
    for job, future in futures.items():
        try:
            future.result()
        except Exception as error:  # one failed job never stops the others
            failures[str(job)] = str(error)
    return failures


def _tell(failures: Mapping[str, str], unit_count: int) -> str:
    """Return one sentence; what failed for the same reason stands together before it."""
    names: dict[str, list[str]] = {}
    for name, reason in failures.items():
        names.setdefault(reason.rstrip("."), []).append(name)
    each = "; ".join(f"{', '.join(own)} ({reason})" for reason, own in names.items())
    return (
        f"All {unit_count} trainings and the comparison must end well, and these did not: {each}. "
        "Mend it and run train-all again: what is finished is skipped."
    )


def _say(line: str) -> None:
    _log().info("%s", line)


def _log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)


def _publish(lines: list[str]) -> None:
    table = "\n".join(lines)
    markdown = f"```text\n{table}\n```\n"
    # the synchronous function of Prefect 3.8.8 leaves its connection open
    asyncio.run(acreate_markdown_artifact(markdown, key="comparison", description="All finished trainings"))


def main() -> None:
    """Run the flow on a temporary server, if there is anything to train, or else compare; a failure is one sentence.

    The server takes many seconds to start.
    """
    root = repository_root()
    apply_closed_settings(root)
    try:
        if left := open_units(root):
            _require_trainable(root, [pair for _, pair in left])
            with temporary_settings(restore_defaults={PREFECT_API_URL}):  # an empty address would lose tasks' states
                train_all()
        else:
            sys.stdout.write("Every training of params.yaml is finished.\n")
            Children(root, child_environment(root)).run(hyperskin_command("compare"), on_line=_tell_terminal)
    except HyperSkinError as error:
        sys.exit(f"hyperskin: {error}")


def _require_trainable(root: Path, pairs: Sequence[str]) -> None:
    """Refuse data that no training could end with, as `prepare` does, before a server starts for it."""
    path = root / "data" / "manifest.json"
    if path.is_file():
        Manifest.read(path).require_pairs(find_pair(name) for name in dict.fromkeys(pairs))


def _tell_terminal(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
