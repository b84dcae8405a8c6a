"""The database that searches are kept in: opened by many workers at once, and away for a while without harm."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import Study
from optuna.trial import FrozenTrial

from hyperskin.database import Database, engine_options
from hyperskin.environment import database_uri

SWEEPS = Path("mlruns") / "sweeps"
PROCESS = "process"
"""The attribute of a trial that says which process makes it."""

BEAT_S, GRACE_S = 60, 180

_RETRIES = 2
_TRIES = 5
_PAUSE_S = 0.5
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def open_storage(root: Path, *, beat_s: int = BEAT_S, grace_s: int = GRACE_S) -> RDBStorage:
    """Return the database of the repository at `root`; its tables are made where they are not.

    Args:
        root: The repository.
        beat_s: A running trial gives a sign that often.
        grace_s: A trial that gives none for so long is failed, and tried again up to twice.

    Raises:
        ServiceError: There is no such database, or no way to it.
    """
    listen_quietly()
    (root / SWEEPS).mkdir(parents=True, exist_ok=True, mode=0o700)
    uri = database_uri(root, "optuna")
    Database(uri, what="The database of searches").ask(lambda _: None)  # in one sentence where it does not answer

    def connect() -> RDBStorage:
        with FileLock(root / SWEEPS / ".tables.lock"), quiet():
            return _Storage(
                uri,
                engine_kwargs=engine_options(uri),
                heartbeat_interval=beat_s,
                grace_period=grace_s,
                heartbeat_stale_trial_callback=retry,
            )

    return _insist(connect)


class _Storage(RDBStorage):
    """Optuna's own, whose heart goes on beating after the database was away."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Give a sign of life; where nobody takes it, the next one will do."""
        try:
            super().record_heartbeat(trial_id)
        except StorageInternalError as error:
            _log.warning("the database of searches took no sign of life: %s", error.__cause__ or error)


def open_study(storage: RDBStorage, name: str) -> Study:
    """Return the study called `name`, which is made where it is not, by whichever worker comes first."""

    def load() -> Study:
        with quiet():
            return optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)

    return _insist(load)


def study_names(root: Path) -> set[str]:
    """Return the names of all searches of the repository at `root`."""
    return {study.study_name for study in open_storage(root).get_all_studies()}


def retry(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial whose worker died once more with the same values, up to twice; it is nobody's until then."""
    trial.user_attrs = _without_process(trial)
    with quiet():
        RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)(study, trial)


def queue_again(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial that was stopped by a person with the same values; that is none of its retries."""
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=_without_process(trial),
            system_attrs={"failed_trial": trial.number, "retry_history": [], **trial.system_attrs},
        )
    )


def first_number(trial: FrozenTrial) -> int:
    """Return the number of the first attempt at a trial."""
    return int(trial.system_attrs.get("failed_trial", trial.number))


def is_loss(error: BaseException) -> bool:
    """Tell whether an error means that the database is away; SQLAlchemy's errors may not be named here.

    Optuna 5.0 trips over its own variable when it cannot tell a trial's end.
    """
    if isinstance(error, StorageInternalError) or type(error).__module__.startswith("sqlalchemy"):
        return True
    return isinstance(error, UnboundLocalError) and "updated_state" in str(error)


def is_taken(error: BaseException) -> bool:
    """Tell whether an error means that a trial was ended by somebody else, as Optuna says in words alone."""
    return isinstance(error, ValueError) and str(error).startswith("Cannot tell a")


@contextmanager
def quiet() -> Iterator[None]:
    """Let Optuna not warn that heartbeats are experimental: they were tried with kills."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def listen_quietly() -> None:
    """Send what Optuna says through our logging, and only what a person must know: a step tells the rest itself."""
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _insist(ask: Callable[[], _Result]) -> _Result:
    """Ask again where another worker, perhaps on another machine, made the same tables or study just now."""
    for left in reversed(range(_TRIES)):
        try:
            return ask()
        except Exception as error:  # SQLAlchemy's errors may not be named here
            if not left or not (is_loss(error) or isinstance(error, OptunaError)):
                raise
            time.sleep(_PAUSE_S)
    raise AssertionError


def _without_process(trial: FrozenTrial) -> dict[str, Any]:
    return {name: value for name, value in trial.user_attrs.items() if name != PROCESS}
