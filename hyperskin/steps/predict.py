"""A photo, or the stored picture of a capture -> the cube that a champion sees behind it, as a cube file of ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import hyperskin
from hyperskin.atomic import file_sha256
from hyperskin.data.cubefile import HIGHEST, LOWEST, read_header, write_cubes
from hyperskin.data.frames import Frame, read_visible
from hyperskin.data.manifest import CaptureEntry, Manifest
from hyperskin.errors import DataError, HyperSkinError, MissingFileError
from hyperskin.metrics.sam import sam
from hyperskin.pairs import CUBE_BANDS, Pair, find_pair
from hyperskin.skin.regions import find_regions
from hyperskin.steps.bare_skin import find_bare_skin
from hyperskin.steps.skin_calibration import calibrate_face, read_as_seen
from hyperskin.steps.skin_folder import require_place
from hyperskin.steps.skin_input import (
    MANIFEST,
    PHOTO_PAIR,
    RECONSTRUCTION,
    Face,
    describe_model,
    nearest_capture,
    read_face,
)
from hyperskin.steps.skin_maps import apply_gain
from hyperskin.steps.skin_photo import SUFFIXES

FOLDER = Path("data") / "predictions"
_CAPTURE_NOTE = (
    "Reconstructed from a picture: oxygenation cannot be read and is left out; other maps are as good as the model."
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One reconstructed cube.

    Attributes:
        face: The cube, (H, W, C_out), and where it comes from.
        pair: What was reconstructed.
        frame: What was measured in its place; None for a photo.
        visible: The measured VIS cube of the capture, (H, W, 31), to find bare skin in; None where there is none.
        seen_in: The split that the model has learned from or was chosen by, if the capture is in it; else empty.
    """

    face: Face
    pair: Pair
    frame: Frame | None = None
    visible: npt.NDArray[np.float32] | None = None
    seen_in: str = ""


def predict(
    root: Path, what: str, pair: str, *, mask: Path | None = None, subject: str = "", needs_somebody: bool = False
) -> Prediction:
    """Return what the champion of `pair` sees behind a photo or a capture's stored picture.

    Args:
        root: The repository.
        what: A capture of the manifest, or a photo, of which no pair but rgb_vis can be reconstructed.
        pair: Name of the pair.
        mask: A picture that is white where the subject is; None: the manifest's, or what the mask stage finds.
        subject: Whose photo it is; else its name says.
        needs_somebody: Whether there must be a subject in it.

    Raises:
        MissingFileError: There is no such capture or photo, or no champion.
        DataError: The picture is none that can be reconstructed.
        EmptyMaskError: Nobody is in it, and somebody must be.
    """
    target = find_pair(pair)
    manifest = Manifest.read(root / MANIFEST) if (root / MANIFEST).is_file() else None
    entry = None if manifest is None else manifest.captures.get(what)
    if entry is None or manifest is None:
        _require_photo(what, target, manifest)
    face = read_face(root, what, mask=mask, subject=subject, needs_somebody=needs_somebody)
    if entry is None or manifest is None:
        source = face.about | {"input_sha256": file_sha256(Path(what))}
        return Prediction(replace(face, about=source), target)
    return _predict_capture(root, manifest, entry, face, target)


def calibrate(root: Path, prediction: Prediction, by: str, *, photo: Path | None = None) -> Prediction:
    """Return a prediction whose bare skin is multiplied by its subject's gain; arguments as `calibrate_face` has them.

    Raises:
        DataError: `by` is of somebody else or this very capture, or a photo shall tell what no photo tells.
        MissingFileError: There is no such capture or file, or the champion brings no prior.
    """
    if photo is not None and prediction.pair.name != PHOTO_PAIR:
        raise DataError(
            f"`--calibrate-photo` must go with {PHOTO_PAIR}, which alone is reconstructed from photos; got "
            f"{prediction.pair.name}: leave it out, and the spectra are held against {prediction.face.name} itself."
        )
    face = calibrate_face(root, prediction.face, by, photo=photo, pair=prediction.pair.name)
    return replace(prediction, face=apply_gain(face, _bare_skin(prediction)))


def score_prediction(prediction: Prediction) -> dict[str, float]:
    """Return the spectral angle to the measured cube in radians, "masked" (if there is a mask) and "full"."""
    frame, face = prediction.frame, prediction.face
    if frame is None:
        return {}
    regions = {"full": face.valid} if frame.mask is None else {"masked": frame.mask & face.valid, "full": face.valid}
    return {name: sam(face.cube, frame.reference, where).value for name, where in regions.items() if where.any()}


def choose_file(root: Path, prediction: Prediction, out: Path | None) -> Path:
    """Return where a prediction goes: a reconstruction is a picture of a person.

    Args:
        root: The repository.
        prediction: What goes there.
        out: The file that a person wants, or None.

    Raises:
        ConsentError: It would leave data/predictions and shows somebody who may not be shown.
        DataError: It is no name of a cube file, lies among what a stage writes, or holds anything but an earlier
            prediction of the same pair from the same input.
    """
    face = prediction.face
    path = out if out is not None else root / FOLDER / f"{face.name}-{prediction.pair.name}.h5"
    if path.suffix != ".h5":
        raise DataError(f"`--out` must be a cube file, NAME.h5; got {path}.")
    unshown = "" if face.may_be_shown else face.subject
    require_place(root, path, kept=FOLDER, unshown=unshown, what="A reconstruction")
    if path.exists():
        _require_own(path, prediction)
    return path


def write_prediction(prediction: Prediction, path: Path) -> int:
    """Write a prediction as a cube file and return how many values were clipped.

    The file holds reflectance from -0.143 to 2.143 in steps of 3.5e-5. What a model puts outside is clipped and
    counted, and a value that is no number becomes 0, its pixel not valid.
    """
    started = time.monotonic()
    face, pair = prediction.face, prediction.pair
    bands = {name: CUBE_BANDS[name] for name in pair.cubes}
    cubes = {
        name: face.cube[..., [pair.target.index_of(nm) for nm in bands[name].wavelength_nm]] for name in pair.cubes
    }
    height, width, _ = face.cube.shape
    with write_cubes(path, height=height, width=width, bands=bands, attributes=_describe(prediction)) as writer:
        writer.append(cubes, face.valid)
    _log.info(
        "%s: written in %.1f s; %d of %d values clipped to %.3f .. %.3f",
        face.name, time.monotonic() - started, writer.clamped_count, sum(cube.size for cube in cubes.values()),
        LOWEST, HIGHEST,
    )  # fmt: skip
    return writer.clamped_count


def _require_photo(what: str, pair: Pair, manifest: Manifest | None) -> None:
    """Refuse what is neither a capture nor a photo, and a photo for a pair that needs more than one."""
    path = Path(what)
    if path.suffix.lower() not in SUFFIXES:
        raise MissingFileError(
            f"A prediction needs a photo ({', '.join(SUFFIXES)}) or a capture in {MANIFEST}; {what!r} is neither; "
            f"captures go by their names: {nearest_capture(manifest, what)}"
        )
    if not path.is_file():
        raise MissingFileError(f"A photo must be at {what}; there is none.")
    if pair.name != PHOTO_PAIR:
        raise DataError(
            f"A photo must be reconstructed as {PHOTO_PAIR}; got {pair.name}, which needs {' and '.join(pair.inputs)}: "
            "name a capture, whose inputs are stored."
        )


def _predict_capture(root: Path, manifest: Manifest, entry: CaptureEntry, face: Face, pair: Pair) -> Prediction:
    """Return what the champion sees behind a capture's stored input."""
    from hyperskin.tracking.photo import load_photo_model  # loads torch and MLflow
    from hyperskin.tracking.store import prepare_store

    model = load_photo_model(prepare_store(root), pair)
    frame = read_as_seen(manifest, entry, model.champion, pair)
    cube = model.champion.reconstruct(frame.input)
    told = describe_model(model, pair)
    _log.info("%s: reconstructed from %s by %s, the champion", face.name, entry.inputs.path, told["model"])
    source = {
        "input": f"data/{entry.inputs.path}",
        "input_sha256": file_sha256(manifest.root / entry.inputs.path),
    }
    seen_in = entry.split if model.champion.knows(manifest.digest) and entry.split != "test" else ""
    made = replace(
        face,
        cube=cube,
        bands=pair.target,
        origin="photo",
        valid=face.valid & np.isfinite(cube).all(axis=2),
        note=_CAPTURE_NOTE,
        about=face.about | told | source,
    )
    return Prediction(made, pair, frame, read_visible(manifest.root / entry.cube.path), seen_in)


def _bare_skin(prediction: Prediction) -> npt.NDArray[np.bool_]:
    """Return the pixels that a gain changes: of a capture those that the examination calibrates."""
    face, frame = prediction.face, prediction.frame
    if frame is None:
        return find_regions(face.cube, face.bands, face.mask, direction=face.direction).skin
    skin = find_bare_skin(replace(frame, mask=face.mask), face.bands, prediction.visible)
    assert skin is not None, "whoever calibrates has made sure that there is somebody"
    return skin.regions.skin


def _describe(prediction: Prediction) -> dict[str, Any]:
    """Return the attributes of the file."""
    face = prediction.face
    is_told = prediction.frame is not None or face.subject != face.name
    made = {
        **face.about,
        "hyperskin": hyperskin.__version__,
        "name": face.name,
        "subject": face.subject if is_told else "",
        "pair": prediction.pair.name,
        "note": face.note,
        "seen_in": prediction.seen_in,
    }
    return {RECONSTRUCTION: {"calibration": None, **made}}


def _require_own(path: Path, prediction: Prediction) -> None:
    """Raise DataError where `path` holds what this prediction may not replace."""
    try:
        made = read_header(path).attributes.get(RECONSTRUCTION)
    except HyperSkinError:
        made = None
    if not isinstance(made, Mapping):
        raise DataError(f"{path} must be free, or an earlier prediction; it is another file: choose another `--out`.")
    face, pair = prediction.face, prediction.pair
    if (made.get("input"), made.get("pair")) != (face.about["input"], pair.name):
        raise DataError(
            f"{path} holds {made.get('pair')} of {made.get('input')}; {pair.name} of {face.about['input']} must go "
            "elsewhere: choose a file with `--out`, or rename the photo."
        )
