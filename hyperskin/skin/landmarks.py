"""Cube and subject mask -> bare skin, and where eyes and mouth are, told by blood or else by the outline."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from hyperskin.bands import Bands
from hyperskin.cube import Cube, require_cube, require_mask
from hyperskin.errors import EmptyMaskError, ShapeError

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Point = tuple[float, float]
"""(row, column) in px."""
Direction = Literal["front", "left", "right"]

# Numbers without a source, here and below, were chosen on phantoms of 64 to 128 px.
# Between these lie haemoglobin's alpha and beta bands: shoulder, trough, shoulder; melanin's slope at both ends.
_WINDOWS_NM = ((450.0, 470.0), (500.0, 520.0), (540.0, 580.0), (600.0, 620.0), (680.0, 700.0))
_FAINTEST = 1e-3
_ODD, _FAINTLY_ODD = 4.2, 1.75
"""How many times as far from the subject's usual skin as half of it is: no skin, and perhaps none."""
_BLOODLESS = 4.0
"""Below the usual blood by so many times its own spread: hair and eyes, however usual for a bearded subject."""
_PALE, _RED = -1.0, 1.5
"""Eyes hold less blood than this, in the same unit, and lips more."""
_ENOUGH = 2.5
"""Odder than this, or redder by more than this, counts no more: nostrils and shadows are odder than lips."""
_UNLIKE, _FULL_OF_BLOOD, _LIPS = 1.6, 2.5, 0.5
"""Lips are odder than this, and hold more blood than this and than this part of the reddest place at the mouth."""
_FLAT = 0.75
"""Hair is there where the mean spectrum over a few pixels rises less than this part of what is usual."""
_AROUND = 0.05  # of the subject's size: those few pixels
# Places in the face's coordinates: how far to the sides, from where and to where down.
_EYES_AND_BROWS = (2.1, -0.65, 0.35)
_MOUTH = (1.25, 0.55, 1.45)
_MOUTH_HEIGHT = 0.45  # half of it
_BEARDLESS = (1.5, -0.9, 0.6)
_FEWEST = 30  # pixels that say what is usual
_ROUNDS = 6
_KEPT = 0.75  # of the pixels, whose spread is what is usual

# Shares of the subject's size, the square root of the mask's area.
_EYE_SIZE, _MOUTH_SIZE = 0.035, 0.035
_EDGE = 0.012
_MOUTH_WIDTH = 0.36
_FAINT = 0.15  # a candidate below this part of the strongest is none
_MOST_CANDIDATES = 14
_LARGEST_ROLL = math.radians(30.0)
# A face, seen from the front or turned by 40 degrees: eye distance over the way from eyes to mouth, and how far the
# mouth lies off the middle between the eyes, in eye distances. From the front the first is 0.9, turned 0.6 to 0.7, with
# the chin raised 1.2; eyes much further apart than the mouth is below them are not two of one face.
_EYES_TO_HEIGHT = {"front": 0.90, "left": 0.70, "right": 0.70, None: 0.85}
_WIDEST = {"front": 1.35, "left": 1.05, "right": 1.05, None: 1.35}
_EYES_SPREAD = 0.20
_OFF_MIDDLE = 0.22
_HEIGHT_TO_SIZE, _HEIGHT_SPREAD = 0.42, 0.32
_LEAST_SCORE = 0.02

# A face by its outline alone: rows below the hairline and eye distance, in widths of the mask at the eyes.
_OUTLINE_EYES, _OUTLINE_MOUTH, _OUTLINE_DISTANCE = 0.29, 0.66, 0.36
_TURNS = {"front": 0.0, "left": 0.45, "right": -0.45}  # of a face by where it looks; seen ones lie within 0.2 of it
_CONTRADICTS = 0.3


@dataclass(frozen=True)
class Landmarks:
    """Where a face lies in the picture; right and left are the subject's own.

    Attributes:
        right_eye: Its middle; in the picture it lies on the left.
        left_eye: The same.
        mouth: The middle of the mouth.
        turn: How far the middle of the face lies off the middle of the mask towards the subject's left, as a share of
            half its width: 0 from the front, about 0.5 where the head is turned by 40 degrees.
        found_by: "features" where eyes and mouth were seen, "outline" where the mask's outline had to do.
    """

    right_eye: Point
    left_eye: Point
    mouth: Point
    turn: float
    found_by: Literal["features", "outline"]


class _Judgement(NamedTuple):
    """How pixels compare with the subject's usual skin, (H, W) each.

    Attributes:
        oddness: Distance of the spectrum's shape, in medians of what is usual.
        blood: Depth of haemoglobin's trough, in median deviations from the usual.
        rise: Difference of log reflectance between 610 and 460 nm, as a share of the usual one.
    """

    oddness: Floats
    blood: Floats
    rise: Floats


class _Candidate(NamedTuple):
    row: float
    column: float
    strength: float


def bare_skin(cube: Cube, bands: Bands, mask: Bools, landmarks: Landmarks) -> Bools:
    """Return where the subject is bare skin: without eyes, brows, lips, teeth, beard and the pixels at their edges.

    The subject's own skin between mouth and hairline, where no beard grows, is the measure, so that no type of skin is
    odd by itself. Brightness does not count. A mole stays: odd skin is left out only about eyes and mouth. Where the
    cube does not span 450 to 700 nm, the mask is returned without its edge.

    Args:
        cube: Reflectance, (H, W, C).
        bands: Its bands.
        mask: (H, W) bool, True = subject.
        landmarks: Where its face lies.

    Raises:
        ShapeError: The shapes do not fit.
        EmptyMaskError: The mask selects no pixel.

    Source:
        Robust distance by trimming, after P. J. Rousseeuw, K. Van Driessen, "A fast algorithm for the minimum
        covariance determinant estimator", Technometrics 41 (1999).
    """
    _check(cube, bands, mask)
    inside = np.asarray(ndimage.binary_erosion(mask, border_value=1), dtype=np.bool_)
    if _windows(bands) is None:
        return inside
    across, down = face_coordinates(landmarks, mask.shape)
    usual = mask & _is_within(_BEARDLESS, across, down)
    oddness, blood, rise = _judge(cube, bands, mask, usual)
    at_eyes, at_mouth = (mask & _is_within(place, across, down) for place in (_EYES_AND_BROWS, _MOUTH))
    reddest = float(np.percentile(blood[at_mouth], 95)) if at_mouth.any() else 0.0  # a flushed cheek may be as red
    on_mouth = at_mouth & ((across / _MOUTH[0]) ** 2 + ((down - 1) / _MOUTH_HEIGHT) ** 2 < 1)
    lips = on_mouth & (oddness > _UNLIKE) & (blood > max(_FULL_OF_BLOOD, _LIPS * reddest))
    hair = mask & (_average(rise, mask) < _FLAT)  # a beard lets skin through, whose spectrum it flattens
    odd = (at_eyes | at_mouth) & (oddness > _ODD)
    covered = lips | hair | odd | (mask & (blood < -_BLOODLESS))
    solid = ndimage.binary_opening(covered, np.ones((2, 2), dtype=np.bool_))  # a single pixel is noise
    return np.asarray(inside & ~covered & ~ndimage.binary_dilation(solid), dtype=np.bool_)


def find_landmarks(cube: Cube, bands: Bands, mask: Bools, *, direction: Direction | None = None) -> Landmarks:
    """Return where eyes and mouth are.

    Eyes hold less blood than any skin, lips more; of all places that do, the two and the one are taken that lie as a
    face has them. Where there are none, where they look elsewhere than the subject does, or where the bands cannot
    tell, the outline of the mask has to do.

    Args:
        cube: Reflectance, (H, W, C).
        bands: Its bands.
        mask: (H, W) bool, True = subject, neck included or not.
        direction: Where the subject looks, as far as it is known.

    Raises:
        ShapeError: The shapes do not fit.
        EmptyMaskError: The mask selects no pixel.
    """
    _check(cube, bands, mask)
    filled = ndimage.binary_fill_holes(mask)
    if _windows(bands) is not None and (found := _find_features(cube, bands, mask, direction)) is not None:
        right, left, mouth = found
        turn = _measure_turn(filled, right, left, mouth)
        if direction is None or abs(turn - _TURNS[direction]) < _CONTRADICTS:
            return Landmarks(right, left, mouth, turn, "features")
    return _guess_from_outline(filled, direction)


def _check(cube: Cube, bands: Bands, mask: Bools) -> None:
    require_cube("cube", cube)
    require_mask("mask", mask, (cube.shape[0], cube.shape[1]))
    if cube.shape[2] != len(bands):
        raise ShapeError(f"`bands` must name the {cube.shape[2]} bands of `cube`; got {len(bands)}.")
    if not mask.any():
        raise EmptyMaskError("`mask` must select a pixel; it selects none.")


def _windows(bands: Bands) -> list[npt.NDArray[np.intp]] | None:
    """Return which bands lie in each window, or None where one holds none."""
    centres_nm = bands.centres_nm()
    inside = [np.flatnonzero((centres_nm >= first) & (centres_nm <= last)) for first, last in _WINDOWS_NM]
    return inside if all(found.size for found in inside) else None


def face_coordinates(landmarks: Landmarks, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return where in the face every pixel lies, (H, W) each.

    Returns:
        Towards the subject's left: 0 in the middle, 1 at the left eye, -1 at the right one. And down: 0 at the eyes, 1
        at the mouth.

    Examples:
        >>> face = Landmarks((1.0, 1.0), (1.0, 3.0), (4.0, 2.0), 0.0, "features")
        >>> across, down = face_coordinates(face, (5, 5))
        >>> across[1].tolist(), down[:, 2].round(2).tolist()
        ([-2.0, -1.0, 0.0, 1.0, 2.0], [-0.33, 0.0, 0.33, 0.67, 1.0])
    """
    frame = face_frame(landmarks)
    rows, columns = np.indices(shape[:2], dtype=np.float64)
    inverse = np.linalg.inv(frame[:, :2])
    away = np.stack([rows - frame[0, 2], columns - frame[1, 2]])
    across, down = np.einsum("ij,jhw->ihw", inverse, away)
    return across, down


def face_frame(landmarks: Landmarks) -> Floats:
    """Return the matrix, (2, 3), that takes (across, down, 1) to (row, column)."""
    right, left, mouth = (np.asarray(point) for point in (landmarks.right_eye, landmarks.left_eye, landmarks.mouth))
    middle = (right + left) / 2
    return np.stack([(left - right) / 2, mouth - middle, middle], axis=1)


def _judge(cube: Cube, bands: Bands, mask: Bools, usual: Bools | None = None) -> _Judgement:
    """Return how every pixel of the subject compares with what is usual; 0 elsewhere.

    What is usual is learnt from `usual` where that holds enough pixels, else from all.
    """
    windows = _windows(bands)
    assert windows is not None
    spectra = cube[mask]
    levels = np.stack([spectra[:, inside].mean(axis=1, dtype=np.float64) for inside in windows], axis=1)
    log = np.log(np.maximum(np.nan_to_num(levels), _FAINTEST))
    shape = (log - log.mean(axis=1, keepdims=True))[:, :-1]  # the last follows from the others
    trough = 0.5 * (log[:, 1] + log[:, 3]) - log[:, 2]
    known = np.ones(len(shape), dtype=np.bool_) if usual is None else usual[mask]
    if known.sum() < _FEWEST:
        known = np.ones(len(shape), dtype=np.bool_)
    oddness, blood, rise = (np.zeros(mask.shape) for _ in range(3))
    oddness[mask] = _distance(shape, known)
    middle = np.median(trough[known])
    blood[mask] = (trough - middle) / max(float(np.median(np.abs(trough[known] - middle))), 1e-6)
    steepness = log[:, 3] - log[:, 0]
    rise[mask] = steepness / max(float(np.median(steepness[known])), 1e-6)
    return _Judgement(oddness, blood, rise)


def _distance(shape: Floats, known: Bools) -> Floats:
    """Return how far each row of (N, F) lies from the bulk of the `known` ones; half of these lie within 1."""
    distance = np.ones(len(shape))
    chosen = known
    for _ in range(_ROUNDS):
        spread = np.atleast_2d(np.cov(shape[chosen].T)) if chosen.sum() > 1 else np.eye(shape.shape[1])
        away = shape - np.median(shape[chosen], axis=0)
        inverse = np.linalg.inv(spread + 1e-6 * np.eye(shape.shape[1]))
        distance = np.sqrt(np.maximum(np.vecdot(away @ inverse, away), 0))
        chosen = known & (distance <= np.quantile(distance[known], _KEPT))
    return np.asarray(distance / max(float(np.median(distance[known])), 1e-9))


def _find_features(
    cube: Cube, bands: Bands, mask: Bools, direction: Direction | None
) -> tuple[Point, Point, Point] | None:
    """Return right eye, left eye and mouth, or None where nothing lies as a face has them."""
    filled = ndimage.binary_fill_holes(mask)  # a mask may leave out the very eyes that are looked for
    size = math.sqrt(np.count_nonzero(filled))
    oddness, blood, _ = _judge(cube, bands, filled)
    edge_px = max(1, round(_EDGE * size))  # where a pixel is half hair, half skin
    inner = ndimage.binary_erosion(filled, iterations=edge_px, border_value=1)
    excess = np.where(inner, np.clip(oddness - _FAINTLY_ODD, 0, 8), 0)
    lips = np.minimum(excess, _ENOUGH) * np.clip(blood - _RED, 0, _ENOUGH)
    eyes = _candidates(np.where(blood < _PALE, excess, 0), _EYE_SIZE * size)
    mouths = [_centre(lips, mouth, _MOUTH_WIDTH * size) for mouth in _candidates(lips, _MOUTH_SIZE * size)]
    best: tuple[float, tuple[Point, Point, Point] | None] = (_LEAST_SCORE, None)
    for (first, second), mouth in itertools.product(itertools.combinations(eyes, 2), mouths):
        right, left = sorted((first, second), key=lambda eye: eye.column)
        score = math.sqrt(right.strength * left.strength * mouth.strength) * _likelihood(
            right, left, mouth, size, direction
        )
        if score > best[0]:
            best = score, (right[:2], left[:2], mouth[:2])
    return best[1]


def _candidates(signal: Floats, sigma_px: float) -> list[_Candidate]:
    """Return the strongest places of a signal, seen with a blur of its size, the strongest as 1."""
    blurred = ndimage.gaussian_filter(signal, max(sigma_px, 0.8))
    highest = float(blurred.max())
    if highest <= 0:
        return []
    side = 2 * math.ceil(2 * max(sigma_px, 0.8)) + 1
    is_peak = (blurred == ndimage.maximum_filter(blurred, side)) & (blurred > _FAINT * highest)
    rows, columns = np.nonzero(is_peak)
    strengths = blurred[is_peak] / highest
    order = np.argsort(-strengths)[:_MOST_CANDIDATES]
    return [_Candidate(float(rows[i]), float(columns[i]), float(strengths[i])) for i in order]


def _centre(signal: Floats, candidate: _Candidate, width_px: float) -> _Candidate:
    """Return the candidate moved into the middle of what is seen within a mouth's width and height around it."""
    rows, columns = np.indices(signal.shape)
    row, column, strength = candidate
    for _ in range(3):
        near = np.abs(columns - column) < width_px / 2
        weights = np.where(near & (np.abs(rows - row) < width_px / 4), signal, 0)
        total = weights.sum()
        if total <= 0:
            break
        row, column = float((weights * rows).sum() / total), float((weights * columns).sum() / total)
    return _Candidate(row, column, strength)


def _likelihood(
    right: _Candidate, left: _Candidate, mouth: _Candidate, size: float, direction: Direction | None
) -> float:
    """Return how much two places and a third look like the eyes and mouth of a face, within [0, 1]."""
    across = np.array([left.row - right.row, left.column - right.column])
    distance = float(np.hypot(*across))
    down = np.array([mouth.row - (left.row + right.row) / 2, mouth.column - (left.column + right.column) / 2])
    roll = math.atan2(across[0], across[1])
    along, height = float(down @ across) / distance, float(down[0] * across[1] - down[1] * across[0]) / distance
    if abs(roll) > _LARGEST_ROLL or distance >= _WIDEST[direction] * height:
        return 0.0
    strange = (
        (math.log(distance / height / _EYES_TO_HEIGHT[direction]) / _EYES_SPREAD) ** 2
        + (along / distance / _OFF_MIDDLE) ** 2
        + (math.log(height / size / _HEIGHT_TO_SIZE) / _HEIGHT_SPREAD) ** 2
        + (roll / _LARGEST_ROLL) ** 2
    )
    return math.exp(-0.5 * strange)


def _measure_turn(filled: Bools, right: Point, left: Point, mouth: Point) -> float:
    """Return how far the middle of the face lies off that of the mask, halfway down from the eyes to the mouth."""
    row = round(((right[0] + left[0]) / 2 + mouth[0]) / 2)
    column = ((right[1] + left[1]) / 2 + mouth[1]) / 2
    inside = np.flatnonzero(filled[min(row, len(filled) - 1)])
    if inside.size < 2:
        return 0.0
    middle, half = (inside[0] + inside[-1]) / 2, (inside[-1] - inside[0]) / 2
    return float(np.clip((column - middle) / half, -1, 1))


def _guess_from_outline(filled: Bools, direction: Direction | None) -> Landmarks:
    """Return where eyes and mouth of an average face lie whose hairline and width are the mask's."""
    rows = np.flatnonzero(filled.any(axis=1))
    columns = [np.flatnonzero(filled[row]) for row in rows]
    widths = np.array([inside[-1] - inside[0] + 1 for inside in columns])
    top = int(rows[np.argmax(widths >= 0.4 * widths.max())])
    width = float(widths[(rows >= top) & (rows <= top + 0.6 * widths.max())].max())
    eye_row, mouth_row = top + _OUTLINE_EYES * width, top + _OUTLINE_MOUTH * width
    near = filled[int(top + 0.15 * width) : int(top + 0.5 * width) + 1]
    if not near.any():  # a strip that ends above its own brow
        near = filled
    inside = np.flatnonzero(near.any(axis=0))
    turn = _TURNS[direction or "front"]
    middle = float(inside[0] + inside[-1]) / 2 + turn * width / 2
    half = _OUTLINE_DISTANCE * width / 2 * math.cos(turn)
    return Landmarks((eye_row, middle - half), (eye_row, middle + half), (mouth_row, middle), turn, "outline")


def _average(values: Floats, mask: Bools) -> Floats:
    """Return the mean over the subject's pixels in a square around every pixel, a few hundredths of its size."""
    side = 2 * math.ceil(_AROUND * math.sqrt(np.count_nonzero(mask)) / 2) + 1
    share = ndimage.uniform_filter(mask.astype(np.float64), side, mode="constant")
    total = ndimage.uniform_filter(np.where(mask, values, 0.0), side, mode="constant")
    return np.asarray(total / np.maximum(share, 1e-9))


def _is_within(place: tuple[float, float, float], across: Floats, down: Floats) -> Bools:
    sides, above, below = place
    return np.asarray((np.abs(across) < sides) & (down > above) & (down < below), dtype=np.bool_)
