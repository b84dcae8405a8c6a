"""A face from a photo, and something measured of the same person -> the gain by which the face is calibrated."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from hyperskin.data.frames import Frame, PairFiles, read_frame, read_visible
from hyperskin.data.manifest import CaptureEntry, Manifest
from hyperskin.errors import DataError
from hyperskin.pairs import Pair, find_pair
from hyperskin.skin.regions import find_regions
from hyperskin.skin.subject_gain import MOST_READINGS, GainPrior, subject_gain
from hyperskin.steps.bare_skin import find_bare_skin
from hyperskin.steps.skin_input import MANIFEST, PHOTO_PAIR, Face, read_face
from hyperskin.steps.skin_readings import read_readings
from hyperskin.steps.subject_calibration import thin
from hyperskin.tracking.champion import Champion

Spectra = npt.NDArray[np.floating]

_NOTE = "Calibrated to the subject by {} of {}."
_ODD_GAIN = 1.5  # or its inverse, in any band; what a model errs on one person by more is rather no skin of that person
_log = logging.getLogger(__name__)


def calibrate_face(root: Path, face: Face, by: str, *, photo: Path | None = None, pair: str = PHOTO_PAIR) -> Face:
    """Return a reconstructed face with the gain of its subject, which is applied to bare skin when it is read.

    Args:
        root: The repository.
        face: Reconstructed from a photo, or from a capture's picture.
        by: What was measured: another capture of the subject in the manifest, whose picture the model sees as it sees
            this photo, or a CSV file of spectra of the subject's skin.
        photo: For a CSV file, the photo whose reconstruction the spectra are held against; None for the face itself.
        pair: What was reconstructed.

    Raises:
        DataError: The face was measured itself, or `by` is this very capture or of somebody else, or its spectra are
            none of skin.
        MissingFileError: There is no such capture or file, or the champion brings no prior.
    """
    from hyperskin.tracking.gain_prior import read_prior  # which loads MLflow
    from hyperskin.tracking.photo import load_photo_model
    from hyperskin.tracking.store import prepare_store

    if face.origin == "reconstruction":
        raise DataError(
            f"`--calibrate` must calibrate while a model reconstructs; {face.name} is a finished reconstruction: give "
            "`--calibrate` to `hyperskin predict`."
        )
    if face.origin != "photo":
        raise DataError(
            f"`--calibrate` must calibrate a photo, which a model reconstructs; {face.name} was measured itself."
        )
    manifest = Manifest.read(root / MANIFEST) if (root / MANIFEST).is_file() else None
    entry = None if manifest is None else manifest.captures.get(by)
    if entry is not None:
        _require_another(face, entry, photo)
    uri, target = prepare_store(root), find_pair(pair)
    champion = load_photo_model(uri, target).champion
    prior = read_prior(uri, target, champion.version)
    if entry is not None and manifest is not None:
        measured, predicted = _measure(manifest, entry, champion, target)
        return _with_gain(face, prior, measured, predicted, told={"by": by, "held_against": by})
    other = face if photo is None else _read_other(root, photo, face)
    told = {"by": by, "held_against": str(other.about["input"])}
    return _with_gain(face, prior, read_readings(Path(by), target.target), _skin_of(other), told=told)


def share_gain(calibrated: Face, other: Face) -> Face:
    """Return another photo of the same subject with the gain of a calibrated one."""
    told = {"calibration": calibrated.about["calibration"]}
    return replace(other, skin_gain=calibrated.skin_gain, about=other.about | told)


def _require_another(face: Face, entry: CaptureEntry, photo: Path | None) -> None:
    if photo is not None:
        raise DataError(
            f"`--calibrate-photo` must go with spectra in a CSV file; {entry.id.name} is a capture, which has its own "
            "picture."
        )
    if entry.id.name == face.name:
        raise DataError(
            f"A face must be calibrated by another capture than its own; got {entry.id.name} for both: its cube is "
            "what the photo is to be held against."
        )
    if entry.id.subject != face.subject:
        raise DataError(
            f"A face must be calibrated by a capture of its own subject; {face.name} is of {face.subject} and "
            f"{entry.id.name} of {entry.id.subject}: say with `--subject` whose the photo is."
        )


def _measure(manifest: Manifest, entry: CaptureEntry, champion: Champion, pair: Pair) -> tuple[Spectra, Spectra]:
    """Return what was measured of a capture's bare skin, and what the champion makes of it, (P, C) each."""
    frame = read_as_seen(manifest, entry, champion, pair)
    skin = find_bare_skin(frame, pair.target, read_visible(manifest.root / entry.cube.path))
    if skin is None or not skin.regions.skin.any():
        raise DataError(f"{entry.id.name} must show bare skin to calibrate with; none was found in it.")
    pixels = thin(skin.regions.skin)
    return frame.reference[pixels], champion.reconstruct(frame.input)[pixels]


def read_as_seen(manifest: Manifest, entry: CaptureEntry, champion: Champion, pair: Pair) -> Frame:
    """Return a capture with the picture of the camera by which the champion was examined."""
    root = manifest.root
    mask = None if entry.mask is None else root / entry.mask.path
    files = PairFiles(entry.id, root / entry.cube.path, root / entry.inputs.path, mask)
    return read_frame(files, pair, camera=champion.camera or next(iter(manifest.cameras), ""))


def _read_other(root: Path, photo: Path, face: Face) -> Face:
    """Return the photo that the spectra are held against, of the same subject."""
    other = read_face(root, str(photo), subject=face.subject)
    if other.origin != "photo":
        raise DataError(f"`--calibrate-photo` must be a photo; {photo} is {other.origin}.")
    return other


def _skin_of(face: Face) -> Spectra:
    regions = find_regions(face.cube, face.bands, face.mask, direction=face.direction)
    pixels = thin(regions.skin)
    return cast("Spectra", face.cube[pixels])


def _with_gain(face: Face, prior: GainPrior, measured: Spectra, predicted: Spectra, *, told: dict[str, str]) -> Face:
    """Return the face with its gain, and with what gave it."""
    gain = subject_gain(prior, measured, predicted)
    count = min(len(measured), MOST_READINGS)
    about = {
        **told,
        "spectra": len(measured),
        "counted_as": count,
        "prior_of_subjects": prior.subject_count,
        "gain": [round(float(each), 6) for each in gain],
    }
    readings = "1 spectrum" if len(measured) == 1 else f"{len(measured)} spectra"
    _log.info(
        "%s: calibrated by %s of %s, gains from %.3f to %.3f; the prior is of %d people",
        face.name, readings, told["by"], gain.min(), gain.max(), prior.subject_count,
    )  # fmt: skip
    if max(gain.max(), 1 / gain.min()) > _ODD_GAIN:
        _log.warning(
            "%s: a gain must lie between %.2f and %.2f to be believed; look whether %s holds skin of %s, and at its "
            "wavelengths",
            face.name, 1 / _ODD_GAIN, _ODD_GAIN, told["by"], face.subject or "this person",
        )  # fmt: skip
    note = " ".join(filter(None, (face.note, _NOTE.format(readings, Path(told["by"]).name))))
    return replace(face, skin_gain=gain.astype(np.float32), note=note, about=face.about | {"calibration": about})
