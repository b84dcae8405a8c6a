"""What covers a person: the share of skin, lips, hair, eyes ... at every place, and how pigments vary over the skin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hyperskin.phantom.fields import Floats, Points, bump, smoothstep
from hyperskin.phantom.head import BROW_Y, EYE, MOUTH_Y, NOSE_TIP_Y, Hits, Part, Pose, hairline
from hyperskin.phantom.person import Person
from hyperskin.skin.optics import Skin

LABELS = ("background", "clothes", "hair", "skin", "lips", "brow", "sclera", "iris", "teeth", "beard")
"""What a pixel can be; its number in a label map is its place here."""

BACKGROUND, CLOTHES, HAIR, SKIN, LIPS, BROW, SCLERA, IRIS, TEETH, BEARD = range(len(LABELS))

_MOST_MELANIN = 0.55


@dataclass(frozen=True)
class Cover:
    """What is seen at each place.

    Attributes:
        shares: Share of every label, (N, 10), each row summing to 1.
        open_to_light: What is left of the light in folds, nostrils, pupils and under the chin, (N,) in [0, 1].
        wetness: How much the surface mirrors beyond skin's own shine, (N,).
    """

    shares: Floats
    open_to_light: Floats
    wetness: Floats


def cover(person: Person, pose: Pose, hits: Hits) -> Cover:
    """Return what covers the places that rays met."""
    count = len(hits.part)
    shares = np.zeros((count, len(LABELS)), dtype=np.float32)
    open_to_light = np.ones(count, dtype=np.float32)
    wetness = np.zeros(count, dtype=np.float32)
    for part, label in (
        (Part.NOTHING, BACKGROUND),
        (Part.HEAD, SKIN),
        (Part.EAR, SKIN),
        (Part.HAIR, HAIR),
        (Part.NECK, SKIN),
        (Part.TORSO, CLOTHES),
    ):
        shares[hits.part == part, label] = 1
    on_head = np.flatnonzero(hits.part == Part.HEAD)
    head_shares, head_open, head_wet = _paint_head(person, pose, hits.place[on_head])
    shares[on_head], open_to_light[on_head], wetness[on_head] = head_shares, head_open, head_wet
    on_ear = np.flatnonzero(hits.part == Part.EAR)
    ear = hits.place[on_ear]
    open_to_light[on_ear] = 0.62 + 0.38 * smoothstep(0.02, 0.075, np.hypot(ear[:, 1] + 0.03, ear[:, 2] + 0.08))
    on_neck = np.flatnonzero(hits.part == Part.NECK)
    open_to_light[on_neck] = 0.42 + 0.5 * smoothstep(-0.72, -1.15, hits.place[on_neck, 1])
    on_torso = np.flatnonzero(hits.part == Part.TORSO)
    _open_collar(shares, hits.place, on_torso)
    return Cover(shares, open_to_light, wetness)


def _open_collar(shares: Floats, place: Points, rays: np.ndarray) -> None:
    """Leave a round piece of skin below the neck uncovered, in place."""
    x, y, _ = place[rays].T
    bare = smoothstep(0.46, 0.43, np.hypot(x, 1.15 * (y + 0.95)))
    shares[rays, SKIN], shares[rays, CLOTHES] = bare, 1 - bare


def _paint_head(person: Person, pose: Pose, place: Points) -> tuple[Floats, Floats, Floats]:
    """Lay skin, stubble, lips, teeth, eyes, brows and hair over each other."""
    x, y, z = place.T
    side = np.abs(x)
    front = smoothstep(0.0, 0.15, z)
    layers = _Layers(len(x))
    open_to_light = np.ones(len(x), dtype=np.float32)
    wetness = np.zeros(len(x), dtype=np.float32)
    strands = person.fields["strands"](place)
    layers.lay(BEARD, _beard(person, place, strands))
    mouth = _Mouth(person, pose, x, y)
    layers.lay(LIPS, front * mouth.lips)
    layers.lay(TEETH, front * mouth.teeth)
    open_to_light *= 1 - 0.85 * front * mouth.gap
    eyes = _Eyes(person, pose, x, y)
    layers.lay(SCLERA, front * eyes.opening)
    layers.lay(IRIS, front * eyes.iris)
    open_to_light *= 1 - front * (
        0.93 * eyes.pupil + 0.55 * eyes.lash + 0.22 * eyes.crease + 0.30 * eyes.lid_shadow + 0.18 * eyes.opening
    )
    wetness += front * (1.0 * eyes.opening + 0.25 * mouth.lips)
    layers.lay(BROW, front * _brows(person, x, y, strands))
    open_to_light *= 1 - front * _folds(person, pose, side, y)
    if person.hair.style != "bald":
        rough = 0.035 * strands + (0.04 * person.fields["curls"](place) if person.hair.style == "curly" else 0)
        layers.lay(HAIR, smoothstep(-0.035, 0.045, hairline(person, place) + rough))
    return layers.shares, np.maximum(open_to_light, 0.02), wetness


class _Layers:
    """Skin, and what lies on it, layer by layer."""

    def __init__(self, count: int) -> None:
        self.shares = np.zeros((count, len(LABELS)), dtype=np.float32)
        self.shares[:, SKIN] = 1

    def lay(self, label: int, share: Floats) -> None:
        """Cover a share of everything that lies there, (N,), with `label`."""
        self.shares *= (1 - share)[:, None]
        self.shares[:, label] += share


def _beard(person: Person, place: Points, strands: Floats) -> Floats:
    """Return the share of beard or stubble on jaw, chin and upper lip, (N,)."""
    x, y, z = place.T
    side = np.abs(x)
    cheek_line = -0.36 + 0.55 * smoothstep(0.30, 0.57, side)
    jaw = smoothstep(0.03, -0.05, y - cheek_line + 0.03 * strands)
    moustache = bump(side, y, (0.07, MOUTH_Y + 0.085), (0.09, 0.026))
    beside_mouth = smoothstep(0.16, 0.24, np.hypot(side, 1.2 * (y - MOUTH_Y)))
    below_mouth = smoothstep(MOUTH_Y - 0.085, MOUTH_Y - 0.12, y)
    area = np.maximum(jaw * np.minimum(beside_mouth + below_mouth, 1), 1.25 * moustache * (side < 0.24))
    dense = max(person.hair.beard, person.hair.stubble) * (1 + 0.18 * strands)
    return np.asarray(smoothstep(-0.25, -0.05, z) * np.clip(area, 0, 1) * np.clip(dense, 0, 0.97))


class _Mouth:
    """Lips and what is between them, each (N,)."""

    def __init__(self, person: Person, pose: Pose, x: Floats, y: Floats) -> None:
        smile, full = pose.smile, person.shape.lip_fullness
        half = 0.185 * person.shape.mouth_width * (1 + 0.34 * smile)
        across = np.clip(np.abs(x) / half, 0, 1)
        height = y - (MOUTH_Y + 0.005 * smile + (0.075 * smile - 0.008) * across**2)
        taper = np.sqrt(1 - across**2)
        upper = 0.050 * full * (1 - 0.18 * smile) * taper * (1 - 0.28 * np.exp(-np.square(x / 0.030)))
        lower = 0.066 * full * (1 - 0.18 * smile) * taper**0.8
        opening = (0.004 + 0.043 * smile) * taper**0.7
        inside = smoothstep(1.0, 0.96, np.abs(x) / half)
        up, down = height - 0.4 * opening, height + 0.6 * opening
        self.lips = (
            inside * smoothstep(upper + 0.006, upper - 0.006, up) * smoothstep(-lower - 0.006, -lower + 0.006, down)
        )
        between = inside * smoothstep(0.004, -0.004, up) * smoothstep(-0.004, 0.004, down)
        shown = smoothstep(0.3, 0.8, np.full_like(x, smile)) * smoothstep(0.86, 0.74, across)
        seams = 1 - 0.35 * np.exp(-np.square((np.abs(np.sin(math.pi * x / 0.062))) / 0.12))
        self.teeth = between * shown * smoothstep(-0.55, -0.40, up / np.maximum(opening, 1e-4) / 1.6 + 0.25) * seams
        self.gap = between * (1 - self.teeth)


class _Eyes:
    """Openings, irises and shadows of both eyes, each (N,)."""

    def __init__(self, person: Person, pose: Pose, x: Floats, y: Floats) -> None:
        size = person.shape.eye_size
        half = 0.108 * size
        eye_x = EYE[0] * person.shape.eye_distance
        u, v = np.abs(x) - eye_x, y - EYE[1]
        across = np.clip(np.abs(u) / half, 0, 1)
        arc = 1 - across**2
        tilt = 0.10 * u
        upper = (0.046 - 0.012 * pose.smile) * size * arc**0.75
        lower = (0.034 - 0.010 * pose.smile) * size * arc
        inside = smoothstep(1.0, 0.94, np.abs(u) / half)
        self.opening = (
            inside * smoothstep(0.005, -0.005, v - tilt - upper) * smoothstep(-0.005, 0.005, v - tilt + lower)
        )
        gaze = -0.055 * math.sin(pose.yaw) / math.sin(math.radians(38))  # they look at the camera
        iris_x = np.where(x > 0, u - gaze, u + gaze)
        radius = np.hypot(iris_x, v - 0.004)
        self.iris = self.opening * smoothstep(0.0535, 0.0475, radius)
        self.pupil = self.opening * smoothstep(0.021, 0.016, radius)
        self.lash = inside * np.exp(-np.square((v - tilt - upper - 0.004) / 0.009))
        self.crease = smoothstep(1.3, 1.0, np.abs(u) / half) * np.exp(
            -np.square((v - tilt - 1.15 * upper - 0.035) / 0.010)
        )
        self.lid_shadow = self.opening * smoothstep(-0.025, 0.005, v - tilt - upper)


def _brows(person: Person, x: Floats, y: Floats, strands: Floats) -> Floats:
    """Return the share of eyebrow hair, (N,)."""
    eye_x = EYE[0] * person.shape.eye_distance
    u = (np.abs(x) - eye_x - 0.01) / 0.135
    middle = BROW_Y * person.shape.brow_height + 0.028 * (1 - np.square(u - 0.25)) - 0.012
    thickness = 0.021 * person.shape.brow_thickness * (1 - 0.45 * np.clip(u, -1, 1))
    along = smoothstep(-1.08, -0.85, u) * smoothstep(1.1, 0.7, u)
    dense = np.clip(0.80 + 0.15 * strands, 0.3, 1) * min(1.0, 0.55 + 0.2 * person.hair.eumelanin)
    return np.asarray(along * np.exp(-(np.square((y - middle) / thickness) ** 1.5)) * dense, dtype=np.float32)


def _folds(person: Person, pose: Pose, side: Floats, y: Floats) -> Floats:
    """Return what hollows take of the light: nostrils, folds, the shadow under lip and jaw."""
    nose_y = NOSE_TIP_Y * person.shape.nose_length
    nostril = 0.75 * bump(side, y, (0.045 * person.shape.nose_width, nose_y - 0.062), (0.020, 0.011))
    wing = 0.30 * bump(side, y, (0.125 * person.shape.nose_width, nose_y - 0.04), (0.014, 0.035))
    below_nose = 0.22 * bump(side, y, (0.0, nose_y - 0.085), (0.10, 0.022))
    cheek_x = 0.15 + 0.55 * (nose_y - 0.06 - y)
    cheek_fold = (
        (0.06 + 0.22 * pose.smile)
        * np.exp(-np.square((side - cheek_x) / 0.016))
        * bump(y, y, (-0.32, -0.32), (0.075, 0.075))
    )
    below_lip = 0.20 * bump(side, y, (0.0, MOUTH_Y - 0.105), (0.10, 0.018))
    under_eye = 0.10 * bump(side, y, (EYE[0], EYE[1] - 0.062), (0.085, 0.013))
    under_jaw = 0.55 * smoothstep(-0.66, -0.80, y)
    total = 1 - (1 - nostril) * (1 - wing) * (1 - below_nose) * (1 - cheek_fold) * (1 - below_lip) * (1 - under_eye) * (
        1 - under_jaw
    )
    return np.asarray(np.clip(total, 0, 0.95), dtype=np.float32)


def tissue(person: Person, pose: Pose, place: Points, lip_share: Floats, *, extended: bool) -> Skin:
    """Return the skin at `place`, every property varying smoothly over the head.

    Args:
        person: Whose it is.
        pose: A smile brings blood into the cheeks.
        place: Coordinates of the head, (N, 3).
        lip_share: How much of it is lip, (N,); lips have little melanin and much blood.
        extended: Whether the exponent of melanin, vessels, scattering, carotene and fat vary from place to place too.
    """
    own, field = person.tissue, person.fields
    x, y, z = place.T
    side, front = np.abs(x), smoothstep(0.0, 0.15, z)
    cheek = front * bump(side, y, (0.33, -0.17), (0.13, 0.11))
    nose = front * bump(side, y, (0.0, NOSE_TIP_Y), (0.09, 0.08))
    under_eye = front * bump(side, y, (EYE[0], EYE[1] - 0.085), (0.085, 0.03))
    freckles = (
        own.freckles
        * smoothstep(1.1, 1.9, field["freckles"](place))
        * front
        * bump(side, y, (0.2, -0.05), (0.28, 0.16))
    )
    vessel = np.clip(person.vessels(place), 0, 1)
    melanin = own.melanin_fraction * np.exp(
        0.13 * field["melanin_broad"](place)
        + 0.05 * field["melanin_middle"](place)
        + 0.03 * field["melanin_fine"](place)
        + 0.22 * under_eye
        - 0.08 * nose
    )
    melanin = (melanin * (1 + 0.55 * 4 * freckles) + 0.6 * person.moles(place)) * (1 - 0.60 * lip_share)
    blood = own.blood_fraction * np.exp(
        0.25 * field["blood_broad"](place)
        + 0.10 * field["blood_fine"](place)
        + (0.55 + 0.17 * pose.smile) * cheek
        + 0.65 * nose
    )
    blood = blood * (1 + person.papules(place)) + 0.010 * vessel + 0.07 * lip_share
    oxygenation = own.oxygenation + 0.05 * field["oxygenation"](place) + 0.06 * cheek - 0.12 * vessel - 0.08 * under_eye
    water = own.water_fraction + 0.04 * field["water"](place)
    more = 1.0 if extended else 0.0
    pigment = field["pigment"](place) if extended else np.zeros(len(place), dtype=np.float32)
    scattering = field["scattering"](place)
    return Skin(
        melanin_fraction=np.clip(melanin, 0.002, _MOST_MELANIN),
        blood_fraction=np.clip(blood, 0.001, 0.15),
        oxygenation=np.clip(oxygenation, 0.2, 0.98),
        water_fraction=np.clip(water, 0.4, 0.9),
        scattering_amplitude=own.scattering_amplitude * np.exp(0.05 * scattering),
        scattering_power=own.scattering_power + 0.10 * more * pigment,
        melanin_exponent=own.melanin_exponent + 0.15 * more * pigment,
        bloodless_factor=own.bloodless_factor * np.exp(0.10 * more * scattering),
        carotenoid=own.carotenoid * np.exp(0.2 * more * pigment),
        lipid_fraction=np.clip(own.lipid_fraction + 0.05 * more * field["lipid"](place), 0, 0.4) * more,
        vessel_radius_cm=own.vessel_radius_cm
        * (np.exp(0.2 * field["vessel_radius"](place)) if extended else np.ones(len(place), dtype=np.float32)),
        surface_reflectance=np.clip(own.surface_reflectance + 0.004 * field["surface"](place), 0.02, 0.07),
    )
