"""A way to reconstruct, examined on the test captures: the scores, tables, figures and pictures of one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from matplotlib.figure import Figure
from tqdm import tqdm

from hyperskin.data.frames import PairFiles
from hyperskin.data.manifest import Manifest
from hyperskin.metrics.summary import Row
from hyperskin.params import Params
from hyperskin.steps.cameras import Scores, camera_metrics, camera_rows, examine_cameras, own_scores
from hyperskin.steps.captures import make_key
from hyperskin.steps.consent import publishable_subjects
from hyperskin.steps.evaluate import Evaluation, Reconstruct, evaluate
from hyperskin.steps.exposures import examine_exposures, exposure_metrics, own_rows
from hyperskin.steps.fit import until_stopped
from hyperskin.steps.gain_prior import learn_prior, prior_captures
from hyperskin.steps.present import METRICS
from hyperskin.steps.sheets import sheet_logger
from hyperskin.steps.unit import Unit
from hyperskin.tracking.figures import draw_bands, draw_matrix, draw_spectra
from hyperskin.tracking.gain_prior import log_prior
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

    What other cameras saw of the captures, and what its own would have in other light, is reconstructed too, for its
    angle and similarity alone. So is one capture of everybody who trains or selects, to learn what measuring a
    person once tells of the person's other captures.

    Args:
        reconstruct: The model.
        unit: Which model on which pair, and with the pictures of which cameras.
        manifest: The data.
        params: Their `privacy` is read.
        run: Where all of it goes; the scores themselves are for the caller to log.
        should_stop: Asked before every capture.

    Raises:
        KeyboardInterrupt: `should_stop` said so.
        DataError: An estimate is not finite.
        EmptyMaskError: A capture's mask selects no valid pixel.
    """
    captures = manifest.pair_files("test", unit.pair)
    prior = learn_prior(
        reconstruct,
        prior_captures(manifest, unit.pair),
        unit.pair,
        camera=unit.camera,
        progress=lambda files: until_stopped(
            tqdm(files, desc="prior of people", unit="capture", disable=None, leave=False), should_stop
        ),
    )
    if prior is not None:
        log_prior(run, prior)
    evaluation = evaluate(
        reconstruct,
        captures,
        unit.pair,
        camera=unit.camera,
        prior=prior,
        progress=lambda files: until_stopped(
            tqdm(files, desc="evaluate", unit="capture", disable=None, leave=False), should_stop
        ),
        on_frame=sheet_logger(run, unit.pair, _publishable(manifest, params)),
    )
    by_camera = _examine_cameras(reconstruct, unit, captures, evaluation, should_stop)
    exposed = _examine_exposures(reconstruct, unit, captures, evaluation, should_stop)
    _log_evaluation(run, unit, evaluation, by_camera, exposed)
    return replace(evaluation, camera_metrics=camera_metrics(by_camera), exposure_metrics=exposure_metrics(exposed))


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


def _examine_cameras(
    reconstruct: Reconstruct,
    unit: Unit,
    captures: Sequence[PairFiles],
    evaluation: Evaluation,
    should_stop: Callable[[], bool],
) -> dict[str, Scores]:
    """Return scores by camera, its own from the evaluation; nothing where there is no other."""
    if not unit.test_cameras:
        return {}
    count = len(captures) * len(unit.test_cameras)
    others = examine_cameras(
        reconstruct,
        captures,
        unit.pair,
        cameras=unit.test_cameras,
        progress=lambda views: until_stopped(
            tqdm(views, desc="other cameras", total=count, unit="picture", disable=None, leave=False), should_stop
        ),
    )
    scores = others | {unit.camera: own_scores(evaluation.summary.metrics)}
    return {camera: scores[camera] for camera in unit.rendered if camera in scores}


def _examine_exposures(
    reconstruct: Reconstruct,
    unit: Unit,
    captures: Sequence[PairFiles],
    evaluation: Evaluation,
    should_stop: Callable[[], bool],
) -> list[Row]:
    """Return a row for each light and capture, those of its own light from the evaluation; none where no other is."""
    if not unit.test_exposures:
        return []
    count = len(captures) * len(unit.test_exposures)
    others = examine_exposures(
        reconstruct,
        captures,
        unit.pair,
        camera=unit.camera,
        gains=unit.test_exposures,
        progress=lambda views: until_stopped(
            tqdm(views, desc="other light", total=count, unit="picture", disable=None, leave=False), should_stop
        ),
    )
    return [*own_rows(evaluation.scores), *others]


def _publishable(manifest: Manifest, params: Params) -> Collection[str]:
    subjects = {entry.id.subject for entry in manifest.captures.values()}
    return publishable_subjects(manifest.source, subjects, params.privacy.publishable_subjects)


def _log_evaluation(
    run: RunLog, unit: Unit, evaluation: Evaluation, by_camera: dict[str, Scores], exposed: Sequence[Row]
) -> None:
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
        "per_camera": camera_rows(by_camera, unit.camera),
        "per_exposure": exposed,
        "per_calibration": [] if evaluation.calibration is None else evaluation.calibration.rows,
        "calibration": [] if evaluation.calibration is None else evaluation.calibration.summary,
    }
    run.log_tables({name: rows for name, rows in tables.items() if rows})
    run.log_figure(draw_bands(bands, title=run.name), "per_band")
    if by_camera:
        run.log_figure(_draw_cameras(unit, by_camera), "per_camera")
    for spectra in evaluation.spectra:
        run.log_figure(draw_spectra(spectra, wavelength_nm, title=run.name), f"spectra_{spectra.subject}")
    if evaluation.degenerate and unit.regression_kind != "mean":
        _log.warning("%s: a frame got one constant spectrum: nothing was learned", unit.title)


def _draw_cameras(unit: Unit, by_camera: dict[str, Scores]) -> Figure:
    """Return this training's row of the matrix: with whose pictures it was tested, and how well it did."""
    key = "sam/masked" if all("sam/masked" in scores for scores in by_camera.values()) else "sam/full"
    return draw_matrix(
        [[scores[key] for scores in by_camera.values()]],
        rows=[" + ".join(unit.cameras)],
        columns=list(by_camera),
        marked=[[camera in unit.cameras for camera in by_camera]],
        title=f"{unit.title}: {key} in rad, lower is better",
    )
