"""`hyperskin train`: which of the models asked for are not finished, each trained by one process at a time."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from hyperskin.data.manifest import Manifest
from hyperskin.errors import HyperSkinError, ServiceError
from hyperskin.params import Params
from hyperskin.steps.unit import Unit
from hyperskin.tracking.store import find_finished, prepare_store

_log = logging.getLogger(__name__)


def train(*, model: list[str], pair: str, params_file: Path = Path("params.yaml"), data: Path = Path("data")) -> None:
    """Train a model on one pair, score it on the test captures, log it to MLflow and register it.

    A unit that is finished (same model, pair, parameters, data and code) is skipped. Regressions are fitted in closed
    form and logged as the floor; only networks are registered. Several models are trained one after the other,
    whether or not those before ended well: a regression takes less time than the start of a process.

    Args:
        model: hscnn_plus, hrnet, mst_plus_plus, or regression_mean, _linear, _polynomial, _root_polynomial.
        pair: rgb_vis, msi_nir or msi_visnir.
        params_file: Parameters; this step reads `train`, `regression`, `privacy` and `execution`.
        data: Folder with the manifest.

    Raises:
        ServiceError: Several models were asked for and some failed; the others are trained. The failure of a model
            that is alone comes as it is.
    """
    params = Params.read(params_file)
    manifest = Manifest.read(data / "manifest.json")
    units = [Unit.of(name, pair, params, manifest) for name in model]
    manifest.require_pairs([units[0].pair])
    store = prepare_store(Path.cwd())
    unfinished = [unit for unit in units if not _is_finished(unit, store)]
    if not unfinished:
        return
    manifest.check_files()
    gc.disable()  # torch and MLflow take seconds to load, a quarter of them for vain searches for garbage
    from hyperskin.steps.train_unit import train_unit

    gc.freeze()  # nor need what was loaded be searched later
    gc.enable()

    def train_one(unit: Unit) -> None:
        with _claimed(unit):
            if not _is_finished(unit, store):  # another process may have been at it until now
                train_unit(unit, manifest, params, store=store, params_file=params_file)

    if len(units) == 1:
        train_one(unfinished[0])
    else:
        _train_each(unfinished, train_one)


def _train_each(units: Sequence[Unit], train_one: Callable[[Unit], None]) -> None:
    """Train one unit after the other; what fails costs no other, and is told in the end."""
    failures: dict[str, str] = {}
    for unit in units:
        try:
            train_one(unit)
        except HyperSkinError as error:
            failures[unit.model] = str(error)
        except Exception as error:  # whatever it is, it must not cost the other models
            _log.exception("%s on %s", unit.model, unit.pair.name)
            failures[unit.model] = f"{type(error).__name__}: {error}"
    if failures:
        each = "; ".join(f"{name} ({reason.rstrip('.')})" for name, reason in failures.items())
        raise ServiceError(
            f"Every model must be trained on {units[0].pair.name}; {len(failures)} of {len(units)} failed, and the "
            f"others are kept: {each}."
        )


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
