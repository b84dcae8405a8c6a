"""What `sweep` searches, cut into one job per worker of a search, and how far the searches are; not where jobs run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.jobs import Job
from flows.units import choose_units
from hyperskin.data.manifest import Manifest
from hyperskin.ledger import Ledger
from hyperskin.params import Params
from hyperskin.steps.search import Plan, worker_key
from hyperskin.steps.tune_report import say_recipe
from hyperskin.steps.unit import is_regression
from hyperskin.tracking.grid import align_table
from hyperskin.tuning.study import Search
from hyperskin.tuning.trial import Told

Names = tuple[str, str]  # model and pair
_HEADING = (
    "model", "pair", "best recipe", "complete", "pruned", "failed", "as params.yaml has it", "best", "gain",
)  # fmt: skip
_WORDS = 3


@dataclass(frozen=True)
class TuneJob:
    """One worker of one search.

    Attributes:
        model: The network.
        pair: On this pair.
        worker: Its number.
        total: How many trials all of them make.
        name: The search, for a process elsewhere that must mean the same; empty on this machine.
    """

    model: str
    pair: str
    worker: int
    total: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.model} on {self.pair}, worker {self.worker}"

    @property
    def keys(self) -> tuple[str, ...]:
        """What it is called in the ledger."""
        return (worker_key(self.name, self.worker, self.total),)

    def words(self) -> list[str]:
        """Return the arguments of `hyperskin`."""
        expected = ["--expect", self.name] if self.name else []
        numbers = ["--trials", str(self.total), "--worker", str(self.worker)]
        return ["tune", "--model", self.model, "--pair", self.pair, *numbers, *expected]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the flow `tune-unit`."""
        return vars(self).copy()


class Searches:
    """The searches of one sweep, as the database has them; they begin when they are first asked for."""

    def __init__(self, root: Path, params: Params, names: Sequence[Names], total: int) -> None:
        manifest = Manifest.read(root / "data" / "manifest.json")
        self._root = root
        self._total = total
        self._plans = {name: Plan.of(*name, params, manifest) for name in names}
        self._opened: dict[Names, Search] = {}

    def __getitem__(self, name: Names) -> Search:
        """Return a search by model and pair."""
        if name not in self._opened:
            self._opened[name] = self._plans[name].open(self._root)
        return self._opened[name]

    def left(self) -> list[Names]:
        """Return those that are not at their end."""
        return [name for name in self._plans if not self.is_at_its_end(name)]

    def is_whole(self, name: Names) -> bool:
        """Tell whether a search has all its trials."""
        return self[name].is_whole(self._total)

    def is_at_its_end(self, name: Names) -> bool:
        """Tell whether a search has all its trials, and what came of them was told."""
        return self[name].is_concluded(self._total)

    def jobs(self, workers: int, *, elsewhere: bool) -> list[TuneJob]:
        """Return one job per worker of the searches that are left, those of one search behind each other."""
        return [
            TuneJob(*name, worker, self._total, self._plans[name].name if elsewhere else "")
            for name in self.left()
            for worker in range(workers)
        ]

    def table(self) -> list[str]:
        """Return what came of the searches, as the lines of a table."""
        rows = [_row(name, self[name]) for name in self._plans]
        return align_table([_HEADING, *rows], left=_WORDS).splitlines()


class SearchSigns:
    """What is true of jobs: a search is done when what came of it was told; who is at work on it the ledger hears."""

    def __init__(self, ledger: Ledger, searches: Searches, jobs: Sequence[Job]) -> None:
        self._ledger = ledger
        self._searches = searches
        self._names: Mapping[Job, Names] = {job: (job.model, job.pair) for job in jobs if isinstance(job, TuneJob)}

    def is_finished(self, job: Job) -> bool:
        """Tell whether the job's search is at its end."""
        return self._searches.is_at_its_end(self._names[job])

    def silent_s(self, job: Job) -> float | None:
        """Return the seconds since the last sign of life of this worker."""
        return self._ledger.silent_s(job.keys)

    def lost(self) -> Collection[str]:
        """Return the workers of this host whose process is gone."""
        return [attempt.key for attempt in self._ledger.settle([key for job in self._names for key in job.keys])]


def choose_networks(params: Params, models: Sequence[str] | None, pairs: Sequence[str] | None) -> list[Names]:
    """Return the networks and pairs asked for, in the order of params; regressions have nothing to search.

    Raises:
        UnknownNameError: A name is not in params.
    """
    units = choose_units(params, models, pairs)
    return list(dict.fromkeys((unit.model, unit.pair) for unit in units if not is_regression(unit.model)))


def _row(name: Names, search: Search) -> list[str]:
    best, default, counts = search.best(), search.default(), search.counts()
    states = [str(counts.complete), str(counts.pruned), str(counts.failed)]
    return [
        *name,
        "none" if best is None else say_recipe(best),
        *states,
        _say(default),
        _say(best),
        _gain(default, best),
    ]


def _say(trial: Told | None) -> str:
    return "-" if trial is None or trial.value is None else f"{trial.value:.4f}"


def _gain(default: Told | None, best: Told | None) -> str:
    if default is None or best is None or not default.value or best.value is None:
        return "-"
    return f"{1 - best.value / default.value:.1%}"
