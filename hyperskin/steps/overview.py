"""Manifest and registry -> one sheet: what went in, what the champions made of it, and how far off they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperskin.data.frames import Frame, PairFiles, read_frame, read_truth
from hyperskin.data.manifest import Manifest
from hyperskin.metrics.sam import spectral_angle_map
from hyperskin.pairs import Pair, find_pair
from hyperskin.params import Params
from hyperskin.pictures import save_picture
from hyperskin.steps.consent import publishable_subjects
from hyperskin.steps.present import METRICS
from hyperskin.steps.sheets import to_picture
from hyperskin.steps.unit import champion_camera
from hyperskin.tracking.champion import Champion, load_champion
from hyperskin.tracking.overview import Curve, OverviewRow, draw_overview

_log = logging.getLogger(__name__)

_MOST_ROWS = 4
_BRIGHTER = 1.5  # all alike, so that light and dark skin stay apart; a white panel would be above white


def overview(root: Path, *, store: str, path: Path) -> Path | None:
    """Draw the sheet to `path`, one row for each subject of the test split who may be shown.

    Args:
        root: The repository.
        store: Address of the MLflow store.
        path: A PNG file.

    Returns:
        `path`, or None where nobody may be shown or no network was examined on this test set.
    """
    params = Params.read(root / "params.yaml")
    manifest = Manifest.read(root / "data" / "manifest.json")
    pairs = {name: find_pair(name) for name in params.train.pairs}
    champions = {}
    for pair in pairs.values():
        examined = manifest.evaluation_fingerprint(pair, metrics=METRICS)
        if (champion := load_champion(store, pair, evaluation=examined)) is not None:
            champions[pair] = champion
            if not champion.knows(manifest.digest):
                _log.warning(
                    "%s: version %s was trained on other data than the present ones, though tested on the same",
                    pair.name,
                    champion.version,
                )
    everyone = {entry.id.subject for entry in manifest.of_split("test")}
    shown = publishable_subjects(manifest.source, everyone, params.privacy.publishable_subjects)
    files = {pair: _one_each(manifest.pair_files("test", pair), sorted(everyone & set(shown))) for pair in champions}
    subjects = list(next(iter(files.values()), {}))[:_MOST_ROWS]
    if not subjects:
        return None
    camera = champion_camera(params, manifest)
    rows = [
        _row({pair: (champion, files[pair][subject]) for pair, champion in champions.items()}, camera)
        for subject in subjects
    ]
    title = "; ".join(f"{pair.name}: {_say(champion)}" for pair, champion in champions.items())
    figure = draw_overview(rows, title=f"Test subjects, brightened, as the champions see them ({title})")
    save_picture(figure, subjects=subjects, publishable=shown, path=path)
    _log.info("%s: %s", path, ", ".join(row.title for row in rows))
    return path


def _one_each(files: Sequence[PairFiles], subjects: Sequence[str]) -> dict[str, PairFiles]:
    """Return the first capture of every subject, by subject."""
    first: dict[str, PairFiles] = {}
    for file in files:
        if file.capture.subject in subjects:
            first.setdefault(file.capture.subject, file)
    return first


def _row(work: dict[Pair, tuple[Champion, PairFiles]], camera: str) -> OverviewRow:
    pictures: dict[str, npt.NDArray[np.float32]] = {}
    angles: dict[str, npt.NDArray[np.float64]] = {}
    measured, true = [], []
    reconstructed: dict[str, list[Curve]] = {"reconstructed": []}
    outline: npt.NDArray[np.bool_] | None = None
    title = ""
    for pair, (champion, file) in work.items():
        frame = read_frame(file, pair, camera=champion.camera or camera)
        estimate = champion.reconstruct(frame.input)
        outline, title = frame.mask, frame.capture.name
        pictures.setdefault("camera picture, mask", _BRIGHTER * frame.input[..., :3])
        pictures[f"{pair.name} measured"] = _BRIGHTER * to_picture(frame.reference, pair.target)
        pictures[f"{pair.name} reconstructed"] = _BRIGHTER * to_picture(estimate, pair.target)
        angles[f"{pair.name} angle"] = spectral_angle_map(estimate, frame.reference)
        measured.append(_curve(frame, frame.reference, pair))
        reconstructed["reconstructed"].append(_curve(frame, estimate, pair))
        if file.truth is not None:
            true.append(_curve(frame, read_truth(file.truth, pair).reference, pair))
    return OverviewRow(title, pictures, outline, angles, measured, true, reconstructed)


def _curve(frame: Frame, cube: npt.NDArray[np.float32], pair: Pair) -> Curve:
    chosen = frame.valid if frame.mask is None else frame.valid & frame.mask
    return Curve(pair.target.centres_nm(), cube[chosen].mean(axis=0, dtype=np.float64))


def _say(champion: Champion) -> str:
    return f"{champion.model} ({champion.size})" if champion.size else champion.model
