"""What a person names - a capture, a cube or a photo - -> one face: its cube, where the subject is, and whose it is."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from hyperskin.bands import Bands, regular_bands
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader
from hyperskin.data.frames import read_mask
from hyperskin.data.manifest import CaptureEntry, Manifest
from hyperskin.envi import EnviFile, open_envi
from hyperskin.errors import DataError, EmptyMaskError, MissingFileError
from hyperskin.pairs import find_pair
from hyperskin.params import Params
from hyperskin.skin.landmarks import Direction
from hyperskin.sources.decode import open_picture
from hyperskin.sources.given_masks import read_given_masks
from hyperskin.spectral.mask import subject_mask
from hyperskin.spectral.resampling import resample_bands
from hyperskin.steps.consent import publishable_subjects

Bools = npt.NDArray[np.bool_]
Reflectance = npt.NDArray[np.float32]
Origin = Literal["capture", "cube", "photo"]

PHOTO_NOTE = (
    "From a photo: oxygenation cannot be read and is left out; melanin is right only as a level of the whole person, "
    "not from place to place."
)
_PHOTOS = (".png", ".jpg", ".jpeg")
_PAIR = "rgb_vis"
_MANIFEST = Path("data") / "manifest.json"
_STEP_NM = 10.0
_MOST_BANDS = 100  # more of them are averaged to every 10 nm, which is all that skin's smooth spectra need
_SCALE = "reflectance scale factor"
_BLOCK_LINES = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Face:
    """One picture of one subject, ready to be mapped.

    Attributes:
        name: What its results are called.
        subject: Whose it is.
        may_be_shown: Whether that subject's pictures may leave the data folders.
        origin: What it was read from.
        cube: Reflectance, (H, W, C); reconstructed where the origin is a photo.
        bands: Its bands.
        mask: (H, W) bool, True = subject, measured.
        direction: Where the subject looks, as far as the name says.
        about: Where everything came from, plain values.
        note: What a reader of the maps must know.
    """

    name: str
    subject: str
    may_be_shown: bool
    origin: Origin
    cube: Reflectance
    bands: Bands
    mask: Bools
    direction: Direction | None
    about: dict[str, Any]
    note: str = ""


def read_face(root: Path, what: str, *, mask: Path | None = None, subject: str = "") -> Face:
    """Read what a person names.

    Args:
        root: The repository.
        what: A capture of the manifest, or a file: a cube (.h5 of ours, or ENVI with wavelengths) or a photo.
        mask: A picture that is white where the subject is; None: the manifest's, or what the mask stage finds.
        subject: Whose file it is; else its name says.

    Raises:
        MissingFileError: There is neither such a capture nor such a file, or no model for a photo.
        DataError: The file cannot be what it should be, or holds what no map can be made of.
        EmptyMaskError: Nobody is in the picture.
    """
    params = Params.read(root / "params.yaml")
    manifest = Manifest.read(root / _MANIFEST) if (root / _MANIFEST).is_file() else None
    entry = _find_capture(manifest, what)
    if entry is not None and manifest is not None:
        face = _read_capture(manifest, entry)
        shown = publishable_subjects(manifest.source, [face.subject], params.privacy.publishable_subjects)
    else:
        path = _find_file(what, manifest)
        face = _read_photo(root, path, params) if path.suffix.lower() in _PHOTOS else _read_file(path)
        face = replace(face, subject=subject or face.subject)
        shown = frozenset(params.privacy.publishable_subjects)
    chosen, said = _choose_mask(face, mask, params)
    face = replace(face, may_be_shown=face.subject in shown, mask=chosen, about=face.about | {"mask": said})
    if not face.mask.any():
        raise EmptyMaskError(
            f"{what} must show a subject; no pixel looks like living skin: say where it is with `--mask PNG`."
        )
    _log.info(
        "%s: %d x %d px, %d bands from %g to %g nm; subject %s; mask: %s, %d pixels",
        face.name, *face.cube.shape[:2], len(face.bands), face.bands.wavelength_nm[0], face.bands.wavelength_nm[-1],
        face.subject, said, np.count_nonzero(face.mask),
    )  # fmt: skip
    return face


def _find_capture(manifest: Manifest | None, what: str) -> CaptureEntry | None:
    """Return the manifest's capture of that name, or whose cube file that is."""
    if manifest is None:
        return None
    if what in manifest.captures:
        return manifest.captures[what]
    named = manifest.captures.get(Path(what).stem)
    is_its_cube = named is not None and Path(what).resolve() == (manifest.root / named.cube.path).resolve()
    return named if is_its_cube else None


def _find_file(what: str, manifest: Manifest | None) -> Path:
    path = Path(what)
    if path.is_file():
        return path
    known = sorted(manifest.captures) if manifest is not None else []
    near = difflib.get_close_matches(what, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"such as {known[0]}." if known else "run `dvc repro` to have some."
    raise MissingFileError(
        f"Skin maps need a cube file, a photo or a capture in {_MANIFEST}; {what!r} is none of them; "
        f"captures go by their names: {hint}"
    )


def _read_capture(manifest: Manifest, entry: CaptureEntry) -> Face:
    face = _read_cubefile(manifest.root / entry.cube.path)
    about = {
        "input": f"data/{entry.cube.path}",
        "cube_sha256": entry.cube.sha256,
        "source": manifest.source,
        "manifest": manifest.digest,
        "mask": "",
    }
    face = replace(face, name=entry.id.name, subject=entry.id.subject, origin="capture", about=about)
    if entry.mask is None:
        return face
    where = manifest.root / entry.mask.path
    return replace(face, mask=face.mask & read_mask(where), about=about | {"mask": f"data/{entry.mask.path}"})


def _read_file(path: Path) -> Face:
    return _read_cubefile(path) if path.suffix.lower() in (".h5", ".hdf5") else _read_envi(path)


def _read_cubefile(path: Path) -> Face:
    """Return what a cube file of ours holds: all its cubes joined, a band that two of them have taken once."""
    with CubeReader(path) as reader:
        parts = sorted(reader.header.bands.items(), key=lambda item: item[1].wavelength_nm[0])
        wavelength_nm: list[float] = []
        cubes: list[Reflectance] = []
        for name, bands in parts:
            fresh = [
                place for place, nm in enumerate(bands.wavelength_nm) if not wavelength_nm or nm > wavelength_nm[-1]
            ]
            if fresh:
                cubes.append(reader.read(name)[..., fresh])
                wavelength_nm += [bands.wavelength_nm[place] for place in fresh]
        valid = reader.read_valid()
    return _face_of(path, np.concatenate(cubes, axis=2), Bands(tuple(wavelength_nm)), valid)


def _read_envi(path: Path) -> Face:
    """Return the reflectance in an ENVI file: floats as they are, whole numbers over the header's scale factor."""
    header_path = path if path.suffix.lower() == ".hdr" else _header_of(path)
    file = open_envi(header_path, None if path == header_path else path)
    header = file.header
    if header.wavelength_nm is None:
        raise DataError(f"{header_path} must list the wavelengths of its {header.bands} bands; it lists none.")
    scale = _scale(header_path, file)
    order = np.argsort(header.wavelength_nm)
    bands = Bands(tuple(float(header.wavelength_nm[place]) for place in order))
    target = _coarser(bands)
    blocks = []
    for counts in file.line_blocks(_BLOCK_LINES):
        block = counts[..., order].astype(np.float32) / np.float32(scale)
        blocks.append(
            block if target is None else resample_bands(block, bands, target, kind="gaussian", fwhm_nm=_STEP_NM)
        )
    cube = np.concatenate(blocks).astype(np.float32, copy=False)
    valid = np.isfinite(cube).all(axis=2) & (cube != 0).any(axis=2)
    return _face_of(path, cube, target or bands, valid)


def _header_of(path: Path) -> Path:
    """Return the header beside a binary: NAME.hdr, or NAME.raw.hdr."""
    candidates = (path.with_suffix(".hdr"), path.with_name(f"{path.name}.hdr"))
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise DataError(
            f"{path} must be a cube file of ours (.h5), an ENVI cube with its header beside it, or a photo "
            f"({', '.join(_PHOTOS)}); it is none of them."
        )
    return found


def _scale(header_path: Path, file: EnviFile) -> float:
    """Return by what stored numbers are divided to be reflectance."""
    text = file.header.fields.get(_SCALE, "")
    try:
        scale = float(text) if text else 1.0
    except ValueError:
        scale = float("nan")
    if not (np.isfinite(scale) and scale > 0):
        raise DataError(f"{header_path}: `{_SCALE}` must be a positive number; got {text!r}.")
    if not text and np.issubdtype(file.header.dtype, np.integer):
        raise DataError(
            f"{header_path} must say by what its whole numbers are divided to be reflectance, such as "
            f"`{_SCALE} = 10000`; it does not: are these raw counts? Then calibrate them first (`hyperskin init "
            "--source lumo`)."
        )
    return scale


def _coarser(bands: Bands) -> Bands | None:
    """Return bands every 10 nm within these, or None where these are few enough."""
    if len(bands) <= _MOST_BANDS:
        return None
    first = np.ceil(bands.wavelength_nm[0] / _STEP_NM) * _STEP_NM
    last = np.floor(bands.wavelength_nm[-1] / _STEP_NM) * _STEP_NM
    return regular_bands(float(first), float(last), _STEP_NM)


def _read_photo(root: Path, path: Path, params: Params) -> Face:
    """Return the cube that the champion sees behind a photo."""
    from hyperskin.tracking.photo import load_photo_model  # loads torch and MLflow
    from hyperskin.tracking.store import prepare_store

    picture, _ = open_picture(path, ("PNG", "JPEG"))
    rgb = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), dtype=np.float32) / np.float32(255)
    pair = find_pair(_PAIR)
    model = load_photo_model(prepare_store(root), pair)
    named = f"version {model.champion.version} of {pair.registered_name} ({model.champion.model})"
    _log.info("%s: reconstructed by %s, the champion", path, named)
    _log.warning(
        "%s must be as the model's camera gives pictures: %s, 8-bit %s; of another camera, or after a picture editor, "
        "the maps are of other colours. %s",
        path.name, model.camera, params.render.transfer, PHOTO_NOTE,
    )  # fmt: skip
    cube = model.champion.reconstruct(rgb)
    face = _face_of(path, cube, pair.target, np.asarray(np.isfinite(cube).all(axis=2)))
    about = face.about | {"model": named, "camera": model.camera, "transfer": params.render.transfer}
    return replace(face, origin="photo", about=about, note=PHOTO_NOTE)


def _face_of(path: Path, cube: Reflectance, bands: Bands, valid: Bools) -> Face:
    """Return a file's face, before anyone has said where in it the subject is."""
    stem = path.stem
    try:
        capture = CaptureId.parse(stem)
    except DataError:
        raise DataError(
            f"{path} must have a name of letters, digits, '.', '_' and '-', which its results get; got {stem!r}: "
            "rename it."
        ) from None
    return Face(
        name=capture.name,
        subject=capture.subject,
        may_be_shown=False,
        origin="cube",
        cube=cube,
        bands=bands,
        mask=valid,
        direction=cast("Direction | None", capture.direction),
        about={"input": str(path), "mask": ""},
    )


def _choose_mask(face: Face, given: Path | None, params: Params) -> tuple[Bools, str]:
    """Return the given mask, the manifest's, or what looks like living skin, measured pixels alone; and say which."""
    if given is not None:
        height, width, _ = face.cube.shape
        return face.mask & read_given_masks([given], (height, width)), str(given)
    if face.about["mask"]:
        return face.mask, face.about["mask"]
    found = subject_mask(face.cube, face.bands, face.mask, smallest_fraction=params.mask.smallest_fraction)
    return found, "found by hyperskin's own mask stage"
