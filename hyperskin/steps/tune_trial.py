"""One trial of a search: a recipe trained like any other, judged on the validation captures, never on the test's."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path

from hyperskin.ledger import Ledger
from hyperskin.processes import StopRequest
from hyperskin.steps.captures import make_key
from hyperskin.steps.claim import Watch, checkpoint_path, claimed
from hyperskin.steps.fit import fit_network
from hyperskin.steps.search import Plan
from hyperskin.steps.unit import Unit
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import SWEEPS
from hyperskin.training.device import MemoryShortError, describe_device, find_device, set_threads
from hyperskin.training.recipe import DivergedError, Epoch
from hyperskin.tuning.trial import PrunedError, Trial

_MONITORED = ("val_sam/masked", "val_sam/full")  # the second where no capture has a mask
_NEARLY_ALL = 0.95  # of the budget: what ends here is not worth ending early
_log = logging.getLogger(__name__)


class TrialMaker:
    """Makes the trials of one worker."""

    def __init__(
        self,
        root: Path,
        plan: Plan,
        *,
        ledger: Ledger,
        store: str,
        stopping: StopRequest,
        on_key: Callable[[str], object],
    ) -> None:
        """Look for the device.

        Args:
            root: The repository.
            plan: What is searched.
            ledger: Where trials are claimed, so that no two processes write one checkpoint.
            store: Address of the MLflow store.
            stopping: Whether this process was asked to end.
            on_key: Hears the unit key of every trial that begins.
        """
        self._root = root
        self._plan = plan
        self._ledger = ledger
        self._store = store
        self._stopping = stopping
        self._on_key = on_key
        self._device = find_device()
        if self._device.type == "cpu":
            set_threads(plan.params.execution.threads)

    def make(self, trial: Trial) -> float:
        """Train the recipe of a trial, from its checkpoint where there is one, and return its best validated angle.

        Raises:
            PrunedError: Others were better at the same point, or the recipe leads nowhere.
            KeyboardInterrupt: This process was asked to end; the checkpoint is saved.
        """
        unit = self._plan.trial_unit(trial.number, trial.recipe)
        self._on_key(unit.key)
        with claimed(
            unit,
            self._ledger,
            stale_s=self._plan.params.execution.stale_s,
            stopping=self._stopping,
            is_finished=lambda: False,  # what the other one finds has no trial to be told to
        ) as claim:
            assert claim is not None
            try:
                value = self._train(trial, unit, Watch(self._stopping, claim))
            except (DivergedError, MemoryShortError) as error:
                claim.finish()
                raise trial.give_up(str(error)) from error
            except PrunedError:
                claim.finish()
                raise
            claim.finish()
        return value

    def forget(self, trial: Trial) -> None:
        """Remove the checkpoint of a trial whose result is in the database."""
        shutil.rmtree(self._plan.trial_unit(trial.number, trial.recipe).folder, ignore_errors=True)

    def _train(self, trial: Trial, unit: Unit, should_stop: Watch) -> float:
        progress = _Progress(unit, trial)
        pruned: PrunedError | None = None
        with self._run(trial, unit) as run:

            def tell_epoch(epoch: Epoch) -> None:
                best = progress.add(epoch)
                run.log_epoch({"val_sam/best": best, **epoch.metrics}, epoch.number)
                progress.report()

            try:
                fit_network(
                    unit,
                    self._plan.manifest,
                    device=self._device,
                    checkpoint=checkpoint_path(unit.folder),
                    on_epoch=tell_epoch,
                    should_stop=should_stop,
                )
            except PrunedError as error:  # the run ended well all the same
                pruned = error
            run.set_tag("trial.state", "complete" if pruned is None else "pruned")
        if pruned is not None:
            raise pruned
        _log.info(
            "%s on %s, trial %d: best validated SAM %.4f", unit.model, unit.pair.name, trial.number, progress.best
        )
        return progress.best

    def _run(self, trial: Trial, unit: Unit) -> RunLog:
        chosen = ", ".join(f"{name} {value}" for name, value in trial.recipe.items())
        what = "the recipe as params.yaml has it" if trial.is_default else "chosen by the search"
        return RunLog(
            self._store,
            model=unit.model,
            pair=unit.pair.name,
            params=unit.recipe,
            provenance=_provenance(self._plan, unit),
            data_name=self._plan.manifest.source,
            size=unit.size,
            device=describe_device(self._device)["device"],
            root=self._root,
            experiment=SWEEPS,
            parent=self._plan.name,
            name=f"{unit.model}-{unit.pair.name} trial {trial.number}",
            should_stop=self._stopping.is_set,
            tags={
                "study": self._plan.name,
                "trial.number": str(trial.number),
                "trial.default": str(trial.is_default).lower(),
                "mlflow.source.name": "hyperskin tune",
                "mlflow.note.content": f"Trial {trial.number} of **{self._plan.name}**: {chosen} ({what}).\n",
            },
        )


class _Progress:
    """How far a trial is, and the best of it."""

    def __init__(self, unit: Unit, trial: Trial) -> None:
        self.best = math.inf
        self._unit = unit
        self._trial = trial
        self._epoch = 0
        self._spent_s = 0.0

    def add(self, epoch: Epoch) -> float:
        """Take an epoch, and return the best value so far."""
        self._epoch = epoch.number
        self._spent_s += epoch.seconds
        value = next((epoch.metrics[name] for name in _MONITORED if name in epoch.metrics), math.nan)
        self.best = min(value, self.best)  # a NaN is never better
        return self.best

    def report(self) -> None:
        """Tell the search, which may end the trial."""
        if math.isfinite(self.best):
            self._trial.report(self.best, self._position())

    def _position(self) -> float:
        epochs, seconds = self._unit.recipe["epochs"], self._unit.recipe["seconds"]
        fractions = [
            0.0 if epochs is None else self._epoch / epochs,
            0.0 if seconds is None else self._spent_s / seconds,
        ]
        return 1.0 if max(fractions) >= _NEARLY_ALL else max(fractions)


def _provenance(plan: Plan, unit: Unit) -> Provenance:
    return Provenance(
        unit_key=unit.key,
        manifest=unit.manifest,
        split=plan.manifest.split_digest(),
        evaluation="",
        code=unit.code,
        params=make_key(unit.config, unit.recipe),
    )
