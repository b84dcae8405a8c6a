"""Where the MLflow store is, and which units run or are finished in it; our own file is read without loading MLflow."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from hyperskin.atomic import atomic_path, remove_stale
from hyperskin.environment import tracking_uri
from hyperskin.errors import MissingFileError
from hyperskin.tracking.answers import ask, file_of, is_gone
from hyperskin.tracking.views import shared_views

EXPERIMENT = "hyperskin"
SWEEPS = "hyperskin-sweeps"
STUDIES = "hyperskin-studies"
STORE = Path("mlruns") / "mlflow.db"
ARTIFACTS = Path("mlruns") / "artifacts"

_SQLITE = "sqlite:///"
_NOTES = {
    EXPERIMENT: "Faces' spectra from RGB. `masked`: the subject's pixels only; `full`: with the background.",
    SWEEPS: "Searches for better parameters: a run for each search, and below it one for each trial.",
    STUDIES: "What several seeds, less light and cost say of the models: a run for each time the answer changed.",
}
_FINISHED = """
    SELECT tags.value, runs.run_uuid FROM tags
    JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)
    WHERE tags.key = 'unit_key' AND experiments.name = ?
    AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
    ORDER BY runs.start_time
"""
_TABLES = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
_RUNNING = """
    SELECT runs.run_uuid, coalesce(process.value, ''), coalesce(unit.value, '') FROM runs
    JOIN experiments USING (experiment_id)
    LEFT JOIN tags AS process ON process.run_uuid = runs.run_uuid AND process.key = 'process'
    LEFT JOIN tags AS unit ON unit.run_uuid = runs.run_uuid AND unit.key = 'unit_key'
    WHERE experiments.name IN (?, ?, ?) AND runs.status = 'RUNNING' AND runs.lifecycle_stage = 'active'
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunningRun:
    """A run that MLflow takes for running: its id, the process that made it, and its unit; empty where it says none."""

    run_id: str
    process: str
    unit_key: str


def store_address(root: Path) -> str:
    """Return the address of the store of the repository at `root`, whether or not there is one yet."""
    uri = tracking_uri(root)
    return f"{_SQLITE}{(root / uri.removeprefix(_SQLITE)).resolve()}" if uri.startswith(_SQLITE) else uri


def prepare_store(root: Path) -> str:
    """Create the MLflow database below `root` unless it is there, and return its address.

    Several processes may call this at once. Where `MLFLOW_TRACKING_URI` names another store, that one is used
    and nothing is created here but its experiments.

    Raises:
        ServiceError: That store does not answer within seconds, or ours is damaged.
    """
    uri = store_address(root)
    (root / "mlruns").mkdir(parents=True, exist_ok=True, mode=0o700)
    if uri != f"{_SQLITE}{(root / STORE).resolve()}":
        require_experiments(uri, root)
        return uri
    with FileLock(root / "mlruns" / ".mlflow.lock"):
        if not (root / STORE).exists():
            remove_stale((root / STORE).parent)  # a process that was killed at this very work leaves it half done
            with atomic_path(root / STORE) as temporary:
                _require_experiments(f"{_SQLITE}{temporary.resolve()}", root)
        elif not set(_NOTES) <= _read_experiments(root / STORE):
            ask(uri, lambda: _require_experiments(uri, root))
        _link_default_name(root)
    return uri


def require_experiments(uri: str, root: Path) -> None:
    """Create our experiments unless they are there.

    Raises:
        ServiceError: The store does not answer within seconds.
    """
    lock = contextlib.nullcontext() if uri.startswith("http") else FileLock(root / "mlruns" / ".mlflow.lock")
    with lock:
        ask(uri, lambda: _require_experiments(uri, root))


def experiment_id(uri: str, experiment: str = EXPERIMENT) -> str:
    """Return the id of an experiment of ours in the store at `uri`.

    Raises:
        MissingFileError: The store holds none yet.
    """
    from mlflow import MlflowClient

    found = MlflowClient(uri).get_experiment_by_name(experiment)
    if found is None:
        raise MissingFileError(
            f"The MLflow store must hold the experiment {experiment!r}; {uri} holds none: run `hyperskin prepare`."
        )
    return str(found.experiment_id)


def find_finished(uri: str, unit_keys: Collection[str], experiment: str = EXPERIMENT) -> dict[str, str]:
    """Return the id of the newest finished run of each of the units that have one, by unit key.

    Raises:
        ServiceError: The store does not answer within seconds.
    """
    if uri.startswith(_SQLITE):
        try:
            finished = dict(_read(Path(uri.removeprefix(_SQLITE)), _FINISHED, [experiment]))
        except sqlite3.Error as error:
            _log.debug("MLflow is asked instead: %s", error)
        else:
            return {key: run_id for key, run_id in finished.items() if key in unit_keys}
    found: dict[str, str] = {}
    for key in unit_keys:
        condition = f"tags.unit_key = '{key}' and attributes.status = 'FINISHED'"
        if runs := _ask_for_runs(uri, condition, experiment):
            found[key] = str(runs[0].info.run_id)
    return found


def running(uri: str) -> list[RunningRun]:
    """Return the runs of ours that MLflow takes for running; a killed process leaves one for ever.

    Raises:
        ServiceError: The store does not answer within seconds.
    """
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE))
        try:
            if not _read(path, _TABLES, []):
                return []  # MLflow would make its tables, and whoever asks may only want to look
            return [RunningRun(*row) for row in _read(path, _RUNNING, list(_NOTES))]
        except sqlite3.Error as error:
            _log.debug("MLflow is asked instead: %s", error)
    found = [run for name in _NOTES for run in _ask_for_runs(uri, "attributes.status = 'RUNNING'", name)]
    return [
        RunningRun(str(run.info.run_id), run.data.tags.get("process", ""), run.data.tags.get("unit_key", ""))
        for run in found
    ]


def find_known(uri: str, run_ids: Collection[str]) -> set[str]:
    """Return those of the runs that the store holds, also those that a person deleted and that can be restored.

    Raises:
        ServiceError: The store does not answer within seconds.
    """
    if (path := file_of(uri)) is not None:
        try:
            if not path.exists() or not _read(path, _TABLES, []):
                return set()
            return {run_id for (run_id,) in _read(path, "SELECT run_uuid FROM runs", [])} & set(run_ids)
        except sqlite3.Error as error:
            _log.debug("MLflow is asked instead: %s", error)

    def is_known(run_id: str) -> bool:
        from mlflow import MlflowClient

        try:
            MlflowClient(uri).get_run(run_id)
        except Exception as error:  # MLflow loads late, so its error has no name here
            if not is_gone(error):
                raise
            return False
        return True

    return set(ask(uri, lambda: list(filter(is_known, run_ids)), may_take_long=True))


def mark_killed(uri: str, run_id: str) -> None:
    """Let MLflow know that the process of a run is gone; whoever takes the run up again sets it running.

    Raises:
        ServiceError: The store does not answer within seconds.
    """

    def mark() -> None:
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        client.set_tag(run_id, "ended_by", "its process was gone")
        client.set_terminated(run_id, "KILLED")

    ask(uri, mark)


def find_runs(uri: str, condition: str, experiment: str = EXPERIMENT) -> list[Any]:
    """Return the runs of an experiment that meet a condition, newest first."""
    from mlflow import MlflowClient

    client, place = MlflowClient(uri), [experiment_id(uri, experiment)]
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs(place, condition, order_by=["attributes.start_time DESC"], page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _ask_for_runs(uri: str, condition: str, experiment: str) -> list[Any]:
    return ask(uri, lambda: find_runs(uri, condition, experiment))


def _read(database: Path, query: str, values: Sequence[str]) -> list[Any]:
    """Return what the tables themselves say: loading MLflow takes seconds."""
    if not database.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query, values).fetchall()


def _read_experiments(database: Path) -> set[str]:
    try:
        return {name for (name,) in _read(database, "SELECT name FROM experiments", [])}
    except sqlite3.Error as error:
        _log.debug("MLflow is asked instead: %s", error)
        return set()


def _require_experiments(uri: str, root: Path) -> None:
    """Create our experiments unless they are there; a server chooses the place of its artefacts itself."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri)
    location = None if uri.startswith("http") else (root / ARTIFACTS).resolve().as_uri()
    for name in _NOTES:
        if client.get_experiment_by_name(name) is not None:
            continue
        try:
            client.create_experiment(name, artifact_location=location, tags=_experiment_tags(name))
        except MlflowException:
            if client.get_experiment_by_name(name) is None:  # else another host was faster
                raise


def _experiment_tags(name: str) -> dict[str, str]:
    """Let the pages open on model training, and with our views."""
    views = shared_views() if name == EXPERIMENT else {}
    return {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": _NOTES[name], **views}


def _link_default_name(root: Path) -> None:
    """Let a bare `mlflow ui` in `root` find the database under the name it looks for."""
    link = root / STORE.name
    if link.exists():
        return
    try:
        link.unlink(missing_ok=True)  # a dangling link
        link.symlink_to(STORE)
    except OSError as error:
        _log.warning("%s could not be linked to %s (%s); use `hyperskin ui`", link, STORE, error)
