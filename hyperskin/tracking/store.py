"""Where the MLflow store is, and which units are finished in it; our own file is read without loading MLflow."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from filelock import FileLock

from hyperskin.atomic import atomic_path
from hyperskin.environment import tracking_uri
from hyperskin.errors import MissingFileError
from hyperskin.tracking.views import shared_views

EXPERIMENT = "hyperskin"
STORE = Path("mlruns") / "mlflow.db"
ARTIFACTS = Path("mlruns") / "artifacts"

_SQLITE = "sqlite:///"
_FINISHED = """
    SELECT tags.value, runs.run_uuid FROM tags
    JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)
    WHERE tags.key = 'unit_key' AND experiments.name = ?
    AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
    ORDER BY runs.start_time
"""
_log = logging.getLogger(__name__)


def store_address(root: Path) -> str:
    """Return the address of the store of the repository at `root`, whether or not there is one yet."""
    uri = tracking_uri(root)
    return f"{_SQLITE}{(root / uri.removeprefix(_SQLITE)).resolve()}" if uri.startswith(_SQLITE) else uri


def prepare_store(root: Path) -> str:
    """Create the MLflow database below `root` unless it is there, and return its address.

    Several processes may call this at once. Where `MLFLOW_TRACKING_URI` names another store, that one is used
    and nothing is created here but its experiment.
    """
    uri = store_address(root)
    (root / "mlruns").mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(root / "mlruns" / ".mlflow.lock"):
        if uri != f"{_SQLITE}{(root / STORE).resolve()}":
            _require_experiment(uri, None if uri.startswith("http") else root / ARTIFACTS)
            return uri
        if not (root / STORE).exists():
            with atomic_path(root / STORE) as temporary:
                _require_experiment(f"{_SQLITE}{temporary.resolve()}", root / ARTIFACTS)
        _link_default_name(root)
    return uri


def experiment_id(uri: str) -> str:
    """Return the id of our experiment in the store at `uri`.

    Raises:
        MissingFileError: The store holds none yet.
    """
    from mlflow import MlflowClient

    experiment = MlflowClient(uri).get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise MissingFileError(
            f"The MLflow store must hold the experiment {EXPERIMENT!r}; {uri} holds none: run `hyperskin prepare`."
        )
    return str(experiment.experiment_id)


def find_finished(uri: str, unit_keys: Collection[str]) -> dict[str, str]:
    """Return the id of the newest finished run of each of the units that have one, by unit key."""
    if uri.startswith(_SQLITE):
        try:
            finished = _read_finished(Path(uri.removeprefix(_SQLITE)))
        except sqlite3.Error as error:
            _log.debug("MLflow is asked instead: %s", error)
        else:
            return {key: run_id for key, run_id in finished.items() if key in unit_keys}
    found = {key: find_runs(uri, f"tags.unit_key = '{key}' and attributes.status = 'FINISHED'") for key in unit_keys}
    return {key: str(runs[0].info.run_id) for key, runs in found.items() if runs}


def find_runs(uri: str, condition: str) -> list[Any]:
    """Return the runs that meet a condition, newest first."""
    from mlflow import MlflowClient

    newest_first = ["attributes.start_time DESC"]
    return list(MlflowClient(uri).search_runs([experiment_id(uri)], condition, order_by=newest_first))


def _read_finished(database: Path) -> dict[str, str]:
    """Return the newest finished run of every unit, from the tables themselves: loading MLflow takes seconds."""
    if not database.exists():
        return {}
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(_FINISHED, [EXPERIMENT]))


def _require_experiment(uri: str, artifacts: Path | None) -> None:
    """Create our experiment unless it is there; a server chooses the place of its artefacts itself."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    if client.get_experiment_by_name(EXPERIMENT) is None:
        location = None if artifacts is None else artifacts.resolve().as_uri()
        client.create_experiment(EXPERIMENT, artifact_location=location, tags=_experiment_tags())


def _experiment_tags() -> dict[str, str]:
    """Let the pages open on model training, and with our views."""
    note = "Faces' spectra from RGB. `masked`: the subject's pixels only; `full`: with the background."
    return {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": note, **shared_views()}


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
