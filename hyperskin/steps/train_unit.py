"""One unit from the manifest to the registry: train, evaluate on whole frames, log, register, promote."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from hyperskin.data.manifest import Manifest
from hyperskin.metrics.summary import METRICS_VERSION
from hyperskin.params import Params
from hyperskin.steps.captures import make_key
from hyperskin.steps.consent import publishable_subjects
from hyperskin.steps.evaluate import Evaluation, evaluate
from hyperskin.steps.fit import Fitted, fit_network, fit_regression
from hyperskin.steps.sheets import sheet_logger
from hyperskin.steps.unit import Unit
from hyperskin.tracking.figures import draw_bands, draw_spectra
from hyperskin.tracking.registry import promote, register
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.training.device import describe_device, find_device, set_threads
from hyperskin.training.recipe import Epoch

_log = logging.getLogger(__name__)

METRICS = {"version": METRICS_VERSION}


def train_unit(unit: Unit, manifest: Manifest, params: Params, *, store: str, params_file: Path) -> None:
    """Do all of a unit in one MLflow run, which is finished when everything is: a broken one is taken up again.

    Args:
        unit: What to train on what.
        manifest: The data.
        params: Their `privacy` and `execution` are read; the unit holds the rest.
        store: Address of the MLflow store.
        params_file: Sent to the run as it is.
    """
    device = find_device()
    if device.type == "cpu":
        set_threads(params.execution.threads)
    with RunLog(
        store,
        model=unit.model,
        pair=unit.pair.name,
        params=unit.recipe,
        provenance=_provenance(unit, manifest),
        data_name=manifest.source,
        size=unit.size,
        device=describe_device(device)["device"],
    ) as run:
        run.log_file(params_file)
        started = time.monotonic()
        fitted = _fit(unit, manifest, device, run)
        fitted_s = time.monotonic() - started
        evaluation = evaluate(
            fitted.reconstruct,
            manifest.pair_files("test", unit.pair),
            unit.pair,
            camera=unit.recipe["camera"],
            progress=lambda files: tqdm(files, desc="evaluate", unit="capture", disable=None, leave=False),
            on_frame=sheet_logger(run, unit.pair, _publishable(manifest, params)),
        )
        _log_evaluation(run, unit, evaluation)
        cost = {"cost/parameters": float(fitted.parameter_count), "cost/training_s": fitted_s}
        run.log_summary({**evaluation.summary.metrics, **fitted.metrics, **cost})
        _tell_scores(unit, evaluation, fitted_s)
        if fitted.network is not None:
            _register(unit, manifest, fitted.network, fitted.parameter_count, store, run.run_id)


def _publishable(manifest: Manifest, params: Params) -> Collection[str]:
    subjects = {entry.id.subject for entry in manifest.captures.values()}
    return publishable_subjects(manifest.source, subjects, params.privacy.publishable_subjects)


def _fit(unit: Unit, manifest: Manifest, device: torch.device, run: RunLog) -> Fitted:
    if unit.regression_kind is not None:
        return fit_regression(unit, manifest)

    def tell_epoch(epoch: Epoch) -> None:
        ours_first = dict(sorted(epoch.metrics.items(), key=lambda item: not item[0].startswith("val_")))
        run.log_epoch({**ours_first, "train/crops_per_s": epoch.crops_per_second}, epoch.number)

    checkpoint = unit.folder / "last.pt"
    return fit_network(unit, manifest, device=device, checkpoint=checkpoint, on_epoch=tell_epoch)


def _log_evaluation(run: RunLog, unit: Unit, evaluation: Evaluation) -> None:
    """Send the tables, the per-band plot and one spectra panel per test subject."""
    wavelength_nm = unit.pair.target.wavelength_nm
    summary = evaluation.summary
    bands = summary.per_band(wavelength_nm)
    run.log_tables(
        {
            "per_image": summary.per_image,
            "per_band": bands,
            "per_subject": summary.per_subject,
            "per_expression": summary.per_expression,
            "per_direction": summary.per_direction,
        }
    )
    run.log_figure(draw_bands(bands, title=run.name), "per_band")
    for spectra in evaluation.spectra:
        run.log_figure(draw_spectra(spectra, wavelength_nm, title=run.name), f"spectra_{spectra.subject}")
    if evaluation.degenerate and unit.regression_kind != "mean":
        _log.warning("%s on %s: a frame got one constant spectrum: nothing was learned", unit.model, unit.pair.name)


def _register(
    unit: Unit, manifest: Manifest, network: nn.Module, parameter_count: int, store: str, run_id: str
) -> None:
    version = register(
        store,
        network,
        run_id=run_id,
        pair=unit.pair,
        manifest=manifest.digest,
        parameter_count=parameter_count,
        size_multiple=int(network.size_multiple),  # type: ignore[arg-type]  # torch types attributes as tensors
    )
    promotion = promote(store, unit.pair.registered_name, version)
    _log.info("%s version %s registered; %s", unit.pair.registered_name, version, promotion.reason)


def _tell_scores(unit: Unit, evaluation: Evaluation, fitted_s: float) -> None:
    shown = [key for key in ("sam/masked", "ssim/masked", "sam/full", "ssim/full") if key in evaluation.summary.metrics]
    scores = ", ".join(f"{key} {evaluation.summary.metrics[key]:.4f}" for key in shown)
    _log.info("%s on %s: %s (%.0f s)", unit.model, unit.pair.name, scores, fitted_s)


def _provenance(unit: Unit, manifest: Manifest) -> Provenance:
    return Provenance(
        unit_key=unit.key,
        manifest=manifest.digest,
        split=manifest.split_digest(),
        evaluation=manifest.evaluation_fingerprint(unit.pair, metrics=METRICS),
        code=unit.code,
        params=make_key(unit.config, unit.recipe),
    )
