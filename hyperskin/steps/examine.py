"""A way to reconstruct, examined on the test captures: the scores, tables, figures and pictures of one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from tqdm import tqdm

from hyperskin.data.manifest import Manifest
from hyperskin.params import Params
from hyperskin.steps.captures import make_key
from hyperskin.steps.consent import publishable_subjects
from hyperskin.steps.evaluate import Evaluation, Reconstruct, evaluate
from hyperskin.steps.fit import until_stopped
from hyperskin.steps.present import METRICS
from hyperskin.steps.sheets import sheet_logger
from hyperskin.steps.unit import Unit
from hyperskin.tracking.figures import draw_bands, draw_spectra
from hyperskin.tracking.runs import Provenance, RunLog

_log = logging.getLogger(__name__)


def examine(
    reconstruct: Reconstruct,
    unit: Unit,
    manifest: Manifest,
    params: Params,
    run: RunLog,
    *,
    should_stop: Callable[[], bool],
) -> Evaluation:
    """Reconstruct every test capture whole, and send tables, figures and pictures of it to the run.

    Args:
        reconstruct: The model.
        unit: Which model on which pair; its recipe names the camera.
        manifest: The data.
        params: Their `privacy` is read.
        run: Where all of it goes; the scores themselves are for the caller to log.
        should_stop: Asked before every capture.

    Raises:
        KeyboardInterrupt: `should_stop` said so.
        DataError: An estimate is not finite.
        EmptyMaskError: A capture's mask selects no valid pixel.
    """
    evaluation = evaluate(
        reconstruct,
        manifest.pair_files("test", unit.pair),
        unit.pair,
        camera=unit.recipe["camera"],
        progress=lambda files: until_stopped(
            tqdm(files, desc="evaluate", unit="capture", disable=None, leave=False), should_stop
        ),
        on_frame=sheet_logger(run, unit.pair, _publishable(manifest, params)),
    )
    _log_evaluation(run, unit, evaluation)
    return evaluation


def say_scores(evaluation: Evaluation) -> str:
    """Return the four scores that people look for, as far as the test captures have masks."""
    metrics = evaluation.summary.metrics
    shown = [key for key in ("sam/masked", "ssim/masked", "sam/full", "ssim/full") if key in metrics]
    return ", ".join(f"{key} {metrics[key]:.4f}" for key in shown)


def provenance_of(unit: Unit, manifest: Manifest) -> Provenance:
    """Return where the result of a unit comes from."""
    return Provenance(
        unit_key=unit.key,
        manifest=manifest.digest,
        split=manifest.split_digest(),
        evaluation=manifest.evaluation_fingerprint(unit.pair, metrics=METRICS),
        code=unit.code,
        params=make_key(unit.config, unit.recipe),
    )


def _publishable(manifest: Manifest, params: Params) -> Collection[str]:
    subjects = {entry.id.subject for entry in manifest.captures.values()}
    return publishable_subjects(manifest.source, subjects, params.privacy.publishable_subjects)


def _log_evaluation(run: RunLog, unit: Unit, evaluation: Evaluation) -> None:
    """Send the tables, the per-band plot and one spectra panel per test subject."""
    wavelength_nm = unit.pair.target.wavelength_nm
    summary = evaluation.summary
    bands = summary.per_band(wavelength_nm)
    tables = {
        "per_image": summary.per_image,
        "per_band": bands,
        "per_subject": summary.per_subject,
        "per_expression": summary.per_expression,
        "per_direction": summary.per_direction,
        "per_skin_type": summary.per_skin_type,
        "per_region": evaluation.fidelity.per_region,
    }
    run.log_tables({name: rows for name, rows in tables.items() if rows})
    run.log_figure(draw_bands(bands, title=run.name), "per_band")
    for spectra in evaluation.spectra:
        run.log_figure(draw_spectra(spectra, wavelength_nm, title=run.name), f"spectra_{spectra.subject}")
    if evaluation.degenerate and unit.regression_kind != "mean":
        _log.warning("%s on %s: a frame got one constant spectrum: nothing was learned", unit.model, unit.pair.name)
