"""What a person names - a capture, a cube or a photo - -> one face: its cube, where the subject is, and whose it is."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader
from hyperskin.data.frames import read_mask
from hyperskin.data.manifest import CaptureEntry, Manifest
from hyperskin.errors import DataError, EmptyMaskError, MissingFileError
from hyperskin.pairs import Pair, find_pair
from hyperskin.params import Params
from hyperskin.skin.landmarks import Direction
from hyperskin.sources.given_masks import read_given_masks
from hyperskin.spectral.mask import subject_mask
from hyperskin.steps.consent import publishable_subjects
from hyperskin.steps.skin_envi import read_envi_reflectance
from hyperskin.steps.skin_photo import OTHER_SUFFIXES, SUFFIXES, read_photo, shrink_mask

if TYPE_CHECKING:  # torch and MLflow take seconds to load
    from hyperskin.tracking.photo import PhotoModel

Bools = npt.NDArray[np.bool_]
Reflectance = npt.NDArray[np.float32]
Origin = Literal["capture", "cube", "photo", "reconstruction"]

PHOTO_NOTE = (
    "From a photo: oxygenation cannot be read and is left out; melanin is right only as a level of the whole person, "
    "not from place to place."
)
PHOTO_PAIR = "rgb_vis"
"""What is reconstructed of a photo."""
RECONSTRUCTION = "reconstruction"
"""The attribute of a cube file that no sensor measured: where it comes from."""
MANIFEST = Path("data") / "manifest.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Face:
    """One picture of one subject, ready to be mapped.

    Attributes:
        name: What its results are called.
        subject: Whose it is.
        may_be_shown: Whether that subject's pictures may leave the data folders.
        origin: What it was read from; a reconstruction is a file that `hyperskin predict` wrote.
        cube: Reflectance, (H, W, C); reconstructed where the origin is a photo or a reconstruction.
        bands: Its bands.
        mask: (H, W) bool, True = subject, measured.
        valid: (H, W) bool, True = measured.
        direction: Where the subject looks, as far as the name says.
        about: Where everything came from, plain values.
        frame: (H, W) that a mask of the file has; a photo's cube may be smaller.
        note: What a reader of the maps must know.
        skin_gain: By what bare skin is to be multiplied before it is read, (C,); None: nothing calibrates it.
    """

    name: str
    subject: str
    may_be_shown: bool
    origin: Origin
    cube: Reflectance
    bands: Bands
    mask: Bools
    valid: Bools
    direction: Direction | None
    about: dict[str, Any]
    frame: tuple[int, int]
    note: str = ""
    skin_gain: Reflectance | None = None

    @property
    def is_reconstructed(self) -> bool:
        """Whether a model made the cube."""
        return self.origin in ("photo", "reconstruction")


def read_face(
    root: Path, what: str, *, mask: Path | None = None, subject: str = "", needs_somebody: bool = True
) -> Face:
    """Read what a person names.

    Args:
        root: The repository.
        what: A capture of the manifest, or a file: a cube (.h5 of ours, or ENVI with wavelengths) or a photo.
        mask: A picture that is white where the subject is; None: the manifest's, or what the mask stage finds.
        subject: Whose file it is; else its name says.
        needs_somebody: Whether there must be a subject in it; else its mask may be empty.

    Raises:
        MissingFileError: There is neither such a capture nor such a file, or no model for a photo.
        DataError: The file cannot be what it should be, or holds what no map can be made of.
        EmptyMaskError: Nobody is in the picture.
    """
    params = Params.read(root / "params.yaml")
    manifest = Manifest.read(root / MANIFEST) if (root / MANIFEST).is_file() else None
    entry = _find_capture(manifest, what)
    known: Path | None = None
    if entry is not None and manifest is not None:
        face = _read_capture(manifest, entry)
        known = manifest.root / entry.mask.path if entry.mask is not None else None
        shown = publishable_subjects(manifest.source, [face.subject], params.privacy.publishable_subjects)
    else:
        path = _find_file(what, manifest)
        face = _read_photo(root, path, params) if path.suffix.lower() in SUFFIXES else _read_file(path)
        face = replace(face, about=face.about | {"input": _tell_place(root, path)})
        shown = frozenset(params.privacy.publishable_subjects)
    face = replace(face, subject=_whose(face, subject))
    chosen, said = _choose_mask(root, face, mask, known, params)
    if needs_somebody and not chosen.any():
        raise EmptyMaskError(
            f"{what} must show a subject; no pixel looks like living skin: say where it is with `--mask PNG`."
        )
    face = replace(face, may_be_shown=face.subject in shown, mask=chosen, about=face.about | {"mask": said})
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
    if what and path.is_dir():
        raise MissingFileError(
            f"Skin maps need a cube file, a photo or a capture; {what} is a folder: name a file in it, or bring a "
            "recorder's captures in with `hyperskin init --source lumo --path FOLDER` and `dvc repro`."
        )
    raise MissingFileError(
        f"Skin maps need a cube file, a photo or a capture in {MANIFEST}; {what!r} is none of them; "
        f"captures go by their names: {nearest_capture(manifest, what)}"
    )


def nearest_capture(manifest: Manifest | None, what: str) -> str:
    """Return the end of a message about a capture that is not there."""
    known = sorted(manifest.captures) if manifest is not None else []
    near = difflib.get_close_matches(what, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"such as {known[0]}." if known else "run `dvc repro` to have some."


def _read_capture(manifest: Manifest, entry: CaptureEntry) -> Face:
    face = _read_cubefile(manifest.root / entry.cube.path)
    about = {
        "input": f"data/{entry.cube.path}",
        "cube_sha256": entry.cube.sha256,
        "source": manifest.source,
        "manifest": manifest.digest,
    }
    return replace(face, name=entry.id.name, subject=entry.id.subject, origin="capture", about=about)


def _whose(face: Face, claimed: str) -> str:
    """Return whose a face is: a name that says so is believed before a person."""
    if not claimed:
        return face.subject
    try:
        CaptureId.parse(claimed)
    except DataError:
        raise DataError(f"`--subject` must be letters, digits, '.', '_' and '-'; got {claimed!r}.") from None
    is_told = face.origin == "capture" or face.subject != face.name
    if is_told and claimed != face.subject:
        raise DataError(
            f"`--subject` must be {face.subject}, whose {face.name} is; got {claimed!r}: rename the file if it is of "
            "somebody else."
        )
    return claimed


def _tell_place(root: Path, path: Path) -> str:
    """Return where a file lies, below the repository or on this machine."""
    whole = path.resolve()
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else str(whole)


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
        made = reader.header.attributes.get(RECONSTRUCTION)
    face = _face_of(path, np.concatenate(cubes, axis=2), Bands(tuple(wavelength_nm)), valid)
    return face if made is None else _as_reconstructed(face, made)


def _as_reconstructed(face: Face, made: dict[str, Any]) -> Face:
    """Return the face of a file that `hyperskin predict` wrote: no more can be read from it than from its picture."""
    return replace(
        face,
        subject=made["subject"] or face.subject,
        origin="reconstruction",
        direction=cast("Direction | None", CaptureId.parse(made["name"]).direction),
        about={RECONSTRUCTION: made},
        note=made["note"],
    )


def _read_envi(path: Path) -> Face:
    header_path = path if path.suffix.lower() == ".hdr" else _header_of(path)
    return _face_of(path, *read_envi_reflectance(header_path, None if path == header_path else path))


def _header_of(path: Path) -> Path:
    """Return the header beside a binary: NAME.hdr, or NAME.raw.hdr."""
    candidates = (path.with_suffix(".hdr"), path.with_name(f"{path.name}.hdr"))
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        advice = ": save it as PNG or JPEG" if path.suffix.lower() in OTHER_SUFFIXES else ""
        raise DataError(
            f"{path} must be a cube file of ours (.h5), an ENVI cube with its header beside it, or a photo "
            f"({', '.join(SUFFIXES)}); it is none of them{advice}."
        )
    return found


def _read_photo(root: Path, path: Path, params: Params) -> Face:
    """Return the cube that the champion sees behind a photo."""
    from hyperskin.tracking.photo import load_photo_model  # loads torch and MLflow
    from hyperskin.tracking.store import prepare_store

    photo = read_photo(path)
    pair = find_pair(PHOTO_PAIR)
    model = load_photo_model(prepare_store(root), pair)
    told = describe_model(model, pair)
    _log.info("%s: reconstructed by %s, the champion", path, told["model"])
    _log.warning(
        "%s must be as the model's camera gives pictures: %s, 8-bit %s; of another camera, or after a picture editor, "
        "the maps are of other colours. %s",
        path.name, model.camera, params.render.transfer, PHOTO_NOTE,
    )  # fmt: skip
    cube = model.champion.reconstruct(photo.rgb)
    face = _face_of(path, cube, pair.target, photo.valid & np.isfinite(cube).all(axis=2))
    about = face.about | told | {"transfer": params.render.transfer}
    return replace(face, origin="photo", about=about, note=PHOTO_NOTE, frame=photo.frame)


def describe_model(model: PhotoModel, pair: Pair) -> dict[str, str]:
    """Return which model reconstructs, in words and for machines."""
    champion = model.champion
    return {
        "model": f"version {champion.version} of {pair.registered_name} ({champion.model})",
        "version": champion.version,
        "run_id": champion.run_id,
        "camera": model.camera,
    }


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
        valid=valid,
        direction=cast("Direction | None", capture.direction),
        about={},
        frame=(cube.shape[0], cube.shape[1]),
    )


def _choose_mask(root: Path, face: Face, given: Path | None, known: Path | None, params: Params) -> tuple[Bools, str]:
    """Return the given mask, the manifest's, or what looks like living skin, measured pixels alone; and say which."""
    if given is not None:
        mask = face.mask & shrink_mask(read_given_masks([given], face.frame), face.mask.shape)
        if not mask.any():
            raise EmptyMaskError(f"A mask must select a measured pixel; {given} selects none of {face.name}.")
        return mask, _tell_place(root, given)
    if known is not None:
        return face.mask & read_mask(known), _tell_place(root, known)
    try:
        found = subject_mask(face.cube, face.bands, face.mask, smallest_fraction=params.mask.smallest_fraction)
    except DataError as error:
        raise DataError(f"{face.name}: {str(error).rstrip('.')}: say where the subject is with `--mask PNG`.") from None
    return found, "found by hyperskin's own mask stage"
