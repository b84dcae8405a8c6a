"""One recipe of a search: what it changes, how it goes, and what became of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from hyperskin.tuning.storage import first_number

SHARES = 10
"""A trial is judged after every tenth of its budget, so that recipes with long and with short epochs compare."""

RECIPE, IS_DEFAULT, REASON = "recipe", "is_default", "reason"
"""Attributes of a trial in the database."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_log = logging.getLogger(__name__)


class PrunedError(Exception):
    """The trial is not worth going on with; whoever trains lets this pass."""


class Trial:
    """One recipe to be tried.

    Attributes:
        number: Of its first attempt.
        recipe: What it changes.
        is_default: It is what params.yaml says already; such a trial is never pruned, so that it can be compared.
    """

    def __init__(self, trial: optuna.Trial, number: int, recipe: Mapping[str, Any], *, is_default: bool) -> None:
        self.number = number
        self.recipe = dict(recipe)
        self.is_default = is_default
        self._trial = trial
        self._share = 0
        self._value: float | None = None

    def report(self, value: float, position: float) -> None:
        """Tell the best value so far, at `position` (0 to 1) of the trial's budget; lower is better.

        Raises:
            PrunedError: Others were better at this point.
        """
        share = min(SHARES, int(position * SHARES))
        for step in range(self._share + 1, share + 1):
            known = value if step == share or self._value is None else self._value
            if step == share or self._value is not None:
                self._note(known, step)
        if share > self._share:
            self._share, self._value = share, value
            if share < SHARES and not self.is_default and self._trial.should_prune():
                raise PrunedError(f"others were better after {share / SHARES:.0%} of the budget")

    def _note(self, value: float, step: int) -> None:
        try:
            self._trial.report(value, step)
        except StorageInternalError as error:  # it is missed where trials are compared at this step, and nowhere else
            _log.warning("the database of searches took no value of trial %d: %s", self.number, error)

    def give_up(self, reason: str) -> PrunedError:
        """Return what to raise where the recipe itself is no good, such as one that diverges: it counts as pruned."""
        self._trial.set_user_attr(REASON, reason)
        return PrunedError(reason)


@dataclass(frozen=True)
class Told:
    """One recipe that was tried, or is being tried, with all attempts at it.

    Attributes:
        number: Of its first attempt.
        state: complete, pruned, failed, running or waiting.
        value: What came of it; None where nothing did.
        recipe: What it changed; empty where nothing was chosen yet.
        is_default: It is what params.yaml said.
        attempts: How often it was begun.
        seconds: How long its last attempt took; None while it runs.
        reason: Why it ended early, where it says.
    """

    number: int
    state: str
    value: float | None
    recipe: dict[str, Any]
    is_default: bool
    attempts: int
    seconds: float | None
    reason: str


@dataclass(frozen=True)
class Counts:
    """How many recipes are in which state; one that was tried again counts once."""

    complete: int
    pruned: int
    failed: int
    running: int
    waiting: int

    @property
    def finished(self) -> int:
        """Those that count towards the total."""
        return self.complete + self.pruned


def tell_all(trials: Sequence[FrozenTrial]) -> list[Told]:
    """Return what became of every recipe, by number."""
    attempts: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        attempts.setdefault(first_number(trial), []).append(trial)
    return [_tell(number, made) for number, made in sorted(attempts.items())]


def _tell(number: int, made: Sequence[FrozenTrial]) -> Told:
    """Return what became of a recipe: of its attempts the one that counts, else the last."""
    trial = next((attempt for attempt in made if attempt.state in FINISHED), made[-1])
    states = {TrialState.FAIL: "failed"}
    return Told(
        number=number,
        state=states.get(trial.state, trial.state.name.lower()),
        value=trial.value,
        recipe=dict(trial.user_attrs.get(RECIPE, {})),
        is_default=bool(trial.user_attrs.get(IS_DEFAULT, False)),
        attempts=sum(attempt.state != TrialState.WAITING for attempt in made),
        seconds=None if trial.duration is None else trial.duration.total_seconds(),
        reason=str(trial.user_attrs.get(REASON, "")),
    )
