"""Cube -> subject mask: which pixels are living skin, told by blood and melanin, with the boundary at half coverage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hyperskin.bands import Bands
from hyperskin.cube import Cube, require_cube, require_mask
from hyperskin.errors import DataError, ShapeError

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Levels = dict[str, Floats]
"""Mean reflectance within each window of wavelengths, (H, W)."""

# Where blood and melanin leave their marks: haemoglobin's Soret band, its alpha and beta bands (the trough) between two
# shoulders, and the red end where little but melanin absorbs.
_WINDOWS_NM = {
    "soret": (420.0, 440.0),
    "blue": (450.0, 470.0),
    "green_shoulder": (500.0, 520.0),
    "trough": (540.0, 580.0),
    "red_shoulder": (600.0, 620.0),
    "red_end": (680.0, 700.0),
}
_EDGE_WINDOWS = ("blue", "green_shoulder", "trough", "red_shoulder", "red_end")

# Widest ranges met in measured forearms (NIST, 100 persons), cheeks (ISETCam, 71) and the optical model of six skin
# types, with room for noise. Hair has no trough, paints have too deep or too tilted a one.
_LIVING_SKIN = {
    "trough_depth": (0.05, 0.70),
    "blood_edge": (0.18, 1.00),
    "red_slope": (0.03, 0.75),
    "blue_slope": (-0.05, 0.65),
    "green_slope": (-0.40, 0.30),
}
_FAINTEST = 1e-3
_DRIFT = 0.003  # by which a dark level that has drifted since its reference moves the blue, where lamps are weak
# At the boundary: sides that differ by less (relative) are not told apart; a pixel strays from its surroundings by a
# noise (reflectance) and by its own share of pigments (relative); shading makes it darker or brighter than they are.
_LEAST_CONTRAST = 0.2
_STRAY = 0.008
_VARIATION = 0.05
_SHADING = 0.25
_AROUND = np.ones((3, 3), dtype=np.bool_)


class Shape(NamedTuple):
    """Differences of log reflectance between windows: the shape of a spectrum, whatever its brightness.

    Attributes:
        trough_depth: How far 540-580 nm lies below the mean of its two shoulders; blood, and hardly anything else.
        blood_edge: Rise from 560 to 610 nm.
        red_slope: Rise from 610 to 690 nm; melanin.
        blue_slope: Rise from 460 to 510 nm; melanin.
        green_slope: Fall from 510 to 560 nm; blood over melanin.
        soret_depth: How far 430 nm lies below 510 nm; blood, and no ink that imitates it.
    """

    trough_depth: Floats
    blood_edge: Floats
    red_slope: Floats
    blue_slope: Floats
    green_slope: Floats
    soret_depth: Floats


def subject_mask(
    cube: Cube,
    bands: Bands,
    valid: Bools,
    *,
    smallest_fraction: float = 0.005,
    smoothing_px: int = 5,
    darkest: float = 0.15,
    least_pigment: float = 1.2,
    edge_px: int = 3,
    edge_rounds: int = 4,
) -> Bools:
    """Return where the cube shows living skin, with brows, eyes, lips and teeth inside it.

    Hair, clothes, walls and printed faces are background. First every pixel is judged by the shape of its spectrum
    alone, so that shading does not count; regions whose violet absorption does not match their blood are inks and go;
    then the boundary moves to where a pixel is half subject, half background, judged by its own surroundings.

    Args:
        cube: Reflectance, (H, W, C), linear in light.
        bands: Its bands; those within 420-700 nm are used.
        valid: (H, W), True = measured.
        smallest_fraction: A region smaller than this part of the frame is none.
        smoothing_px: Side of the square over which noise is averaged before pixels are judged.
        darkest: A pixel whose red reflectance is below this part of the subject's median is too dark to judge.
        least_pigment: A region's Soret depth and red slope together must reach this many times its trough depth.
            Living skin of any type has 1.3 and more, a printed face 0.7.
        edge_px: The boundary is placed by the mean spectra within this distance on either side.
        edge_rounds: How often the boundary may move, a pixel at most each time.

    Returns:
        (H, W) bool, True = subject; all False where nothing looks like skin.

    Raises:
        ShapeError: The shapes do not fit.
        DataError: The cube has no band in one of the windows from 420 to 700 nm.

    Source:
        Blood's bands and melanin's slope as in J. B. Dawson et al., "A theoretical and experimental study of light
        absorption and scattering by in vivo skin", Phys. Med. Biol. 25 (1980). The boundary is linear unmixing of two
        spectra, N. Keshava, J. F. Mustard, "Spectral unmixing", IEEE Signal Processing Magazine 19 (2002).
    """
    require_cube("cube", cube)
    require_mask("valid", valid, (cube.shape[0], cube.shape[1]))
    if cube.shape[2] != len(bands):
        raise ShapeError(f"`bands` must name the {cube.shape[2]} bands of `cube`; got {len(bands)}.")
    valid = valid.astype(np.bool_)
    smallest_px = smallest_fraction * valid.size
    levels, known = _measure_levels(cube, bands, valid)
    subject = _find_skin(levels, known, smoothing_px=smoothing_px, darkest=darkest, smallest_px=smallest_px)
    subject = _drop_inks(subject, levels, least_pigment)
    if not subject.any():
        return subject
    subject = ndimage.binary_fill_holes(subject)
    subject = _settle_edge(subject, levels, known, edge_px=edge_px, rounds=edge_rounds)
    subject = ndimage.binary_opening(ndimage.binary_fill_holes(subject), _AROUND)
    return _keep_large(subject, smallest_px) & valid


def _measure_levels(cube: Cube, bands: Bands, valid: Bools) -> tuple[Levels, Bools]:
    """Return the mean reflectance in every window, 0 where it is not known, and where it is known."""
    centres_nm = bands.centres_nm()
    levels: Levels = {}
    known = valid.copy()
    for name, (first_nm, last_nm) in _WINDOWS_NM.items():
        inside = np.flatnonzero((centres_nm >= first_nm) & (centres_nm <= last_nm))
        if inside.size == 0:
            raise DataError(
                f"A subject mask needs a band within {first_nm:g} to {last_nm:g} nm; the cube spans "
                f"{centres_nm[0]:g} to {centres_nm[-1]:g} nm."
            )
        with np.errstate(invalid="ignore"):  # inf - inf, where nothing was measured
            levels[name] = cube[..., inside[0] : inside[-1] + 1].mean(axis=2, dtype=np.float64)
        known &= np.isfinite(levels[name])
    return {name: np.where(known, level, 0.0) for name, level in levels.items()}, known


def _measure_shape(levels: Levels) -> Shape:
    log = {name: np.log(np.maximum(level, _FAINTEST)) for name, level in levels.items()}
    return Shape(
        trough_depth=0.5 * (log["green_shoulder"] + log["red_shoulder"]) - log["trough"],
        blood_edge=log["red_shoulder"] - log["trough"],
        red_slope=log["red_end"] - log["red_shoulder"],
        blue_slope=log["green_shoulder"] - log["blue"],
        green_slope=log["green_shoulder"] - log["trough"],
        soret_depth=log["green_shoulder"] - log["soret"],
    )


def _find_skin(levels: Levels, known: Bools, *, smoothing_px: int, darkest: float, smallest_px: float) -> Bools:
    """Return the regions whose averaged spectra have the shape of living skin."""
    share = np.maximum(_average(known, smoothing_px), 1e-9)
    smooth = {name: _average(level, smoothing_px) / share for name, level in levels.items()}
    shape = _measure_shape(smooth)
    skin = known & (smooth["red_end"] > _FAINTEST)
    blue_drift = _DRIFT / np.maximum(smooth["blue"], _FAINTEST)
    for name, (low, high) in _LIVING_SKIN.items():
        index: Floats = getattr(shape, name)
        room = blue_drift if name == "blue_slope" else 0.0
        skin &= (index >= low - room) & (index <= high + room)
    skin = _keep_large(ndimage.binary_opening(skin, _AROUND), smallest_px)
    if skin.any():
        skin &= smooth["red_end"] >= darkest * np.median(smooth["red_end"][skin])
    return _keep_large(skin, smallest_px)


def _drop_inks(skin: Bools, levels: Levels, least_pigment: float) -> Bools:
    """Return the regions whose mean spectrum absorbs violet and red as blood and melanin together do.

    Judged by region: at 420-440 nm, where lamps are weak, a single pixel is mostly noise.
    """
    regions, count = ndimage.label(skin)
    if count == 0:
        return skin
    numbers = np.arange(1, count + 1)
    shape = _measure_shape({name: ndimage.mean(level, regions, numbers) for name, level in levels.items()})
    is_alive = np.zeros(count + 1, dtype=np.bool_)
    is_alive[1:] = shape.soret_depth + shape.red_slope >= least_pigment * shape.trough_depth
    kept: Bools = is_alive[regions]
    return kept


def _settle_edge(subject: Bools, levels: Levels, known: Bools, *, edge_px: int, rounds: int) -> Bools:
    """Return the subject with its boundary where the spectra are half of either side."""
    spectra = [levels[name] for name in _EDGE_WINDOWS]
    for _ in range(rounds):
        inside = ndimage.binary_erosion(subject, _AROUND, border_value=1)
        outside = ~ndimage.binary_dilation(subject, _AROUND)
        moved = _assign_edge(subject, inside & known, outside & known, ~inside & ~outside & known, spectra, edge_px)
        if np.array_equal(moved, subject):
            break
        subject = moved
    return subject


def _assign_edge(
    subject: Bools, inside: Bools, outside: Bools, edge: Bools, spectra: list[Floats], edge_px: int
) -> Bools:
    """Return the subject with every edge pixel on the side it has more of; without contrast it stays."""
    side_px = 2 * edge_px + 1
    inside_share, outside_share = _average(inside, side_px), _average(outside, side_px)
    edge = edge & (inside_share > 1e-9) & (outside_share > 1e-9)
    own = np.stack([level[edge] for level in spectra], axis=1)
    ours = _average_beside(inside, inside_share, spectra, edge, side_px)
    theirs = _average_beside(outside, outside_share, spectra, edge, side_px)
    is_decided = _dot(ours - theirs, ours - theirs) > _LEAST_CONTRAST**2 * _dot(ours, ours)
    moved = subject.copy()
    moved[edge] = np.where(is_decided, _has_more_of(own, ours, theirs), subject[edge])
    return moved


def _has_more_of(own: Floats, ours: Floats, theirs: Floats) -> Bools:
    """Return whether `own` = a `ours` + b `theirs` has a > b, by least squares, each (N, windows).

    A cheek that turns away is dark and yet all skin, so a + b need not be 1; but before a black wall only brightness
    tells how much of a pixel is covered, so 1 is expected, give or take `_SHADING`.
    """
    precision = 1.0 / (_STRAY**2 + _VARIATION**2 * _dot(own, own))
    prior = 1.0 / _SHADING**2
    across = precision * _dot(ours, theirs) + prior
    for_ours = (precision * _dot(ours, own) + prior) * (precision * _dot(theirs, theirs) + prior + across)
    for_theirs = (precision * _dot(theirs, own) + prior) * (precision * _dot(ours, ours) + prior + across)
    more: Bools = for_ours > for_theirs
    return more


def _average_beside(side: Bools, share: Floats, spectra: list[Floats], edge: Bools, side_px: int) -> Floats:
    """Return the mean spectrum of the side's pixels around every edge pixel, (N, windows)."""
    sums = [_average(np.where(side, level, 0.0), side_px)[edge] for level in spectra]
    return np.stack(sums, axis=1) / share[edge][:, None]


def _dot(a: Floats, b: Floats) -> Floats:
    product: Floats = np.einsum("nw,nw->n", a, b)
    return product


def _average(values: Floats | Bools, side_px: int) -> Floats:
    """Return the mean over a square around every pixel, zero beyond the frame."""
    mean: Floats = ndimage.uniform_filter(values.astype(np.float64), side_px, mode="constant")
    return mean


def _keep_large(mask: Bools, smallest_px: float) -> Bools:
    """Return the connected regions of at least `smallest_px` pixels."""
    regions, _ = ndimage.label(mask)
    sizes = np.bincount(regions.ravel())
    large = sizes >= smallest_px
    large[0] = False
    kept: Bools = large[regions]
    return kept
