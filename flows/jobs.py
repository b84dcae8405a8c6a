"""A flow's work as jobs, one process each, and the places on this machine where they run; not what they do."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import MissingContextError
from prefect.task_runners import ThreadPoolTaskRunner

from flows.slots import Slot, Slots
from hyperskin.environment import child_environment
from hyperskin.errors import ServiceError
from hyperskin.processes import Children


class Job(Protocol):
    """What one process does, as a hashable value; its text is its name for people."""

    @property
    def keys(self) -> Sequence[str]:
        """What it is, for ever: jobs with equal keys do the same, whoever asks for them."""

    def words(self) -> list[str]:
        """Return the arguments of `hyperskin` that do it."""

    def parameters(self) -> dict[str, Any]:
        """Return the same for the flow that does it on a worker, as plain values."""


class Future(Protocol):
    """What a thread pool and Prefect alike give for work handed in."""

    def result(self) -> Any:
        """Wait for the work; raise what it raised."""


Submit = Callable[[Any], Future]
Place = Callable[[str, Callable[[Any], None], int], contextlib.AbstractContextManager[Submit]]
Command = Callable[..., list[str]]
Failures = dict[Any, str]
"""Why a job did not end well, by job."""


def hyperskin_command(*words: str) -> list[str]:
    """Return the command that runs `hyperskin WORDS`."""
    return [sys.executable, "-m", "hyperskin.cli", *words]


@contextlib.contextmanager
def as_threads(verb: str, work: Callable[[Any], None], count: int) -> Iterator[Submit]:  # noqa: ARG001 - threads have no name
    """Start jobs in plain threads, `count` at a time."""
    with ThreadPoolExecutor(count) as pool:
        yield lambda job: pool.submit(work, job)


@contextlib.contextmanager
def as_tasks(verb: str, work: Callable[[Any], None], count: int) -> Iterator[Submit]:
    """Start jobs as Prefect tasks, called `verb` and the job, in threads of the flow's process, `count` at a time."""
    job_task = task(name=verb, task_run_name=f"{verb} {{job}}", cache_policy=NO_CACHE)(_named_job(work))
    pool: ThreadPoolTaskRunner[None] = ThreadPoolTaskRunner(max_workers=count)
    with pool as runner:
        yield lambda job: runner.submit(job_task, {"job": job})


def run_here(
    jobs: Sequence[Job],
    *,
    verb: str,
    children: Children,
    slots: Sequence[Slot],
    command: Command,
    place: Place,
    again: Callable[[Any, int], bool] = lambda job, failed: False,  # noqa: ARG005 - nothing is done again
) -> Failures:
    """Run every job in a process of its own, one per slot at a time; one that fails costs no other.

    Args:
        jobs: What to do.
        verb: What is done, such as "train", for people.
        children: Starts the processes; stops them all when this is interrupted.
        slots: What a process finds in its environment.
        command: Makes a process's command of the words of a `hyperskin` call.
        place: Where the threads are that wait for the processes.
        again: Asked of a job that failed so many times whether to start it once more.
    """
    free = Slots(slots)

    def work(job: Job) -> None:
        for failed in itertools.count(1):
            try:
                with free.taken() as slot:
                    children.run(command(*job.words()), more=slot, on_line=say)
            except ServiceError as error:
                if children.is_stopping or not again(job, failed):
                    raise
                log().warning("%s: %s; it is started again", job, str(error).rstrip("."))
            else:
                return

    failures: Failures = {}
    with place(verb, work, len(slots)) as submit, children.stopped_on_error():
        for job, future in {job: submit(job) for job in jobs}.items():
            try:
                future.result()
            except Exception as error:  # one failed job never stops the others
                failures[job] = str(error)
    return failures


def run_alone(root: Path, job: Job, *, command: Command) -> None:
    """Run one job in a process of its own, with the environment of this one.

    Raises:
        ServiceError: It did not end well.
    """
    children = Children(root, child_environment(root))
    with children.stopped_on_error():
        children.run(command(*job.words()), on_line=say)


def require_none_failed(failures: Mapping[Any, str], *, whole: str, again: str) -> None:
    """Raise one sentence about what failed; what failed for the same reason stands together.

    Args:
        failures: Why, by what.
        whole: What had to end well, such as "All 8 trainings and the comparison".
        again: What to run when it is mended, such as "train-all".

    Raises:
        ServiceError: Something failed.
    """
    if not failures:
        return
    names: dict[str, list[str]] = {}
    for what, reason in failures.items():
        names.setdefault(reason.rstrip("."), []).append(str(what))
    each = "; ".join(f"{', '.join(own)} ({reason})" for reason, own in names.items())
    raise ServiceError(
        f"{whole} must end well, and these did not: {each}. Mend it and run {again} again: what is finished is skipped."
    )


def say(line: str) -> None:
    """Pass a line on to the flow run's log, or without a flow to ours."""
    log().info("%s", line)


def log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """Return the log of the flow or task that runs now, or without one ours."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("flows")


def _named_job(work: Callable[[Any], None]) -> Callable[[Any], None]:
    def run(job: Any) -> None:
        work(job)

    return run
