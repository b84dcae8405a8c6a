"""Which units are left to train, and who may: claims them one by one; light, so that a finished one costs nothing."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from hyperskin.data.manifest import Manifest
from hyperskin.errors import HyperSkinError, ServiceError, VersionError
from hyperskin.ledger import FencedError, Ledger
from hyperskin.params import Params
from hyperskin.processes import StopRequest, ended_by_signals, stop_on_signals
from hyperskin.steps.claim import GOES_ON, checkpoint_path, claimed, find_interrupted
from hyperskin.steps.finished import find_finished_units, reachable_store
from hyperskin.steps.present import require_recorded
from hyperskin.steps.unit import Unit
from hyperskin.tracking.journal import KILLED, Journal

_log = logging.getLogger(__name__)

_Train = Callable[[Unit], None]


def train(
    *,
    model: list[str],
    pair: str,
    camera: list[str] | None = None,
    seed: list[int] | None = None,
    params_file: Path = Path("params.yaml"),
    data: Path = Path("data"),
    resume: bool = False,
    expect: list[str] | None = None,
) -> None:
    """Train a model on one pair, score it on the test captures, log it to MLflow and register it.

    A unit that is finished (same model, pair, parameters, data and code) is skipped; one that another process trains
    is waited for; a broken one goes on from its last checkpoint. Regressions are fitted in closed form and logged as
    the floor; only networks are registered. Several models are trained one after the other, whether or not those
    before ended well: a regression takes less time than the start of a process. Ctrl-C saves a checkpoint first.

    Args:
        model: hscnn_plus, hrnet, mst_plus_plus, basal, or regression_mean, _linear, _polynomial, _root_polynomial.
        pair: rgb_vis, msi_nir or msi_visnir.
        camera: On whose pictures, as it stands in `train.cameras`: one camera, several ("cie + sim28_01"), or all;
            default: one training after the other for everything that stands there.
        seed: Repeat the training of networks by these seeds, one after the other; default: `train.seed`. Only what is
            trained by that one is registered: the best of several by its test score would be chosen by luck.
        params_file: Parameters; this step reads `train`, `regression`, `privacy` and `execution`.
        data: Folder with the manifest.
        resume: Go on with an interrupted training and never begin one: where data, code or parameters changed since,
            say which, and stop.
        expect: Keys of the units that whoever asks means, camera by camera and seed by seed in the order of the
            models; others are refused.

    Raises:
        ServiceError: Several models were asked for and some failed; the others are trained. The failure of a model
            that is alone comes as it is.
        VersionError: The units are not those expected, or not those that were interrupted; or the data are not those
            that DVC recorded, so that a network could not be registered.
        HyperSkinError: A unit cannot be trained as params.yaml has it; then nothing is begun.
    """
    root = Path.cwd()
    params = Params.read(params_file)
    with ended_by_signals():
        manifest = Manifest.read(data / "manifest.json")
        wanted = [
            Unit.of(name, pair, params, manifest, camera=each, seed=number)
            for each in camera or params.train.cameras
            for number in seed or (None,)
            for name in model
        ]
        _require_expected(wanted, expect)
        units = list({unit.key: unit for unit in wanted}.values())  # `all` may be one camera; a regression has no seed
        manifest.require_pairs([units[0].pair])
        ledger = Ledger.of(root)
        store = reachable_store(root)
        finished = find_finished_units(root, units, ledger)
        for unit in units:
            if unit.key in finished:
                _log.info("%s: finished already, skipped", unit.title)
        unfinished = [unit for unit in units if unit.key not in finished]
        for unit in unfinished:
            _look_for_others(unit, ledger, must_resume=resume)
        if not unfinished:
            return
        manifest.check_files()
        if any(unit.regression_kind is None for unit in unfinished):
            require_recorded(root, digest=manifest.digest)  # as at the end, where a network is registered
        gc.disable()  # torch and MLflow take seconds to load, a quarter of them for vain searches for garbage
        from hyperskin.steps.ready import require_trainable
        from hyperskin.steps.train_unit import train_unit

        gc.freeze()  # nor need what was loaded be searched later
        gc.enable()
        for unit in unfinished:
            require_trainable(unit, manifest)

    def is_finished(unit: Unit) -> bool:
        return unit.key in find_finished_units(root, [unit], ledger)

    begun: list[Unit] = []
    done: list[Unit] = []

    with stop_on_signals(on_deadline=lambda: _note_killed(root, unfinished)) as stopping:

        def train_one(unit: Unit) -> None:
            with claimed(
                unit,
                ledger,
                stale_s=params.execution.stale_s,
                stopping=stopping,
                is_finished=lambda: is_finished(unit),
            ) as claim:
                if claim is not None and not is_finished(unit):  # another process may have been at it until now
                    begun.append(unit)
                    train_unit(
                        unit, manifest, params, store=store, params_file=params_file, claim=claim, stopping=stopping
                    )
                    claim.finish()
            done.append(unit)

        try:
            _train_each(unfinished, train_one, stopping) if len(units) > 1 else train_one(unfinished[0])
            stopping.check()  # also a unit that was just finished ends a script that was interrupted
        except KeyboardInterrupt:
            has_checkpoint = any(checkpoint_path(unit.folder).is_file() for unit in begun if unit not in done)
            if len(done) < len(unfinished) and (done or has_checkpoint):
                _log.info(GOES_ON)
            raise


def _train_each(units: Sequence[Unit], train_one: _Train, stopping: StopRequest) -> None:
    """Train one unit after the other; what fails costs no other, and is told in the end."""
    failures: dict[str, str] = {}
    for unit in units:
        try:
            train_one(unit)
        except FencedError as error:  # it is in good hands
            _log.warning("%s", error)
        except HyperSkinError as error:
            failures[unit.model + unit.title_end] = str(error)
        except Exception as error:  # whatever it is, it must not cost the other models
            _log.exception("%s", unit.title)
            failures[unit.model + unit.title_end] = f"{type(error).__name__}: {error}"
        stopping.check()
    if failures:
        each = "; ".join(f"{name} ({reason.rstrip('.')})" for name, reason in failures.items())
        raise ServiceError(
            f"Every model must be trained on {units[0].pair.name}; {len(failures)} of {len(units)} failed, and the "
            f"others are kept: {each}."
        )


def _require_expected(units: Sequence[Unit], expect: Sequence[str] | None) -> None:
    """Refuse to train something else than whoever asks means: the unit's key says data, code and parameters."""
    for unit, key in zip(units, expect or [], strict=bool(expect)):
        if unit.key != key:
            raise VersionError(
                f"Data, code and params.yaml must be here what they were where the training of {unit.title} "
                f"was asked for; they make {unit.key[:10]} instead of {key[:10]} (data "
                f"{unit.manifest[:10]}, code {unit.code[:10]}): bring this folder up to date, or ask again."
            )


def _look_for_others(unit: Unit, ledger: Ledger, *, must_resume: bool) -> None:
    """Say what an interrupted training of the same model and pair was made with, if this is another."""
    interrupted = find_interrupted(unit, ledger)
    if unit.key in interrupted:
        return
    others = [_differences(facts, unit.facts()) for facts in interrupted.values()]
    if must_resume and not others:
        raise VersionError(
            f"`--resume` must find an interrupted training of {unit.title}; there is none: leave the option out to "
            "begin one."
        )
    if must_resume:
        raise VersionError(
            f"An interrupted training must be resumed with what it was begun with; that of {unit.title} "
            f"had {'; another had '.join(others)}: go back to that, or leave `--resume` out to "
            "begin anew."
        )
    for other in others:
        _log.warning("%s begins anew; an interrupted training had %s", unit.title, other)


def _differences(then: dict[str, str], now: dict[str, str]) -> str:
    """Return what differs, such as "learning_rate 0.001 (now 0.002)"; hashes by their first digits."""
    names = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    return ", ".join(f"{name} {then.get(name, 'none')[:12]} (now {now.get(name, 'none')[:12]})" for name in names)


def _note_killed(root: Path, units: Sequence[Unit]) -> None:
    """Let the journals say that their runs were killed, when there is no time for anything else."""
    for unit in units:
        Journal(root, unit.key).end_if_begun(KILLED)
