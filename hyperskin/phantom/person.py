"""Draws a person: what they look like and are made of, the same in every capture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hyperskin.phantom.fields import SolidField, Spots
from hyperskin.phantom.recipe import SKIN_TYPES, Recipe, random_stream

HairStyle = Literal["bald", "short", "curly", "long"]

_LIGHT = ("I", "II")
_DARK = ("V", "VI")


@dataclass(frozen=True)
class Shape:
    """Form of a head in head units, of which half a head's height is 0.8; factors around 1 or places."""

    width: float
    jaw: float
    chin: float
    nose_length: float
    nose_width: float
    nose_height: float
    brow_ridge: float
    cheekbones: float
    eye_distance: float
    eye_size: float
    brow_height: float
    brow_thickness: float
    mouth_width: float
    lip_fullness: float
    ear_size: float
    neck_width: float


@dataclass(frozen=True)
class Hair:
    """What grows on a head.

    Attributes:
        style: How the hair is worn.
        hairline: Latitude in rad at which the hair begins over the forehead.
        thickness: Head units by which it stands off.
        fringe: How far it falls into the forehead, in rad.
        eumelanin: Brown and black pigment; 0.3 is blond, 3 is black.
        phaeomelanin: Red pigment.
        grey: Share of white hairs.
        oil: Thickness of sebum on it, cm.
        beard: Coverage by a beard, 0 to 1.
        stubble: Coverage by shaven hair, 0 to 1.
    """

    style: HairStyle
    hairline: float
    thickness: float
    fringe: float
    eumelanin: float
    phaeomelanin: float
    grey: float
    oil: float
    beard: float
    stubble: float


@dataclass(frozen=True)
class Tissue:
    """A person's average skin, and how far it varies over the face; names and units as in `skin.optics.Skin`."""

    melanin_fraction: float
    blood_fraction: float
    oxygenation: float
    water_fraction: float
    scattering_amplitude: float
    scattering_power: float
    surface_reflectance: float
    melanin_exponent: float
    bloodless_factor: float
    carotenoid: float
    lipid_fraction: float
    vessel_radius_cm: float
    oil: float
    freckles: float


@dataclass(frozen=True)
class Person:
    """One made-up person."""

    shape: Shape
    hair: Hair
    tissue: Tissue
    iris: tuple[float, float]
    fields: dict[str, SolidField]
    moles: Spots
    papules: Spots
    vessels: Spots

    @classmethod
    def draw(cls, subject: str, recipe: Recipe) -> Person:
        """Return the person called `subject`; every trait comes from a random stream of its own."""

        def stream(what: str) -> np.random.Generator:
            return random_stream(recipe.seed, subject, what)

        hair = _draw_hair(stream("hair"), recipe.skin_type)
        return cls(
            shape=_draw_shape(stream("shape"), recipe.skin_type),
            hair=hair,
            tissue=_draw_tissue(stream("tissue"), recipe),
            iris=_draw_iris(stream("iris"), recipe.skin_type),
            fields={name: SolidField(stream(f"field {name}"), scale) for name, scale in _FIELDS.items()},
            moles=_draw_spots(stream("moles"), (2, 8), (0.009, 0.020), (0.08, 0.35)),
            papules=_draw_spots(stream("papules"), (0, 9), (0.012, 0.03), (0.5, 1.6)),
            vessels=_draw_vessels(stream("vessels")),
        )


# Smoothness in head units; melanin and blood vary on two and three scales.
_FIELDS: dict[str, float | tuple[float, float, float]] = {
    "melanin_broad": 0.46,
    "melanin_middle": 0.095,
    "melanin_fine": 0.035,
    "freckles": 0.03,
    "blood_broad": 0.30,
    "blood_fine": 0.07,
    "oxygenation": 0.38,
    "water": 0.40,
    "lipid": 0.33,
    "scattering": 0.33,
    "pigment": 0.35,
    "vessel_radius": 0.30,
    "surface": 0.30,
    "moisture": 0.12,
    "strands": (0.022, 0.16, 0.022),
    "locks": (0.11, 0.5, 0.11),
    "curls": 0.05,
}


def _draw_shape(stream: np.random.Generator, skin_type: str) -> Shape:
    def factor(spread: float) -> float:
        return float(np.exp(spread * np.clip(stream.standard_normal(), -2, 2)))

    wide = 1.12 if skin_type in _DARK else 1.0
    return Shape(
        width=factor(0.045),
        jaw=factor(0.35),
        chin=factor(0.18),
        nose_length=factor(0.07),
        nose_width=wide * factor(0.10),
        nose_height=factor(0.15) / wide,
        brow_ridge=factor(0.3),
        cheekbones=factor(0.3),
        eye_distance=factor(0.04),
        eye_size=factor(0.08),
        brow_height=factor(0.08),
        brow_thickness=factor(0.25),
        mouth_width=factor(0.08),
        lip_fullness=(1.35 if skin_type in _DARK else 1.0) * factor(0.18),
        ear_size=factor(0.1),
        neck_width=factor(0.08),
    )


def _draw_hair(stream: np.random.Generator, skin_type: str) -> Hair:
    styles: tuple[HairStyle, ...] = ("bald", "short", "curly", "long")
    chances = (0.06, 0.30, 0.34, 0.30) if skin_type in _DARK else (0.06, 0.46, 0.08, 0.40)
    style = styles[int(stream.choice(len(styles), p=chances))]
    if skin_type in _LIGHT:
        eumelanin = float(np.exp(stream.uniform(math.log(0.25), math.log(2.2))))
        phaeomelanin = float(stream.exponential(0.35))
    else:
        least, most = (5.0, 9.0) if skin_type in _DARK else (1.8, 6.0)
        eumelanin, phaeomelanin = float(stream.uniform(least, most)), float(stream.exponential(0.15))
    grows_beard = style != "long" and stream.random() < 0.45
    may_shave = style != "long" and not grows_beard and stream.random() < 0.6
    return Hair(
        style=style,
        hairline=float(stream.uniform(0.60, 0.78)) if style != "bald" else 2.0,
        thickness={"bald": 0.0, "short": 0.05, "curly": 0.10, "long": 0.07}[style] * float(stream.uniform(0.8, 1.3)),
        fringe=float(stream.uniform(0.05, 0.24)) if style != "bald" and stream.random() < 0.4 else 0.0,
        eumelanin=eumelanin,
        phaeomelanin=phaeomelanin,
        grey=float(stream.beta(0.5, 2.5)) if stream.random() < 0.25 else 0.0,
        oil=float(stream.uniform(0.0, 0.6)),
        beard=float(stream.uniform(0.45, 0.75)) if grows_beard else 0.0,
        stubble=float(stream.uniform(0.05, 0.2)) if may_shave else 0.0,
    )


def _draw_tissue(stream: np.random.Generator, recipe: Recipe) -> Tissue:
    def normal(mean: float, spread: float) -> float:
        return mean + spread * float(np.clip(stream.standard_normal(), -2.5, 2.5))

    extended = 1.0 if recipe.extended_optics else 0.0
    return Tissue(
        melanin_fraction=SKIN_TYPES[recipe.skin_type] * math.exp(normal(0, 0.18)),
        blood_fraction=0.012 * math.exp(normal(0, 0.30)),
        oxygenation=normal(0.68, 0.06),
        water_fraction=normal(0.65, 0.04),
        scattering_amplitude=normal(36, 4),
        scattering_power=normal(1.6, 0.10 + 0.10 * extended),
        surface_reflectance=normal(0.045, 0.006),
        melanin_exponent=3.5 + extended * normal(0, 0.22),
        bloodless_factor=math.exp(extended * normal(0, 0.25)),
        carotenoid=extended * abs(normal(0.6, 0.5)),
        lipid_fraction=extended * float(stream.uniform(0.02, 0.22)),
        vessel_radius_cm=1e-3 * math.exp(extended * normal(0, 0.3)),
        oil=float(stream.uniform(0.25, 1.0)),
        freckles=float(stream.uniform(0.2, 1.0)) if recipe.skin_type in _LIGHT and stream.random() < 0.5 else 0.05,
    )


def _draw_iris(stream: np.random.Generator, skin_type: str) -> tuple[float, float]:
    """Return melanin and blueness of the iris; blue and green eyes go with light skin."""
    if skin_type in _LIGHT and stream.random() < 0.7:
        return float(stream.uniform(0.05, 0.5)), float(stream.uniform(0.5, 1.0))
    return float(stream.uniform(1.2, 4.0)), 0.05


def _draw_spots(
    stream: np.random.Generator, counts: tuple[int, int], radii: tuple[float, float], strengths: tuple[float, float]
) -> Spots:
    """Scatter spots over the front of the head."""
    count = int(stream.integers(*counts))
    longitude = stream.uniform(-1.2, 1.2, count)
    latitude = stream.uniform(-0.75, 0.6, count)
    return Spots(
        _on_head(longitude, latitude),
        stream.uniform(*radii, count).astype(np.float32),
        stream.uniform(*strengths, count).astype(np.float32),
    )


def _draw_vessels(stream: np.random.Generator) -> Spots:
    """Let a few fine vessels wander over cheeks and nose."""
    longitudes, latitudes = [], []
    for _ in range(int(stream.integers(0, 7))):
        steps = 14
        heading = np.cumsum(stream.normal(0, 0.5, steps)) + stream.uniform(0, 2 * math.pi)
        side = 1 if stream.random() < 0.5 else -1
        longitudes.append(side * stream.uniform(0.15, 0.75) + np.cumsum(0.013 * np.cos(heading)))
        latitudes.append(stream.uniform(-0.4, 0.0) + np.cumsum(0.013 * np.sin(heading)))
    longitude = np.concatenate([*longitudes, np.empty(0)])
    count = len(longitude)
    return Spots(
        _on_head(longitude, np.concatenate([*latitudes, np.empty(0)])),
        np.full(count, 0.009, dtype=np.float32),
        np.full(count, 0.8, dtype=np.float32),
    )


def _on_head(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Return places near the surface of an average head, (N, 3) float32."""
    direction = np.stack(
        [np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)], axis=1
    )
    radius = 1 / np.sqrt(np.square(direction / (0.58, 0.80, 0.70)).sum(axis=1, keepdims=True))
    return np.asarray(direction * radius, dtype=np.float32)
