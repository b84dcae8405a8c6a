"""One unit from the manifest to the registry: train, evaluate on whole frames, log, register, promote."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hyperskin.data.manifest import Manifest
from hyperskin.ledger import Claim
from hyperskin.models.products import products_per_px
from hyperskin.params import Params, profile_name
from hyperskin.processes import StopRequest
from hyperskin.steps.claim import Watch, checkpoint_path
from hyperskin.steps.examine import examine, provenance_of, say_scores
from hyperskin.steps.fit import Fitted, fit_network, fit_regression
from hyperskin.steps.present import require_recorded
from hyperskin.steps.unit import Unit, camera_tags
from hyperskin.tracking.runs import RunLog
from hyperskin.training.device import describe_device, find_device, set_threads
from hyperskin.training.recipe import Epoch

_log = logging.getLogger(__name__)


def train_unit(
    unit: Unit,
    manifest: Manifest,
    params: Params,
    *,
    store: str,
    params_file: Path,
    claim: Claim,
    stopping: StopRequest,
) -> None:
    """Do all of a unit in one MLflow run, which is finished when everything is: a broken one is taken up again.

    Everything stands in the run's journal before MLflow is told, so that neither waits for the other.

    Args:
        unit: What to train on what.
        manifest: The data.
        params: Their `privacy` and `execution` are read; the unit holds the rest.
        store: Address of the MLflow store.
        params_file: Sent to the run as it is.
        claim: Our right to train it, which another process may take when this one was asleep for long.
        stopping: Whether this process was asked to end.

    Raises:
        FencedError: Another process has the unit now.
        KeyboardInterrupt: This process was asked to end; the checkpoint is saved.
    """
    should_stop = Watch(stopping, claim)
    device = find_device()
    if device.type == "cpu":
        set_threads(params.execution.threads)
    with RunLog(
        store,
        model=unit.model,
        pair=unit.pair.name,
        params=unit.recipe,
        provenance=provenance_of(unit, manifest),
        data_name=manifest.source,
        size=unit.size,
        device=describe_device(device)["device"],
        name=unit.run_name,
        tags=_tags(unit, manifest, params, params_file),
        should_stop=stopping.is_set,
    ) as run:
        run.log_file(params_file)
        started = time.monotonic()
        fitted = _fit(unit, manifest, device, run, should_stop)
        fitted_s = time.monotonic() - started
        evaluation = examine(fitted.reconstruct, unit, manifest, params, run, should_stop=should_stop)
        cost = {
            "cost/parameters": float(fitted.parameter_count),
            "cost/kmac_per_px": _products_per_px(fitted, unit) / 1e3,
            "cost/training_s": fitted_s,
        }
        run.log_summary({**evaluation.metrics, **fitted.metrics, **cost})
        _log.info("%s: %s (%.0f s)", unit.title, say_scores(evaluation), fitted_s)
        if fitted.network is not None and not unit.is_repeat:
            require_recorded(Path.cwd(), digest=manifest.digest)
            run.log_model(
                fitted.network,
                pair=unit.pair,
                model=unit.model,
                config=unit.config,
                parameter_count=fitted.parameter_count,
                size_multiple=int(fitted.network.size_multiple),  # type: ignore[arg-type]  # torch types it as a tensor
            )
        claim.require_current()


def _products_per_px(fitted: Fitted, unit: Unit) -> float:
    """Return the multiplications per pixel; a regression weighs each feature once for each band."""
    if fitted.network is None:
        return float(fitted.parameter_count)
    return products_per_px(fitted.network, unit.pair.in_channels)


def _tags(unit: Unit, manifest: Manifest, params: Params, params_file: Path) -> dict[str, str]:
    """Return what else there is to say of a run: which test set, whose pictures, by which profile."""
    profile = profile_name(params_file)
    more = {"profile": profile} if profile else {}
    return {"test_set": manifest.test_set, **camera_tags(unit, params, manifest), **more}


def _fit(unit: Unit, manifest: Manifest, device: torch.device, run: RunLog, should_stop: Callable[[], bool]) -> Fitted:
    if unit.regression_kind is not None:
        return fit_regression(unit, manifest, should_stop)

    def tell_epoch(epoch: Epoch) -> None:
        ours_first = dict(sorted(epoch.metrics.items(), key=lambda item: not item[0].startswith("val_")))
        pace = {
            "train/crops_per_s": epoch.crops_per_second,
            "train/steps": float(epoch.steps),
            "train/seconds": epoch.steps_s,
        }
        run.log_epoch(ours_first | pace, epoch.number)

    return fit_network(
        unit,
        manifest,
        device=device,
        checkpoint=checkpoint_path(unit.folder),
        on_epoch=tell_epoch,
        should_stop=should_stop,
    )
