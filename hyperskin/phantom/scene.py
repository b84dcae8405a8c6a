"""What stands before the camera: a person in a pose under two lamps, as reflectance line by line, with its truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperskin.bands import FX10, NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.truth import SUBJECT_LABELS
from hyperskin.errors import DataError
from hyperskin.phantom import materials
from hyperskin.phantom.face import (
    BACKGROUND,
    BEARD,
    BROW,
    CLOTHES,
    HAIR,
    IRIS,
    LABELS,
    LIPS,
    SCLERA,
    SKIN,
    TEETH,
    cover,
    tissue,
)
from hyperskin.phantom.fields import Floats, Points, SolidField, smoothstep
from hyperskin.phantom.head import Figure, Hits, Part, Pose, turn
from hyperskin.phantom.person import Person
from hyperskin.phantom.recipe import Recipe, random_stream
from hyperskin.skin.chromophores import water_absorption
from hyperskin.skin.optics import skin_reflectance

SUBJECT = tuple(LABELS.index(name) for name in SUBJECT_LABELS)
"""Places in `face.LABELS` of what makes up the subject."""

_WAVELENGTHS_NM = np.concatenate([FX10.centres_nm(), VIS.centres_nm(), NIR.centres_nm()])
_VIEW_HEIGHT = 2.12  # head units from the top to the bottom of the frame
_TOP = 0.97
_YAW = math.radians(38.0)
_FINE_BELOW_PX = 200
_LEAST_SHARE = 1e-3

# Direction and strength of the lamps; what comes from everywhere; the face's share lost per head unit of depth.
_LAMPS = (((-0.55, 0.35, 0.76), 0.58), ((0.60, 0.30, 0.74), 0.50))
_AMBIENT = 0.10
_FALL_OFF = 0.12
_GLOSS = ((28.0, 0.10), (140.0, 0.30))  # exponent and height of skin's shine at oil 1, the second for its square
_WET = (220.0, 3.0)
_WALL_LIGHT = 0.35


@dataclass(frozen=True)
class SceneLines:
    """Some lines of a scene, noise-free.

    Attributes:
        reflectance: (l, W, 448) float32 on the sensor's bands, with shading and highlights, so that it may exceed 1.
        vis: (l, W, 31) float32, the same at 400..700 nm exactly.
        nir: (l, W, 31) float32, the same at 700..1000 nm exactly.
        labels: (l, W) uint8, the place in `face.LABELS` of what covers most of a pixel.
        maps: (l, W) float32 each: what the skin in a pixel is made of, NaN where there is none, and how it is lit.
    """

    reflectance: npt.NDArray[np.float32]
    vis: npt.NDArray[np.float32]
    nir: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint8]
    maps: dict[str, npt.NDArray[np.float32]]


class Scene:
    """A capture's scene; lines can be asked for in any order."""

    def __init__(self, person: Person, pose: Pose, recipe: Recipe, subject: str, capture: str) -> None:
        self.height, self.width = recipe.height_px, recipe.width_px
        self._person, self._pose, self._recipe = person, pose, recipe
        self._figure = Figure(person, pose)
        self._palette = _Palette(person, random_stream(recipe.seed, subject, "surroundings"))
        self._sway = _sway(random_stream(recipe.seed, subject, capture, "motion"), recipe.height_px)
        self._fine = 3 if max(self.height, self.width) < _FINE_BELOW_PX else 2

    @classmethod
    def of(cls, capture: CaptureId, recipe: Recipe) -> Scene:
        """Return the scene of a capture.

        Raises:
            DataError: The capture's name says no expression and direction.
        """
        if capture.expression is None or capture.direction is None:
            raise DataError(f"A phantom's capture must be named like p001_neutral_front; got {capture.name!r}.")
        person = Person.draw(capture.subject, recipe)
        return cls(person, _draw_pose(capture, recipe), recipe, capture.subject, capture.name)

    def lines(self, first: int, count: int) -> SceneLines:
        """Return `count` lines from line `first` on."""
        x, y = self._rays(first, count)
        hits = self._figure.cast(x, y)
        covered = cover(self._person, self._pose, hits)
        body, gloss = _light(hits, covered.open_to_light, covered.wetness, self._oil(hits))
        pixels = _Pixels(count * self.width, self._fine**2)
        shares = pixels.mean(covered.shares)
        lit = pixels.mean(covered.shares * body[:, None])
        shine = pixels.mean(gloss * (1 - covered.shares[:, BACKGROUND]))
        flesh = covered.shares[:, SKIN] + covered.shares[:, LIPS]
        places = pixels.mean(hits.place * flesh[:, None]) / np.maximum(pixels.mean(flesh), 1e-6)[:, None]
        spectra = self._palette.paint(
            lit, pixels.mean(hits.place), x.reshape(-1, self._fine**2).mean(1), y.reshape(-1, self._fine**2).mean(1)
        )
        skin_maps = self._add_skin(spectra, shares, lit, places)
        spectra += shine[:, None]
        frame = (count, self.width)
        labels = shares.argmax(axis=1).astype(np.uint8).reshape(frame)
        flesh = shares[:, SKIN] + shares[:, LIPS]
        shading = (lit[:, SKIN] + lit[:, LIPS]) / np.maximum(flesh, _LEAST_SHARE)
        maps = {
            **skin_maps,
            "shading": np.where(flesh > _LEAST_SHARE, shading, np.nan),
            "specular": shine,
            "skin_share": shares[:, SKIN],
            "subject_share": shares[:, SUBJECT].sum(axis=1),
        }
        sensor, vis, nir = np.split(spectra.reshape(*frame, -1), [len(FX10), len(FX10) + len(VIS)], axis=2)
        return SceneLines(
            sensor, vis, nir, labels, {name: values.astype(np.float32).reshape(frame) for name, values in maps.items()}
        )

    def _rays(self, first: int, count: int) -> tuple[Floats, Floats]:
        """Return where the rays of some lines pass, pixel by pixel, each pixel's rays together, (N,) each."""
        fine = self._fine
        unit = _VIEW_HEIGHT / self.height
        within = (np.arange(fine) + 0.5) / fine
        rows = (np.arange(first, first + count)[:, None] + within).astype(np.float32)
        columns = (np.arange(self.width)[:, None] + within - self.width / 2).astype(np.float32)
        shape = (count, self.width, fine, fine)
        y = np.broadcast_to(_TOP - unit * rows[:, None, :, None], shape)
        x = np.broadcast_to(unit * columns[None, :, None, :], shape)
        x = x + (unit * self._sway[first : first + count])[:, None, None, None]
        return x.reshape(-1).astype(np.float32), y.reshape(-1).astype(np.float32)

    def _oil(self, hits: Hits) -> Floats:
        """Return how oily the skin is at each ray; forehead and nose shine more."""
        x, y, _ = hits.place.T
        zone = np.exp(-0.5 * (np.square(x / 0.17) + np.square((y - 0.15) / 0.40)))
        return np.where(hits.part == Part.HEAD, self._person.tissue.oil * (0.55 + 0.75 * zone), 0.3).astype(np.float32)

    def _add_skin(self, spectra: Floats, shares: Floats, lit: Floats, places: Points) -> dict[str, Floats]:
        """Add the skin's own spectra, in place, and return its chromophores, NaN where there is no skin."""
        flesh = shares[:, SKIN] + shares[:, LIPS]
        pixels = np.flatnonzero(flesh > _LEAST_SHARE)
        maps = {name: np.full(len(shares), np.nan, dtype=np.float32) for name in _CHROMOPHORES}
        if pixels.size == 0:
            return maps
        skin = tissue(
            self._person, self._pose, places[pixels].astype(np.float32), shares[pixels, LIPS] / flesh[pixels],
            extended=self._recipe.extended_optics,
        )  # fmt: skip
        moist = self._person.fields["moisture"](places[pixels].astype(np.float32))
        film = 0.05 * np.clip(moist - 0.6, 0, None) * self._recipe.extended_optics
        colour = skin_reflectance(skin, _WAVELENGTHS_NM, dtype=np.float32)
        colour *= np.exp(-film[:, None] * water_absorption(_WAVELENGTHS_NM).astype(np.float32))
        spectra[pixels] += colour * (lit[pixels, SKIN] + lit[pixels, LIPS])[:, None]
        for name, values in maps.items():
            values[pixels] = getattr(skin, name)
        return maps


_CHROMOPHORES = ("melanin_fraction", "blood_fraction", "oxygenation", "water_fraction")


class _Pixels:
    """Groups of rays that make up a pixel each."""

    def __init__(self, count: int, rays: int) -> None:
        self._count, self._rays = count, rays

    def mean(self, values: Floats) -> Floats:
        """Return the means over each pixel's rays, (pixels, ...)."""
        grouped = values.reshape(self._count, self._rays, *values.shape[1:])
        return np.asarray(grouped.mean(axis=1))


class _Palette:
    """The spectra of everything but skin, and where each of them is."""

    def __init__(self, person: Person, stream: np.random.Generator) -> None:
        nm = _WAVELENGTHS_NM
        grown = person.hair
        first, second = materials.fabric(stream, nm), materials.fabric(stream, nm)
        near, far = materials.wall(stream, nm), materials.wall(stream, nm)
        self._person = person
        self._pattern = str(stream.choice(["plain", "heather", "stripes", "checks"], p=[0.4, 0.25, 0.25, 0.1]))
        self._pitch = float(stream.uniform(0.07, 0.16))
        self._weave = SolidField(stream, 0.05)
        self._folds = SolidField(stream, (0.20, 0.9, 0.5))
        self._wall_mix = SolidField(stream, 1.4)
        self._furniture = _draw_furniture(stream)
        self._spectra = np.stack(
            [
                materials.hair(grown.eumelanin, grown.phaeomelanin, grown.grey, 0.0, nm),
                materials.hair(0.75 * grown.eumelanin, grown.phaeomelanin, grown.grey, grown.oil, nm),
                materials.hair(max(grown.eumelanin, 0.9), grown.phaeomelanin, grown.grey, 0.0, nm),
                materials.sclera(nm),
                materials.iris(*person.iris, nm),
                materials.teeth(nm),
                first,
                second,
                near,
                0.6 * near + 0.4 * far,
                0.5 * materials.wall(stream, nm) + 0.01,
            ]
        ).astype(np.float32)  # fmt: skip

    def paint(self, lit: Floats, place: Points, x: Floats, y: Floats) -> Floats:
        """Return the summed light of all these materials, (pixels, C) float32.

        Args:
            lit: Share times light of every label, (pixels, 10).
            place: Mean head coordinates of a pixel, (pixels, 3).
            x: Where the pixel is in the picture, head units, (pixels,).
            y: The same upwards.
        """
        place = place.astype(np.float32)
        fields = self._person.fields
        strands = 1 + 0.22 * np.clip(fields["strands"](place), -2, 2) + 0.16 * np.clip(fields["locks"](place), -2, 2)
        lock = smoothstep(-1.2, 1.2, fields["locks"](place))
        flat = np.stack([x, y, np.zeros_like(x)], axis=1).astype(np.float32)
        second = self._second_cloth(flat)
        folded = 1 + 0.14 * np.clip(self._folds(flat), -2, 2)
        far = smoothstep(-1.5, 1.5, self._wall_mix(flat))
        furniture = np.zeros_like(x)
        for left, right, bottom, top in self._furniture:
            inside = (x > left) & (x < right) & (y > bottom) & (y < top)
            furniture[inside] = 1
        amounts = np.stack(
            [
                lit[:, HAIR] * strands * (1 - lock),
                lit[:, HAIR] * strands * lock,
                lit[:, BROW] + lit[:, BEARD] * strands,
                lit[:, SCLERA],
                lit[:, IRIS],
                lit[:, TEETH],
                lit[:, CLOTHES] * folded * (1 - second),
                lit[:, CLOTHES] * folded * second,
                lit[:, BACKGROUND] * (1 - far) * (1 - furniture),
                lit[:, BACKGROUND] * far * (1 - furniture),
                lit[:, BACKGROUND] * furniture,
            ],
            axis=1,
        )
        return (np.maximum(amounts, 0) @ self._spectra).astype(np.float32)

    def _second_cloth(self, flat: Points) -> Floats:
        """Return the share of the cloth's second colour."""
        x, y = flat[:, 0], flat[:, 1]
        if self._pattern == "heather":
            return smoothstep(-1.0, 1.6, self._weave(flat))
        stripes = smoothstep(0.1, 0.4, np.sin(2 * math.pi * y / self._pitch))
        if self._pattern == "stripes":
            return stripes
        if self._pattern == "checks":
            return 0.5 * stripes + 0.5 * smoothstep(0.1, 0.4, np.sin(2 * math.pi * x / self._pitch))
        return np.zeros_like(x)


def _draw_furniture(stream: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Draw what stands behind a person: shelves and a cupboard as (left, right, bottom, top) in head units."""
    pieces = []
    for _ in range(int(stream.integers(0, 4))):
        side = 1 if stream.random() < 0.5 else -1
        left = side * stream.uniform(0.55, 1.0)
        bottom = stream.uniform(-1.2, 0.7)
        tall = stream.random() < 0.4
        width, height = (stream.uniform(0.15, 0.35), 2.0) if tall else (0.8, stream.uniform(0.03, 0.10))
        pieces.append((min(left, left + side * width), max(left, left + side * width), bottom, bottom + height))
    return pieces


def _draw_pose(capture: CaptureId, recipe: Recipe) -> Pose:
    """Draw how a person sits for a capture: the direction asked for, give or take what nobody holds still."""
    stream = random_stream(recipe.seed, capture.subject, capture.name, "pose")
    asked = {"front": 0.0, "left": _YAW, "right": -_YAW}[capture.direction or "front"]
    yaw = asked + math.radians(2.5) * float(np.clip(stream.standard_normal(), -2, 2))
    pitch, roll = (math.radians(1.8) * float(np.clip(stream.standard_normal(), -2, 2)) for _ in range(2))
    offset = np.array([*(0.025 * np.clip(stream.standard_normal(2), -2, 2)), 0.0], dtype=np.float32)
    smile = float(stream.uniform(0.85, 1.15)) if capture.expression == "smile" else 0.0
    return Pose(turn(yaw, pitch, roll), turn(0.45 * yaw, 0.0, 0.0), yaw, offset, smile)


def _sway(stream: np.random.Generator, height: int) -> Floats:
    """Return how far, in pixels, the scene has moved sideways at each line, (H,): nobody sits still for a scan."""
    drift = np.cumsum(stream.standard_normal(height)) / math.sqrt(height)
    tremor = stream.standard_normal(height)
    return (0.35 * drift + 0.08 * tremor).astype(np.float32)


def _light(hits: Hits, open_to_light: Floats, wetness: Floats, oil: Floats) -> tuple[Floats, Floats]:
    """Return diffuse light and mirrored light at every ray, (N,) each; 1 is a white panel in the face's place."""
    normal = hits.normal
    body = np.full(len(normal), _AMBIENT, dtype=np.float32)
    gloss = np.zeros(len(normal), dtype=np.float32)
    for direction, strength in _LAMPS:
        lamp = np.asarray(direction, dtype=np.float32) / np.float32(np.linalg.norm(direction))
        body += np.float32(strength) * np.clip(_facing(normal, lamp), 0, None)
        half = lamp + np.array([0, 0, 1], dtype=np.float32)
        mirrored = np.clip(_facing(normal, half / np.linalg.norm(half)), 0, None)
        (soft, soft_height), (hard, hard_height) = _GLOSS
        gloss += np.float32(strength) * (
            soft_height * oil * mirrored**soft
            + hard_height * oil**2 * mirrored**hard * 0.5
            + _WET[1] * wetness * mirrored ** _WET[0]
        )
    near = np.clip(1 + _FALL_OFF * (hits.depth - 0.6), 0.6, 1.2)
    is_wall = hits.part == Part.NOTHING
    body = np.where(is_wall, np.float32(_WALL_LIGHT), body * near * open_to_light)
    is_dull = (hits.part == Part.TORSO) | is_wall
    gloss = np.where(is_dull, 0, gloss * open_to_light)
    return body.astype(np.float32), gloss.astype(np.float32)


def _facing(normal: Points, direction: Points) -> Floats:
    """Return the cosine between normals (N, 3) and a direction; term by term, as a matrix product rounds by N."""
    x, y, z = normal.T
    return np.asarray(x * direction[0] + y * direction[1] + z * direction[2])
