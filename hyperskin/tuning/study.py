"""One search: workers that share it make exactly so many trials, and what a killed one had begun is tried again."""

from __future__ import annotations

import datetime as dt
import logging
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hyperskin.errors import ServiceError, UnknownNameError
from hyperskin.processes import identity, is_running
from hyperskin.tuning.space import Space
from hyperskin.tuning.storage import (
    BEAT_S,
    GRACE_S,
    PROCESS,
    SWEEPS,
    first_number,
    is_loss,
    is_taken,
    open_storage,
    open_study,
    queue_again,
    quiet,
    retry,
)
from hyperskin.tuning.trial import IS_DEFAULT, RECIPE, SHARES, Counts, PrunedError, Told, Trial, tell_all

LEAST_FOR_IMPORTANCE = 6
"""Complete trials below which importances are noise."""

_POLL_S = 1.0
_RANDOM_FIRST = 10  # trials chosen at random before the others are learned from, in a long search
_CONCLUDED = "concluded"
_log = logging.getLogger(__name__)


class Search:
    """One study of Optuna: what is searched, what was tried, and the best of it."""

    def __init__(self, study: Study, space: Space, default: Mapping[str, Any], folder: Path, grace_s: int) -> None:
        self.name = study.study_name
        self.space = space
        self._study = study
        self._default = {name: default[name] for name in space.describe()}
        self._grace_s = grace_s
        self._lock = FileLock(folder / f"{self.name}.lock")

    @classmethod
    def open(
        cls,
        root: Path,
        name: str,
        *,
        space: Space,
        default: Mapping[str, Any],
        beat_s: int = BEAT_S,
        grace_s: int = GRACE_S,
    ) -> Search:
        """Return the search called `name`, begun where there is none.

        Args:
            root: The repository.
            name: Says what is searched on which data; equal names go on with the same search.
            space: Between which values.
            default: The recipe as it is, which is tried first, so that the best is never worse.
            beat_s: A running trial gives a sign that often.
            grace_s: A trial that gives none for so long is lost.

        Raises:
            ServiceError: The database does not answer.
        """
        study = open_study(open_storage(root, beat_s=beat_s, grace_s=grace_s), name)
        return cls(study, space, default, root / SWEEPS, grace_s)

    def trials(self) -> list[Told]:
        """Return every recipe, by number."""
        return tell_all(self._study.get_trials(deepcopy=False))

    def counts(self) -> Counts:
        """Return how many recipes are in which state."""
        states = [trial.state for trial in self.trials()]
        return Counts(**{name: states.count(name) for name in ("complete", "pruned", "failed", "running", "waiting")})

    def best(self) -> Told | None:
        """Return the best of what was trained to its end; None where nothing was."""
        complete = [trial for trial in self.trials() if trial.state == "complete" and trial.value is not None]
        return min(complete, key=lambda trial: trial.value or 0.0, default=None)

    def default(self) -> Told | None:
        """Return the trial of the recipe as it is; None where it did not come to its end."""
        of_now = [trial for trial in self.trials() if trial.state == "complete" and trial.recipe == self._default]
        return of_now[0] if of_now else None

    def importances(self) -> dict[str, float]:
        """Return how much each value decides of being among the best, adding up to 1; empty where nothing can be said.

        Source:
            PED-ANOVA: Watanabe et al., IJCAI 2023; what Optuna takes by default.
        """
        complete = [trial for trial in self.trials() if trial.state == "complete"]
        if len(complete) < LEAST_FOR_IMPORTANCE or len({trial.value for trial in complete}) == 1:
            return {}
        with quiet():
            return optuna.importance.get_param_importances(self._study)

    def is_beaten(self) -> bool:
        """Tell whether a recipe is better than the one as it is, where that was tried."""
        best = self.best()
        tried = [
            trial for trial in self.trials() if trial.recipe == self._default and trial.state in ("complete", "pruned")
        ]
        if best is None or best.value is None or not tried:
            return False
        return all(trial.state == "pruned" or best.value < (trial.value or 0.0) for trial in tried)

    def is_whole(self, total: int) -> bool:
        """Tell whether so many trials are finished."""
        return self.counts().finished >= total

    def conclude(self) -> None:
        """Note that what came of it was told, until more trials are asked for."""
        self._study.set_user_attr(_CONCLUDED, self.counts().finished)

    def is_concluded(self, total: int) -> bool:
        """Tell whether so many trials are finished and what came of them was told."""
        finished = self.counts().finished
        return finished >= total and self._study.user_attrs.get(_CONCLUDED) == finished

    def was_concluded(self) -> bool:
        """Tell whether it was ever brought to an end."""
        return _CONCLUDED in self._study.user_attrs

    def choose(self, *, pruner: str, total: int, seed: int, worker: int) -> None:
        """Say how the next trials are chosen and which end early.

        Args:
            pruner: median, hyperband or none.
            total: How many trials are to come, together.
            seed: Another one chooses others.
            worker: Tells workers apart. One that is started again chooses other recipes than before.

        Raises:
            UnknownNameError: There is no such pruner.
        """
        tried = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = TPESampler(
            n_startup_trials=min(_RANDOM_FIRST, max(3, total // 3)),
            seed=zlib.crc32(f"{seed}/{worker}/{tried}".encode()),
        )
        self._study.pruner = make_pruner(pruner)

    def run(
        self,
        total: int,
        objective: Callable[[Trial], float],
        *,
        should_stop: Callable[[], bool],
        on_told: Callable[[Trial], None],
    ) -> None:
        """Make trials until `total` are finished, together with all other workers.

        What a dead worker had begun comes first. Workers on one machine start no trial too many; on several, each
        further machine may start one. A recipe that diverges counts as pruned, and so no search is without end.

        Args:
            total: Trials that are complete or pruned in the end.
            objective: Trains a recipe and returns its value, lower being better.
            should_stop: Whether this worker was asked to end.
            on_told: Called with a trial whose result the database has.

        Raises:
            KeyboardInterrupt: It was asked to end; its trial waits to be gone on with.
            ServiceError: The database was lost; a worker that is started again goes on.
        """
        try:
            while not self._make_one(total, objective, should_stop, on_told):
                if should_stop():
                    raise KeyboardInterrupt
        except Exception as error:  # SQLAlchemy's errors may not be named here
            if is_taken(error):
                raise ServiceError(
                    f"A trial of {self.name} must be made by one worker; this one was silent for so long that another "
                    "took its trial: start again."
                ) from error
            if not is_loss(error):
                raise
            raise ServiceError(
                f"The database of searches must answer while {self.name} runs, and was lost: start again when it is "
                "back; what was begun is gone on with."
            ) from error

    def _make_one(
        self,
        total: int,
        objective: Callable[[Trial], float],
        should_stop: Callable[[], bool],
        on_told: Callable[[Trial], None],
    ) -> bool:
        """Make one trial or wait for those of others; return whether all is done."""
        with self._lock:
            self._fail_the_dead()
            counts = self.counts()
            if counts.finished >= total:
                return True
            self._queue_default()
            if counts.finished + counts.running < total:
                self._attempt(objective, on_told)
                return False
        _wait(_POLL_S, should_stop)
        return False

    def _attempt(self, objective: Callable[[Trial], float], on_told: Callable[[Trial], None]) -> None:
        """Make one trial; the lock is given back as soon as everybody can see what is tried."""
        tried: list[tuple[Trial, int]] = []

        def try_one(trial: optuna.Trial) -> float:
            ours = self._begin(trial)
            tried.append((ours, trial.number))
            self._lock.release(force=True)
            try:
                return objective(ours)
            except PrunedError as error:
                _log.info("%s trial %d: pruned, %s", self.name, ours.number, error)
                raise optuna.TrialPruned(str(error)) from None

        try:
            with quiet():
                self._study.optimize(try_one, n_trials=1)
        except BaseException as error:
            if tried and not (is_loss(error) or is_taken(error)):
                self._take_back(tried[0][1], error)
            raise
        on_told(tried[0][0])

    def _begin(self, trial: optuna.Trial) -> Trial:
        trial.set_user_attr(PROCESS, identity())
        suggested = self.space.suggest(trial)
        recipe = trial.user_attrs.get(RECIPE)  # what is tried again, and what params.yaml says, was chosen before
        if recipe is None:
            recipe = suggested
            trial.set_user_attr(RECIPE, recipe)
        number = first_number(self._study.get_trials(deepcopy=False)[trial.number])
        return Trial(trial, number, recipe, is_default=bool(trial.user_attrs.get(IS_DEFAULT, False)))

    def _take_back(self, number: int, error: BaseException) -> None:
        """Queue a trial again that ended by no fault of its recipe."""
        trial = self._study.get_trials()[number]
        if isinstance(error, KeyboardInterrupt):
            queue_again(self._study, trial)
        else:
            retry(self._study, trial)

    def _fail_the_dead(self) -> None:
        """Fail and queue again the trials of workers that are gone: here at once, elsewhere after their grace."""
        with quiet():
            fail_stale_trials(self._study)
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            process = trial.user_attrs.get(PROCESS)
            gone = is_running(process) is False if process else _age_s(trial) > self._grace_s
            if not gone:
                continue
            try:
                self._study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, UpdateFinishedTrialError):  # another machine was quicker
                continue
            _log.info("%s trial %d: its worker is gone, it is tried again", self.name, first_number(trial))
            retry(self._study, trial)

    def _queue_default(self) -> None:
        """Let the recipe as it is be tried, unless it was, is or will be."""
        tried = [trial.user_attrs.get(RECIPE) for trial in self._study.get_trials(deepcopy=False)]
        if self._default not in tried:
            self._study.enqueue_trial(self._default, user_attrs={IS_DEFAULT: True, RECIPE: self._default})


def make_pruner(name: str) -> BasePruner:
    """Return what decides that a trial ends early, by tenths of its budget.

    Raises:
        UnknownNameError: There is no such pruner.
    """
    pruners: dict[str, Callable[[], BasePruner]] = {
        "median": lambda: MedianPruner(n_startup_trials=3, n_warmup_steps=2),
        "hyperband": lambda: HyperbandPruner(min_resource=1, max_resource=SHARES, reduction_factor=3),
        "none": NopPruner,
    }
    if name not in pruners:
        raise UnknownNameError(f"`sweep.pruner` must be one of {', '.join(pruners)}; got {name!r}.")
    return pruners[name]()


def _age_s(trial: FrozenTrial) -> float:
    began = trial.datetime_start
    return 0.0 if began is None else (dt.datetime.now() - began).total_seconds()


def _wait(seconds: float, should_stop: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not should_stop():
        time.sleep(0.05)
