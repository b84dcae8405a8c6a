"""What `train-all` trains, cut into jobs, and how to tell from the ledger whether a job is done; not where it runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.alive import Silent
from flows.jobs import Job
from hyperskin.data.manifest import Manifest
from hyperskin.errors import UnknownNameError
from hyperskin.ledger import Ledger
from hyperskin.params import FILE_NAME, Params
from hyperskin.steps.finished import find_finished_units
from hyperskin.steps.unit import Unit, UnitName, is_regression, model_names


@dataclass(frozen=True)
class TrainJob:
    """What one process trains: a network, or all regressions of a pair and camera, which take less time than its start.

    Attributes:
        models: One after the other.
        pair: On this pair.
        keys: The keys of their units, for a process elsewhere that must mean the same; empty on this machine.
        params_file: Parameters.
        camera: On whose pictures, as in `train.cameras`; empty where nothing else stands there.
        seed: In place of `train.seed`; None for that one.
    """

    models: tuple[str, ...]
    pair: str
    keys: tuple[str, ...] = ()
    params_file: str = FILE_NAME
    camera: str = ""
    seed: int | None = None

    def __str__(self) -> str:
        camera = f", camera {self.camera}" if self.camera else ""
        return f"{', '.join(self.models)} on {self.pair}{camera}" + ("" if self.seed is None else f", seed {self.seed}")

    def words(self) -> list[str]:
        """Return the arguments of `hyperskin`."""
        models = [word for model in self.models for word in ("--model", model)]
        expected = [word for key in self.keys for word in ("--expect", key)]
        camera = ["--camera", self.camera] if self.camera else []
        seed = [] if self.seed is None else ["--seed", str(self.seed)]
        return ["train", *models, "--pair", self.pair, *camera, *seed, *expected, *params_words(self.params_file)]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the flow `train-unit`."""
        profile = {} if self.params_file == FILE_NAME else {"params_file": self.params_file}
        camera = {"camera": self.camera} if self.camera else {}
        seed = {} if self.seed is None else {"seed": self.seed}
        return {"models": list(self.models), "pair": self.pair, "keys": list(self.keys), **camera, **seed, **profile}


class LedgerSigns:
    """What the ledger knows of jobs: done is what was finished since this began; the older may have been deleted."""

    def __init__(self, ledger: Ledger, jobs: Iterable[Job]) -> None:
        self._ledger = ledger
        self._keys = [key for job in jobs for key in job.keys]
        self._before = {
            attempt.key: attempt.number for attempt in ledger.newest(self._keys) if attempt.state == "finished"
        }

    def is_finished(self, job: Job) -> bool:
        """Tell whether every unit of the job was finished."""
        finished = {
            attempt.key
            for attempt in self._ledger.newest(job.keys)
            if attempt.state == "finished" and attempt.number > self._before.get(attempt.key, 0)
        }
        return finished == set(job.keys)

    def silent_s(self, job: Job) -> float | None:
        """Return the seconds since the last sign of life of a process at work on the job."""
        return self._ledger.silent_s(job.keys)

    def lost(self) -> Collection[str]:
        """Return what was running in a process of this host that is gone."""
        return [attempt.key for attempt in self._ledger.settle(self._keys)]


def params_words(params_file: str) -> list[str]:
    """Return the arguments of `hyperskin` that name the parameters, where they are not params.yaml."""
    return [] if params_file == FILE_NAME else ["--params-file", params_file]


def silence_of(root: Path, keys_of: Callable[[Mapping[str, Any]], Sequence[str]]) -> Silent:
    """Return what tells, from the parameters of a run on a worker, for how long its job gave no sign of life."""

    def silent_s(parameters: Mapping[str, Any]) -> float | None:
        ledger, keys = Ledger.of(root), keys_of(parameters)
        ledger.settle(keys)
        return ledger.silent_s(keys)

    return silent_s


def choose_units(
    params: Params, models: Sequence[str] | None, pairs: Sequence[str] | None, seeds: Sequence[int] = ()
) -> list[UnitName]:
    """Return the units asked for, in the order of params: the regressions first, on all pairs, then network by network.

    Args:
        params: Parameters.
        models: Only these models; all where empty.
        pairs: Only these pairs; all where empty.
        seeds: By which networks are trained, one whole round after the other; `train.seed` where empty.

    Raises:
        UnknownNameError: A name is not in params.
    """
    chosen_models = _choose("models", models, model_names(params))
    chosen_pairs = _choose("pairs", pairs, params.train.pairs)
    names = [
        UnitName(model, pair, camera, None if seed == params.train.seed or is_regression(model) else seed)
        for seed in seeds or (params.train.seed,)
        for model in chosen_models
        for pair in chosen_pairs
        for camera in params.train.cameras
    ]
    return list(dict.fromkeys(names))


def group_units(units: Sequence[UnitName], params: Params, params_file: str = FILE_NAME) -> list[TrainJob]:
    """Return what each process is to train by the parameters of a file, in the order of units."""
    together: dict[UnitName, list[str]] = {}
    for unit in units:
        group = unit._replace(model="regressions") if is_regression(unit.model) else unit
        together.setdefault(group, []).append(unit.model)
    is_told = len(params.train.cameras) > 1
    return [
        TrainJob(
            tuple(models),
            group.pair,
            params_file=params_file,
            camera=group.camera if is_told else "",
            seed=group.seed,
        )
        for group, models in together.items()
    ]


def open_jobs(
    root: Path, params: Params, names: Sequence[UnitName], ledger: Ledger, params_file: str = FILE_NAME
) -> list[TrainJob]:
    """Return the jobs that are left to do, each with the keys of its units, for processes that do not run here."""
    manifest = Manifest.read(root / "data" / "manifest.json")
    units = {
        name: Unit.of(name.model, name.pair, params, manifest, camera=name.camera, seed=name.seed) for name in names
    }
    finished = find_finished_units(root, list(units.values()), ledger)
    left: dict[str, UnitName] = {}
    for name, unit in units.items():
        if unit.key not in finished:
            left.setdefault(unit.key, name)  # `all` may be one camera
    return [
        replace(job, keys=tuple(units[name].key for name in left.values() if _is_of(name, job)))
        for job in group_units(list(left.values()), params, params_file)
    ]


def _is_of(name: UnitName, job: TrainJob) -> bool:
    is_same = name.model in job.models and name.pair == job.pair and name.seed == job.seed
    return is_same and job.camera in ("", name.camera)


def _choose(what: str, wanted: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    for name in wanted or ():
        if name not in known:
            raise UnknownNameError(f"`{what}` must be among {', '.join(known)}, as in {FILE_NAME}; got {name!r}.")
    return [name for name in known if not wanted or name in wanted]
