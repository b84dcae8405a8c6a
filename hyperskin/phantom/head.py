"""The form of a person: where a ray meets head, ears, hair, neck or shoulders, and which way the surface faces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from hyperskin.phantom.fields import Floats, Points, bump, smoothstep
from hyperskin.phantom.person import Person, Shape

AXES = np.array([0.58, 0.80, 0.70], dtype=np.float32)
"""Half axes of the average head, which the coordinates of a face refer to."""

EYE = (0.225, 0.045)
BROW_Y = 0.175
NOSE_TIP_Y = -0.165
MOUTH_Y = -0.40

_FAR = np.float32(-9.0)
_STEPS = 14
_REFINEMENTS = 5
_OUTER = 1.30


class Part(IntEnum):
    """What a ray can meet."""

    NOTHING = 0
    HEAD = 1
    EAR = 2
    HAIR = 3
    NECK = 4
    TORSO = 5


@dataclass(frozen=True)
class Pose:
    """How a person sits before the camera.

    Attributes:
        head: Rotation of the head's axes into the world's, (3, 3).
        body: The same for neck and shoulders.
        yaw: Turn of the head to the person's left, rad.
        offset: Where the head's centre is in the world, (3,).
        smile: 0 neutral to 1 smiling.
    """

    head: npt.NDArray[np.float32]
    body: npt.NDArray[np.float32]
    yaw: float
    offset: npt.NDArray[np.float32]
    smile: float


@dataclass(frozen=True)
class Hits:
    """Where rays meet a person.

    Attributes:
        part: What each ray meets first, (N,) of `Part`.
        depth: Its z in the world, (N,); larger is nearer to the camera.
        normal: Unit normals in the world, (N, 3).
        place: The head's own coordinates, (N, 3): on the average head for the head itself, elsewhere head units.
    """

    part: npt.NDArray[np.uint8]
    depth: Floats
    normal: Points
    place: Points


def turn(yaw: float, pitch: float, roll: float) -> npt.NDArray[np.float32]:
    """Return the rotation by roll, then pitch, then yaw (rad), (3, 3) float32."""
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (math.cos, math.sin))
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(around_y @ around_x @ around_z, dtype=np.float32)


def hairline(person: Person, place: Points) -> Floats:
    """Return how far, in rad, a place lies above the hairline, (N,); below zero there is no hair.

    Low behind the ears, high over the forehead, with a tongue of hair before each ear.
    """
    longitude = np.abs(np.arctan2(place[:, 0], place[:, 2]))
    latitude = np.arcsin(np.clip(place[:, 1] / np.sqrt(np.square(place).sum(axis=1)), -1, 1))
    front = person.hair.hairline - person.hair.fringe * bump(longitude, longitude, (0.25, 0.25), (0.5, 0.5))
    points = np.array([0.0, 0.45, 0.85, 1.06, 1.18, 1.30, 1.44, 1.62, 1.78, 1.95, math.pi])
    rise = np.array([0.0, 0.02, -0.10, -0.30, -0.50, -0.58, -0.48, -0.45, -0.60, -1.25, -1.30]) + person.hair.hairline
    edge = np.interp(longitude, points, rise) + (front - person.hair.hairline)
    height: Floats = (latitude - edge).astype(np.float32)
    return height


class Figure:
    """A person in a pose; asks rays where they hit."""

    def __init__(self, person: Person, pose: Pose) -> None:
        self._person, self._pose = person, pose
        self._hills = _hills(person.shape, pose.smile)

    def cast(self, x: Floats, y: Floats) -> Hits:
        """Return what rays along the camera's axis meet.

        Args:
            x: Where they pass, to the right in the picture, head units, (N,).
            y: The same upwards, (N,).
        """
        count = len(x)
        part = np.zeros(count, dtype=np.uint8)
        depth = np.full(count, _FAR, dtype=np.float32)
        normal = np.zeros((count, 3), dtype=np.float32)
        normal[:, 2] = 1
        place = np.zeros((count, 3), dtype=np.float32)
        shape, hair, pose = self._person.shape, self._person.hair, self._pose

        def put(which: Part, rays: npt.NDArray[np.intp], z: Floats, normals: Points, places: Points) -> None:
            nearer = z > depth[rays]
            chosen = rays[nearer]
            part[chosen], depth[chosen] = which, z[nearer]
            normal[chosen], place[chosen] = normals[nearer], places[nearer]

        put(Part.HEAD, *self._cast_head(x, y))
        ears = np.array([0.075, 0.155, 0.10]) * shape.ear_size
        for side in (-1, 1):
            put(
                Part.EAR,
                *_cast_ellipsoid(x, y, (side * 0.575 * shape.width, -0.03, -0.08), ears, pose.head, pose.offset),
            )
        if hair.style == "long":
            put(
                Part.HAIR,
                *_cast_ellipsoid(x, y, (0, -0.28, -0.34), np.array([0.70, 1.05, 0.46]), pose.head, pose.offset),
            )
        neck = np.array([0.40 * shape.neck_width, 1.6, 0.38 * shape.neck_width])
        put(Part.NECK, *_cast_ellipsoid(x, y, (0, -1.15, -0.17), neck, pose.body, pose.offset))
        put(Part.TORSO, *_cast_ellipsoid(x, y, (0, -1.86, -0.30), np.array([1.30, 0.90, 0.66]), pose.body, pose.offset))
        return Hits(part, depth, normal, place)

    def _cast_head(self, x: Floats, y: Floats) -> tuple[npt.NDArray[np.intp], Floats, Points, Points]:
        """March along each ray from the outermost shell a head can have to its surface."""
        outer = AXES.astype(np.float64) * _OUTER
        rays, near, _, _ = _cast_ellipsoid(x, y, (0, 0, 0), outer, self._pose.head, self._pose.offset)
        left, up, _ = self._pose.offset
        origin = np.stack([x[rays] - left, y[rays] - up, np.zeros(len(rays), dtype=np.float32)], axis=1)
        origin = origin @ self._pose.head
        forward = self._pose.head[2]
        z = near - self._pose.offset[2]
        middle = -(origin @ (forward / outer**2)) / float((forward**2 / outer**2).sum())
        step = ((z - middle) / _STEPS).astype(np.float32)
        low = z.copy()
        found = np.zeros(len(rays), dtype=np.bool_)
        active = np.arange(len(rays))
        for _ in range(_STEPS + 1):
            inside = self._height(origin[active] + low[active, None] * forward) < 0
            found[active[inside]] = True
            active = active[~inside]
            low[active] -= step[active]
            if active.size == 0:
                break
        rays, origin, low, step = rays[found], origin[found], low[found], step[found]
        high = low + step
        for _ in range(_REFINEMENTS):
            middle_z = 0.5 * (low + high)
            inside = self._height(origin + middle_z[:, None] * forward) < 0
            low, high = np.where(inside, middle_z, low), np.where(inside, high, middle_z)
        points = origin + (0.5 * (low + high))[:, None] * forward
        normals = self._normals(points)
        depth = (0.5 * (low + high) + self._pose.offset[2]).astype(np.float32)
        return rays, depth, normals @ self._pose.head.T, _on_average_head(points)

    def _height(self, points: Points) -> Floats:
        """Return how far points lie outside the head's surface, in shares of its radius, (N,)."""
        place = _on_average_head(points)
        radius = np.sqrt(np.square(place).sum(axis=1)) * self._stretch(place)
        height: Floats = np.sqrt(np.square(points).sum(axis=1)) / radius - 1
        return height

    def _stretch(self, place: Points) -> Floats:
        """Return the head's radius over that of the average head, (N,)."""
        shape, hair = self._person.shape, self._person.hair
        x, y, z = place.T
        down = smoothstep(0.05, -0.78, y)
        across = np.square(x) / (np.square(x) + np.square(z) + np.float32(0.02))
        stretch = 1 + across * (shape.width - 1 - 0.14 / shape.jaw * down * down)
        front = smoothstep(-0.05, 0.25, z)
        relief = np.zeros_like(x)
        for (hill_x, hill_y), (width_x, width_y), height in self._hills:
            side = np.abs(x) if hill_x > 0 else x
            relief += np.float32(height) * bump(side, y, (hill_x, hill_y), (width_x, width_y))
        stretch += front * relief
        if hair.thickness > 0:
            above = hairline(self._person, place)
            stretch += np.float32(hair.thickness) * smoothstep(-0.06, 0.22, above)
        return np.asarray(stretch, dtype=np.float32)

    def _normals(self, points: Points) -> Points:
        """Return unit normals in the head's axes by central differences of the height."""
        step = np.float32(4e-3)
        gradient = np.empty_like(points)
        for axis in range(3):
            shift = np.zeros(3, dtype=np.float32)
            shift[axis] = step
            gradient[:, axis] = self._height(points + shift) - self._height(points - shift)
        length = np.sqrt(np.square(gradient).sum(axis=1, keepdims=True))
        return np.asarray(gradient / np.maximum(length, np.float32(1e-9)))


def _hills(shape: Shape, smile: float) -> tuple[tuple[tuple[float, float], tuple[float, float], float], ...]:
    """Return the relief of a face: place, width and height (share of the radius) of its hills and hollows.

    A hill beside the middle stands for both sides.
    """
    eye_x, eye_y = EYE[0] * shape.eye_distance, EYE[1]
    nose_y = NOSE_TIP_Y * shape.nose_length
    wide = shape.nose_width
    mouth = 0.185 * shape.mouth_width * (1 + 0.30 * smile)
    return (
        ((0.0, 0.02), (0.055, 0.12), 0.055 * shape.nose_height),
        ((0.0, nose_y + 0.06), (0.055 * wide, 0.075), 0.10 * shape.nose_height),
        ((0.0, nose_y), (0.065 * wide, 0.050), 0.14 * shape.nose_height),
        ((0.085 * wide, nose_y - 0.03), (0.032, 0.036), 0.075),
        ((0.20, BROW_Y), (0.16, 0.045), 0.025 * shape.brow_ridge),
        ((eye_x, eye_y + 0.005), (0.105, 0.062), -0.075),
        ((eye_x, eye_y), (0.075 * shape.eye_size, 0.045 * shape.eye_size), 0.050),
        ((0.36, -0.13), (0.13, 0.12), 0.028 * shape.cheekbones + 0.035 * smile),
        ((0.27, -0.26), (0.06, 0.10), -0.012 - 0.018 * smile),
        ((0.0, MOUTH_Y), (0.16, 0.10), 0.035),
        ((0.0, MOUTH_Y + 0.033), (0.085, 0.022), 0.018 * shape.lip_fullness),
        ((0.0, MOUTH_Y - 0.040), (0.080, 0.026), 0.024 * shape.lip_fullness),
        ((0.0, MOUTH_Y), (mouth * 0.5, 0.012), -0.022),
        ((mouth, MOUTH_Y + 0.03 * smile), (0.030, 0.030), -0.018 - 0.02 * smile),
        ((0.0, MOUTH_Y - 0.105), (0.12, 0.03), -0.022),
        ((0.0, -0.66), (0.15, 0.09), 0.040 * shape.chin),
        ((0.36, -0.50), (0.12, 0.13), 0.045 * shape.jaw),
        ((0.0, 0.42), (0.30, 0.16), 0.012),
    )


def _on_average_head(points: Points) -> Points:
    """Return where the lines from the head's centre through `points` meet the average head, (N, 3)."""
    squares = np.square(points / AXES).sum(axis=1, keepdims=True)
    return np.asarray(points / np.sqrt(np.maximum(squares, np.float32(1e-6))))


def _cast_ellipsoid(
    x: Floats,
    y: Floats,
    centre: tuple[float, float, float],
    axes: npt.NDArray[np.float64],
    rotation: npt.NDArray[np.float32],
    offset: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.intp], Floats, Points, Points]:
    """Return which rays meet an ellipsoid, at what z, its normals there, and the places in the rotated axes."""
    inverse = (rotation / axes**2) @ rotation.T
    middle = offset + rotation @ np.asarray(centre, dtype=np.float32)
    u, v = x - middle[0], y - middle[1]
    a = inverse[2, 2]
    b = inverse[0, 2] * u + inverse[1, 2] * v
    c = inverse[0, 0] * u * u + 2 * inverse[0, 1] * u * v + inverse[1, 1] * v * v - 1
    under = b * b - a * c
    rays = np.flatnonzero(under > 0)
    w = (-b[rays] + np.sqrt(under[rays])) / a
    points = np.stack([u[rays], v[rays], w], axis=1).astype(np.float32)
    normals = points @ inverse.astype(np.float32)
    normals /= np.sqrt(np.square(normals).sum(axis=1, keepdims=True))
    places = (points + (middle - offset)) @ rotation
    return rays, (w + middle[2]).astype(np.float32), normals, places.astype(np.float32)
