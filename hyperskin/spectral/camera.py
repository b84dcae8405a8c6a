"""What a consumer camera sees: cube -> RGB of many cameras at once, and the 960 nm band beside it; no JPEG."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hyperskin.bands import INFRARED_NM, Bands
from hyperskin.cube import Cube, require_cube
from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.spectral.colour import (
    OBSERVER_BANDS,
    Floats,
    Illuminant,
    covered_share,
    describe_coverage,
    illuminant_power,
    interpolate,
    read_table,
    srgb_operator,
    trapezoid_weights,
)
from hyperskin.spectral.rendering import Exposure, Operator, Picture, Rendering, Transfer, project, render
from hyperskin.spectral.responses import (
    CameraResponse,
    camera_slug,
    measured_cameras,
    read_camera_responses,
    sim28,
)

_log = logging.getLogger(__name__)

_GOOD_COVERAGE = 0.98  # a measured camera may have 1.4 % of its red beyond the 700 nm where VIS cubes end
_LEAST_COVERAGE = 0.90

Camera = CameraResponse | Literal["cie"]
CIE: Literal["cie"] = "cie"
"""The standard observer in the place of a camera: the colours a person would see."""


def slug_of(camera: Camera) -> str:
    """Return the key of a camera or of the standard observer."""
    return camera if isinstance(camera, str) else camera.slug


def find_cameras(names: Iterable[str], camera_file: Path | None = None) -> list[Camera]:
    """Return the cameras with these keys, in this order.

    Args:
        names: "cie", keys of the two measured cameras that ship (nikon_5100_npl, sigma_sdmerill_npl), "sim28_01" to
            "sim28_28", and keys of cameras in `camera_file`. "sim28" stands for all simulated cameras, "file" for all
            in the file. A camera named twice comes once.
        camera_file: A person's own file of responses, see `read_camera_responses`; its cameras go before those that
            ship under the same key.

    Returns:
        Responses, or `CIE` for "cie".

    Raises:
        UnknownNameError: A name is not known; the message lists near ones.
        DataError: The file cannot be read, or calls a camera cie, file or sim28.
        MissingFileError: There is no file at `camera_file`.

    Examples:
        >>> [slug_of(camera) for camera in find_cameras(["cie", "sim28_07"])]
        ['cie', 'sim28_07']
    """
    own = read_camera_responses(camera_file) if camera_file is not None else {}
    groups = {"sim28": list(sim28()), "file": list(own)}
    if taken := sorted(({CIE} | groups.keys() | sim28().keys()) & own.keys()):
        raise DataError(f"{camera_file} must give its cameras names of their own; {', '.join(taken)} is ours.")
    known: dict[str, Camera] = {CIE: CIE, **sim28(), **measured_cameras(), **own}
    wanted: dict[str, Camera] = {}
    for name in names:
        for slug in groups.get(name, [name]):
            if slug not in known:
                raise UnknownNameError(_explain_unknown(name, list(known), camera_file))
            wanted[slug] = known[slug]
    return list(wanted.values())


def find_camera(name: str, camera_file: Path | None = None) -> Camera:
    """Return the camera with this key; see `find_cameras`."""
    cameras = find_cameras([name], camera_file)
    if len(cameras) != 1:
        raise UnknownNameError(f"`name` must be the key of one camera; {name!r} stands for {len(cameras)}.")
    return cameras[0]


def render_cameras(
    cube: Cube,
    bands: Bands,
    cameras: Sequence[Camera],
    *,
    illuminant: Illuminant,
    colour_correction: bool,
    exposure: Exposure,
    transfer: Transfer,
) -> Rendering:
    """Return the cube as every camera would have taken it, white-balanced.

    Args:
        cube: Reflectance, (H, W, C).
        bands: The cube's bands.
        cameras: From `find_cameras`, each once.
        illuminant: The light on the scene.
        colour_correction: Turn each camera's own colours into sRGB by its best 3 x 3 matrix.
        exposure: What becomes 1: "none" = a perfect white reflector, "max" or "p99.9" = the picture's own brightest.
        transfer: "srgb" for a screen, or "linear".

    Returns:
        Pictures (H, W, 3) float32 in [0, 1] by key, the valid pixels, and clipped counts by key.

    Raises:
        ShapeError: The cube is not (H, W, C) of floats with a band for each of `bands`.
        DataError: The bands see less than 90 % of what a channel answers to.
        UnknownNameError: An option has none of its values.

    Source:
        A linear camera under a known light, as in Jiang et al., WACV (2013).
    """
    operators = {
        slug_of(camera): camera_operator(camera, bands, illuminant=illuminant, colour_correction=colour_correction)
        for camera in cameras
    }
    rendering = render(cube, operators, exposure=exposure, transfer=transfer)
    _log.debug("clipped values (below 0, above 1): %s", rendering.clipped)
    return rendering


def render_camera(
    cube: Cube,
    bands: Bands,
    camera: Camera,
    *,
    illuminant: Illuminant = "d65",
    colour_correction: bool = False,
) -> Picture:
    """Return the camera's linear, white-balanced, unclipped picture, (H, W, 3) float32, perfect reflector = 1.

    Raises:
        ShapeError: The cube is not (H, W, C) of floats with a band for each of `bands`.
        DataError: The bands see less than 90 % of what a channel answers to.
    """
    operator = camera_operator(camera, bands, illuminant=illuminant, colour_correction=colour_correction)
    return project(cube, [operator])[0][0]


def camera_operator(
    camera: Camera, bands: Bands, *, illuminant: Illuminant = "d65", colour_correction: bool = False
) -> Operator:
    """Return what turns reflectance on `bands` into the camera's linear RGB.

    Args:
        camera: A response, or `CIE` for the standard observer's sRGB, which needs no correction.
        bands: The cube's bands; what the camera sees beyond them is left out of scene and white alike.
        illuminant: The light on the scene.
        colour_correction: Apply the camera's best 3 x 3 matrix to linear sRGB, see `correction_matrix`.

    Returns:
        (C, 3) float64; each column sums to 1, so a perfect reflector is (1, 1, 1).

    Raises:
        DataError: The bands see less than 90 % of what a channel answers to.
        UnknownNameError: `illuminant` is not known.
    """
    if isinstance(camera, str):
        return srgb_operator(bands, illuminant=illuminant)
    _warn_or_refuse(camera, bands, illuminant)
    operator = _balanced_response(camera, bands, illuminant)
    if colour_correction:
        operator = operator @ correction_matrix(operator, bands, illuminant=illuminant)
    return operator


def correction_matrix(operator: Operator, bands: Bands, *, illuminant: Illuminant = "d65") -> Floats:
    """Return the matrix from a camera's balanced RGB to linear sRGB that fits the 24 ColorChecker patches best.

    Least squares over the patches, among the matrices that leave white where it is: over 28 measured cameras that
    gives a smaller mean CIEDE2000 (1.04) than the unconstrained fit (1.15), which tints white by up to 5 %.

    Args:
        operator: The camera's balanced operator on `bands`, (C, 3).
        bands: The bands it was made for.
        illuminant: The light on the patches.

    Returns:
        (3, 3) float64, columns summing to 1: `rgb @ matrix` is linear sRGB.

    Source:
        Finlayson and Drew, "White-point preserving color correction", Color and Imaging Conference (1997).
    """
    rgb = _patches_on(bands) @ operator
    target = _true_patches(illuminant)
    # rows add up to 1 where the last is one minus the others, so fit what differs from the last channel
    free, *_ = np.linalg.lstsq(rgb[:, :2] - rgb[:, 2:], target - rgb[:, 2:], rcond=None)
    return np.vstack([free, 1 - free.sum(axis=0)])


def infrared_band(cube: Cube, bands: Bands) -> npt.NDArray[np.float32]:
    """Return reflectance at 960 nm, (H, W) float32, between two bands by linear interpolation.

    Raises:
        ShapeError: The cube is not (H, W, C) of floats with a band for each of `bands`.
        DataError: The bands do not reach 960 nm.
    """
    require_cube("cube", cube)
    if cube.shape[2] != len(bands):
        raise ShapeError(f"`cube` must have a band for each of the {len(bands)} in `bands`; got shape {cube.shape}.")
    centres_nm = bands.centres_nm()
    if not centres_nm[0] <= INFRARED_NM <= centres_nm[-1]:
        raise DataError(f"`bands` must reach {INFRARED_NM:g} nm; got {centres_nm[0]:g} to {centres_nm[-1]:g} nm.")
    right = int(np.searchsorted(centres_nm, INFRARED_NM))
    if centres_nm[right] == INFRARED_NM:
        return cube[..., right].astype(np.float32)
    share = (INFRARED_NM - centres_nm[right - 1]) / (centres_nm[right] - centres_nm[right - 1])
    between: npt.NDArray[np.float32] = (
        cube[..., right - 1] * np.float32(1 - share) + cube[..., right] * np.float32(share)
    ).astype(np.float32, copy=False)
    return between


def _balanced_response(camera: CameraResponse, bands: Bands, illuminant: Illuminant) -> Operator:
    centres_nm = bands.centres_nm()
    light = illuminant_power(illuminant, centres_nm) * trapezoid_weights(bands)
    operator = interpolate(camera.wavelength_nm, camera.sensitivity, centres_nm) * light[:, None]
    balanced: Operator = operator / operator.sum(axis=0)
    return balanced


def _warn_or_refuse(camera: CameraResponse, bands: Bands, illuminant: Illuminant) -> None:
    fine_nm = np.arange(camera.wavelength_nm[0], camera.wavelength_nm[-1] + 0.5)
    response = interpolate(camera.wavelength_nm, camera.sensitivity, fine_nm)
    shares = covered_share(bands, fine_nm, response * illuminant_power(illuminant, fine_nm)[:, None])
    if shares.min() >= _GOOD_COVERAGE:
        return
    found = describe_coverage(dict(zip("RGB", shares.tolist(), strict=True)), bands)
    if shares.min() < _LEAST_COVERAGE:
        raise DataError(f"Camera {camera.name!r} needs bands that see {_LEAST_COVERAGE:.0%} of its channels; {found}.")
    _log.warning("colours of camera %s are a little off: %s", camera.name, found)


@cache
def _patches_on(bands: Bands) -> Floats:
    """Return reflectance of the 24 ColorChecker patches on `bands`, (24, C), held constant outside 380..780 nm."""
    table = read_table("colour_checker.csv")
    patches = np.stack([values for name, values in table.items() if name != "wavelength_nm"], axis=1)
    return interpolate(table["wavelength_nm"], patches, bands.centres_nm().clip(380, 780)).T


@cache
def _true_patches(illuminant: Illuminant) -> Floats:
    """Return the patches' linear sRGB as a person adapted to the light sees them, (24, 3)."""
    colours: Floats = _patches_on(OBSERVER_BANDS) @ srgb_operator(OBSERVER_BANDS, illuminant=illuminant)
    return colours


def _explain_unknown(name: str, known: Sequence[str], camera_file: Path | None) -> str:
    try:
        near = difflib.get_close_matches(camera_slug(name), known, n=3)
    except DataError:
        near = []
    others = [slug for slug in known if not slug.startswith("sim28_")]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are sim28_01 to sim28_28, {', '.join(others)}."
    where = "" if camera_file is not None else " Cameras measured by others need `camera_file`."
    return f"`cameras` must name known cameras; got {name!r}: {hint}{where}"
