"""Which run in MLflow a journal tells of: its own, an unfinished one of the same unit, or a new one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hyperskin.errors import VersionError
from hyperskin.tracking.answers import is_away
from hyperskin.tracking.journal import FINISHED, RUNNING, Cursor, Journal
from hyperskin.tracking.post import DELETED, Post, RestartError, StopError
from hyperskin.tracking.records import Begin
from hyperskin.tracking.store import require_experiments

MOST_AT_ONCE = 100
"""Parameters or tags that MLflow takes in one request."""

_TRIES = 6


def require_own(post: Post) -> None:
    """See whether the run that was told of before is there, and still ours to tell of.

    Raises:
        StopError: It is not.
        RestartError: The store has no such run, or an attempt began after that.
    """
    first = next(post.journal.records(post.cursor.offset), None)
    if not post.cursor.run_id or (first is not None and isinstance(first[1], Begin)):
        return
    if post.cursor.dropped:
        post.drop(post.cursor.dropped)
    run = post.find_own()
    if run is None:
        post.restart()
    if run.info.lifecycle_stage == "deleted":
        post.drop(DELETED)
    if run.data.tags.get("process") != post.cursor.process:
        post.drop(f"{run.data.tags.get('process', 'another process')} took the run up")


def begin_run(post: Post, begin: Begin, deliver_parent: Callable[[Journal], object]) -> bool:
    """Find or create the run of an attempt, and say what it is.

    Args:
        post: The line to MLflow.
        begin: The attempt.
        deliver_parent: Delivers the journal of the run that this one belongs to.

    Returns:
        Whether MLflow has the run as finished already, so that only our note of that was lost.

    Raises:
        StopError: The run cannot be told of now, or has other parameters in MLflow.
        RestartError: A person deleted the run before this attempt: it is told from its start, as a new one.
    """
    experiment = _find_experiment(post, begin.experiment)
    tags = {**begin.tags, "process": begin.process, "unit_key": post.journal.key, "journal": begin.run}
    if parent := _find_parent(post, begin, experiment, deliver_parent):
        tags["mlflow.parentRunId"] = parent
    found, is_other = _find_run(post, begin, experiment)
    fields = {"start_time": begin.time_ms, "tags": tags, "run_name": begin.name}
    run = post.ask("create_run", experiment, **fields) if found is None else found
    before = post.cursor
    post.cursor = Cursor(before.offset, begin.run, str(run.info.run_id), before.process, post.store, adopted=is_other)
    post.journal.move_cursor(post.cursor)  # so that the run is known, whatever stops us now
    post.cursor = replace(post.cursor, process=begin.process)
    if found is not None and found.info.status == FINISHED and before.run != begin.run:
        return True
    _log_identity(post, begin, tags)
    if found is not None:
        post.ask("update_run", post.cursor.run_id, status=RUNNING)
    return False


def log_data(log_inputs: Callable[..., Any], run_id: str, data: list[list[str]]) -> None:
    """Note the data; of runs that bring a data set at the same moment MLflow refuses all but one."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": "data/manifest.json"})
    inputs = [
        DatasetInput(Dataset(name, digest[:10], "local", source), [InputTag("mlflow.data.context", use)])
        for name, digest, use in data
    ]
    for attempt in range(_TRIES):
        try:
            log_inputs(run_id, inputs)
            return
        except Exception as error:  # MLflow's own, in several kinds
            if is_away(error) or attempt == _TRIES - 1:
                raise
            time.sleep(0.05 * 2**attempt)


def remove_twins(post: Post) -> Any:
    """Delete what a request made whose answer was lost, empty runs of the same journal; return our run."""
    run = post.find_own()
    if run is None:
        post.restart()
    for twin in post.search(run.info.experiment_id, f"tags.journal = '{post.cursor.run}'"):
        if twin.info.run_id != post.cursor.run_id and not twin.data.metrics:
            post.ask("delete_run", twin.info.run_id)
    return run


def _find_run(post: Post, begin: Begin, experiment: str) -> tuple[Any | None, bool]:
    """Return the run in MLflow to continue, if any, and whether others have told of it too."""
    cursor = post.cursor
    if cursor.run_id and cursor.run == begin.run and cursor.store == post.store:
        run = post.find_own()
        if run is not None and run.info.lifecycle_stage != "deleted":
            process = run.data.tags.get("process")
            return run, cursor.adopted or process not in {cursor.process, begin.process}
        _tell_from_start(post)
    if tagged := post.search(experiment, f"tags.journal = '{begin.run}'"):
        return tagged[-1], False
    condition = f"tags.unit_key = '{post.journal.key}' and attributes.status != 'FINISHED'"
    unfinished = post.search(experiment, condition)
    return (unfinished[0], True) if unfinished else (None, False)


def _tell_from_start(post: Post) -> None:
    """Go back to the run's first record, so that its earlier attempts are told too."""
    start = post.journal.history().start
    if post.cursor.offset > start:
        post.cursor = Cursor(offset=start)
        raise RestartError


def _find_experiment(post: Post, name: str) -> str:
    found = post.ask("get_experiment_by_name", name)
    if found is None:
        require_experiments(post.uri, post.journal.root)
        found = post.ask("get_experiment_by_name", name)
    return str(found.experiment_id)


def _find_parent(post: Post, begin: Begin, experiment: str, deliver_parent: Callable[[Journal], object]) -> str:
    """Return the id of the run that this one belongs to; empty where it has none, or a person deleted it.

    Raises:
        StopError: It is not there yet.
    """
    if not begin.parent:
        return ""
    condition = f"tags.unit_key = '{begin.parent}'"
    above = Journal(post.journal.root, begin.parent)
    found = post.search(experiment, condition)
    if not found and above.folder.exists():
        if above.is_whole():
            return ""
        deliver_parent(above)
        found = post.search(experiment, condition)
    if not found:
        raise StopError("the run that it belongs to is not in MLflow yet", may_come=True)
    return str(found[0].info.run_id)


def _log_identity(post: Post, begin: Begin, tags: dict[str, str]) -> None:
    from mlflow.entities import Param, RunTag

    run_id = post.cursor.run_id
    params = [Param(key, value) for key, value in sorted(begin.params.items())]
    try:
        for first in range(0, len(params), MOST_AT_ONCE):
            post.ask("log_batch", run_id, params=params[first : first + MOST_AT_ONCE])
    except Exception as error:  # MLflow loads late, so its error has no name here
        if "Changing param values is not allowed" not in str(error):
            raise
        reason = (
            f"A run is taken up again only with its own parameters; run {run_id} was started with others: "
            "delete it in MLflow, or go back to its parameters."
        )
        raise StopError(reason, refusal=VersionError(reason)) from error
    post.ask("log_batch", run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    log_data(lambda *inputs: post.ask("log_inputs", *inputs), run_id, begin.data)
