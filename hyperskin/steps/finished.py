"""Which units are finished: MLflow has their run, or the ledger their end and the journal what is not yet there."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from hyperskin.data.manifest import Manifest
from hyperskin.errors import ServiceError
from hyperskin.ledger import Ledger
from hyperskin.params import FILE_NAME, Params
from hyperskin.steps.unit import Unit, UnitName, params_units, unit_names
from hyperskin.tracking.courier import is_known_away, note_away
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.store import find_finished, prepare_store, store_address

_log = logging.getLogger(__name__)


def open_units(root: Path) -> list[UnitName]:
    """Return every unit of params.yaml that is not finished, by its name: what is left to train.

    Without a manifest nothing is finished.
    """
    path = root / "data" / "manifest.json"
    if not path.exists():
        return unit_names(Params.read(root / FILE_NAME))
    units = params_units(root, Manifest.read(path))
    finished = find_finished_units(root, units)
    return [unit.name for unit in units if unit.key not in finished]


def find_finished_units(root: Path, units: Sequence[Unit], ledger: Ledger | None = None) -> set[str]:
    """Return the keys of the units that need no training; torch and MLflow are not loaded for a store of our own.

    A run that a person deleted in MLflow is trained again. While MLflow does not answer, the ledger has the word; that
    is told once, and MLflow is not asked again until a run has heard of it.
    """
    keys = [unit.key for unit in units]
    in_mlflow, answered = set[str](), not is_known_away()
    started = time.monotonic()
    try:
        if answered:
            in_mlflow = set(find_finished(store_address(root), keys))
    except ServiceError as error:
        note_away(time.monotonic() - started)
        _log.warning("%s The ledger tells what is finished.", error)
        answered = False
    ended = (ledger or Ledger.of(root)).finished(set(keys) - in_mlflow)
    return in_mlflow | {key for key in ended if not (answered and Journal(root, key).is_whole())}


def reachable_store(root: Path) -> str:
    """Return the address of the MLflow store, made ready; a store that does not answer is told and left for later."""
    started = time.monotonic()
    try:
        return prepare_store(root)
    except ServiceError as error:
        note_away(time.monotonic() - started)
        _log.warning("%s Runs are kept in mlruns/journal until `hyperskin sync`.", error)
        return store_address(root)
