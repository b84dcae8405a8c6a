"""`hyperskin train`: which of the models asked for are not finished, each trained by one process at a time."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hyperskin.data.manifest import Manifest
from hyperskin.data.split import SPLITS
from hyperskin.errors import ServiceError
from hyperskin.params import Params
from hyperskin.steps.unit import Unit
from hyperskin.tracking.store import find_finished, prepare_store

_log = logging.getLogger(__name__)


def train(*, model: list[str], pair: str, params_file: Path = Path("params.yaml"), data: Path = Path("data")) -> None:
    """Train a model on one pair, score it on the test captures, log it to MLflow and register it.

    A unit that is finished (same model, pair, parameters, data and code) is skipped. Regressions are fitted in closed
    form and logged as the floor; only networks are registered. Several models are trained one after the other:
    a regression takes less time than the start of a process.

    Args:
        model: hscnn_plus, hrnet, mst_plus_plus, or regression_mean, _linear, _polynomial, _root_polynomial.
        pair: rgb_vis, msi_nir or msi_visnir.
        params_file: Parameters; this step reads `train`, `regression`, `privacy` and `execution`.
        data: Folder with the manifest.
    """
    params = Params.read(params_file)
    manifest = Manifest.read(data / "manifest.json")
    units = [Unit.of(name, pair, params, manifest) for name in model]
    for split in SPLITS:  # told now, not after hours of training
        manifest.pair_files(split, units[0].pair)
    store = prepare_store(Path.cwd())
    unfinished = [unit for unit in units if not _is_finished(unit, store)]
    if not unfinished:
        return
    manifest.check_files()
    gc.disable()  # torch and MLflow take seconds to load, a quarter of them for vain searches for garbage
    from hyperskin.steps.train_unit import train_unit

    gc.freeze()  # nor need what was loaded be searched later
    gc.enable()
    for unit in unfinished:
        with _claimed(unit):
            if not _is_finished(unit, store):  # another process may have been at it until now
                train_unit(unit, manifest, params, store=store, params_file=params_file)


def _is_finished(unit: Unit, store: str) -> bool:
    run_id = find_finished(store, [unit.key]).get(unit.key)
    if run_id is not None:
        _log.info("%s on %s: finished already, skipped (run %s)", unit.model, unit.pair.name, run_id)
    return run_id is not None


@contextmanager
def _claimed(unit: Unit) -> Iterator[None]:
    """Hold the unit against a second process; the lock dies with its holder."""
    unit.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(unit.folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise ServiceError(
            f"{unit.model} on {unit.pair.name} must be trained by one process at a time; another one holds "
            f"{unit.folder / '.lock'}: wait for it."
        ) from None
