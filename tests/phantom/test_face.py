"""What covers a face, and what its skin is made of."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.phantom.face import BEARD, HAIR, IRIS, LABELS, LIPS, SCLERA, SKIN, TEETH, Cover, cover, tissue
from hyperskin.phantom.head import Hits, Part, Pose
from hyperskin.phantom.person import Person
from hyperskin.phantom.recipe import DIRECTIONS, EXPRESSIONS, Recipe, plan_subjects
from hyperskin.phantom.scene import Scene
from hyperskin.skin.optics import Skin

PLAN = plan_subjects(12)
NAMES = [f"{expression}_{direction}" for expression in EXPRESSIONS for direction in DIRECTIONS]
PEOPLE = list(PLAN)


@dataclass(frozen=True)
class Seen:
    """One capture's rays."""

    person: Person
    pose: Pose
    hits: Hits
    cover: Cover

    def where(self, label: int, least: float = 0.5) -> npt.NDArray[np.float32]:
        """The head's coordinates of rays that meet mostly `label`, (N, 3)."""
        return self.hits.place[(self.hits.part == Part.HEAD) & (self.cover.shares[:, label] > least)]

    def share(self, label: int) -> float:
        """Part of the frame that `label` covers."""
        return float(self.cover.shares[:, label].mean())


def look(name: str, height: int = 64, width: int = 48, **changes: float) -> Seen:
    """Cast one ray for every pixel of a frame."""
    scene = Scene.of(CaptureId.parse(name), Recipe(seed=1, skin_type=PLAN[name[:4]], height_px=64, width_px=48))
    person = replace(scene._person, hair=replace(scene._person.hair, **changes))
    y, x = np.mgrid[0.97 : -1.15 : height * 1j, -0.8 : 0.8 : width * 1j].astype(np.float32)
    hits = scene._figure.cast(x.ravel(), y.ravel())
    return Seen(person, scene._pose, hits, cover(person, scene._pose, hits))


@pytest.fixture(scope="module")
def everyone() -> dict[str, Seen]:
    return {f"{subject}_{name}": look(f"{subject}_{name}") for subject in PEOPLE for name in NAMES}


def pairs(everyone: dict[str, Seen], direction: str) -> Iterator[tuple[Seen, Seen]]:
    """Everyone neutral and smiling."""
    for subject in PEOPLE:
        yield everyone[f"{subject}_neutral_{direction}"], everyone[f"{subject}_smile_{direction}"]


def test_shares_of_every_place_are_within_0_and_1_and_sum_to_1(everyone):
    for name, seen in everyone.items():
        shares = seen.cover.shares
        assert shares.shape == (len(seen.hits.part), len(LABELS)), name
        assert shares.min() > -1e-6, name
        assert shares.max() < 1 + 1e-6, name
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=2e-6, err_msg=name)
        assert seen.cover.open_to_light.min() > 0, name
        assert seen.cover.open_to_light.max() <= 1, name
        assert seen.cover.wetness.min() >= 0, name
        assert np.isfinite(seen.cover.wetness).all(), name


def test_everyone_has_skin_lips_eyes_brows_clothes_and_a_wall(everyone):
    for name, seen in everyone.items():
        for label in ("background", "clothes", "skin", "lips", "brow", "sclera", "iris"):
            assert seen.share(LABELS.index(label)) > 2e-4, (name, label)
        assert 0.15 < seen.share(SKIN) < 0.5, name


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_smile_shows_teeth_and_widens_the_mouth(everyone, direction):
    for neutral, smiling in pairs(everyone, direction):
        assert neutral.share(TEETH) == 0
        assert smiling.share(TEETH) > 0.001
        reach = [np.abs(seen.where(LIPS, 0.4)[:, 0]).max() for seen in (neutral, smiling)]
        assert reach[1] > 1.12 * reach[0]


def test_the_corners_of_a_smiling_mouth_lie_higher():
    neutral, smiling = (look(f"p007_{expression}_front", 96, 80) for expression in EXPRESSIONS)
    for seen, low, high in ((neutral, -0.03, 0.01), (smiling, 0.02, 0.12)):
        x, y, _ = seen.where(LIPS).T
        corner, middle = np.abs(x) > 0.9 * np.abs(x).max(), np.abs(x) < 0.03
        assert low < y[corner].mean() - y[middle].mean() < high


def test_only_who_grows_a_beard_has_one(everyone):
    growing = 0
    for name, seen in everyone.items():
        hair = seen.person.hair
        grown = max(hair.beard, hair.stubble)
        assert (seen.share(BEARD) > 0) == (grown > 0), name
        assert seen.cover.shares[:, BEARD].max() <= 1.7 * grown, name
        growing += grown > 0
    assert 0 < growing < len(everyone)


def test_a_beard_leaves_eyes_forehead_and_lips_free():
    seen = look("p005_neutral_front", 64, 48, beard=0.9, stubble=0.0)
    y, x = seen.where(BEARD)[:, 1], seen.where(BEARD)[:, 0]
    assert y.max() < 0.25
    assert (y[np.abs(x) < 0.25] < -0.25).all()
    assert len(seen.where(LIPS)) > 20


def test_who_is_bald_has_no_hair_and_nobody_else_has_none(everyone):
    for name, seen in everyone.items():
        assert (seen.share(HAIR) > 0.005) == (seen.person.hair.style != "bald"), name
    bald = look("p002_neutral_front", style="bald")
    assert bald.share(HAIR) == 0


def test_irises_look_at_the_camera():
    # An eye is a ball of some 0.09 head units: what faces the camera has moved by that times the sine of the yaw; the
    # corner of the eye hides a piece of it.
    for subject in ("p001", "p012"):
        for direction in DIRECTIONS:
            seen = look(f"{subject}_neutral_{direction}", 160, 120)
            x = seen.where(IRIS, 0.9)[:, 0]
            eye = 0.225 * seen.person.shape.eye_distance
            expected = -0.055 * np.sin(seen.pose.yaw) / np.sin(np.radians(38))
            for side in (-1, 1):
                own = x[np.sign(x) == side]
                if len(own) > 8:
                    assert own.mean() - side * eye == pytest.approx(expected, abs=0.02), (subject, direction, side)


def test_an_iris_is_round_and_lies_in_the_white_of_the_eye():
    seen = look("p001_neutral_front", 160, 120)
    iris, white = seen.where(IRIS), seen.where(SCLERA)
    for side in (-1, 1):
        own = iris[np.sign(iris[:, 0]) == side]
        centre = own.mean(axis=0)
        assert np.hypot(*(own - centre)[:, :2].T).max() < 0.065
        around = white[np.sign(white[:, 0]) == side]
        assert around[:, 0].min() < centre[0] < around[:, 0].max()
    pupil = seen.cover.open_to_light[seen.cover.shares[:, IRIS] > 0.5].min()
    assert 0.02 <= pupil < 0.15


def test_both_sides_of_a_face_are_covered_alike():
    person, pose = look("p004_neutral_front").person, look("p004_neutral_front").pose
    stream = np.random.default_rng(0)
    place = stream.uniform((-0.35, -0.5, 0.5), (0.35, 0.25, 0.6), (400, 3)).astype(np.float32)
    flat = replace(person, fields={name: lambda points: np.zeros(len(points), np.float32) for name in person.fields})
    covers = []
    for mirror in (1, -1):
        here = place * np.float32([mirror, 1, 1])
        hits = Hits(np.full(400, Part.HEAD, np.uint8), here[:, 2], here, here)
        covers.append(cover(flat, replace(pose, yaw=0.0), hits))
    np.testing.assert_allclose(covers[0].shares, covers[1].shares, atol=1e-5)
    np.testing.assert_allclose(covers[0].open_to_light, covers[1].open_to_light, atol=1e-5)


# What skin is made of


def skin_at(
    subject: str, place: npt.NDArray[np.float32], *, smile: float = 0.0, lips: float = 0.0, extended=True
) -> Skin:
    seen = look(f"{subject}_neutral_front", 16, 16)
    return tissue(
        seen.person, replace(seen.pose, smile=smile), place, np.full(len(place), lips, np.float32), extended=extended
    )


FOREHEAD, CHEEK, NOSE, UNDER_EYE = np.float32(
    [[0.0, 0.35, 0.63], [0.33, -0.17, 0.56], [0.0, -0.165, 0.685], [0.225, -0.04, 0.645]]
)


def even(person: Person) -> Person:
    """The person with every random field at its mean and no spots."""

    def nothing(points):
        return np.zeros(len(points), np.float32)

    fields = dict.fromkeys(person.fields, nothing)
    return replace(person, fields=fields, moles=nothing, papules=nothing, vessels=nothing)


def test_the_tissue_of_even_skin_solved_by_hand():
    seen = look("p008_neutral_front", 16, 16)
    own = seen.person.tissue
    place = np.stack([FOREHEAD, CHEEK, NOSE, UNDER_EYE])
    skin = tissue(even(seen.person), replace(seen.pose, smile=0.0), place, np.zeros(4, np.float32), extended=True)
    assert skin.melanin_fraction[0] == pytest.approx(own.melanin_fraction, rel=1e-3)
    assert skin.blood_fraction[0] == pytest.approx(own.blood_fraction, rel=0.02)
    assert skin.blood_fraction[1] == pytest.approx(own.blood_fraction * np.exp(0.55), rel=0.03)
    assert skin.blood_fraction[2] == pytest.approx(own.blood_fraction * np.exp(0.65), rel=0.03)
    assert skin.melanin_fraction[2] == pytest.approx(own.melanin_fraction * np.exp(-0.08), rel=0.01)
    assert skin.melanin_fraction[3] == pytest.approx(own.melanin_fraction * np.exp(0.22), rel=0.01)
    for name in ("water_fraction", "scattering_amplitude", "scattering_power", "melanin_exponent", "carotenoid"):
        np.testing.assert_allclose(getattr(skin, name), getattr(own, name), rtol=1e-6, err_msg=name)


def test_lips_have_little_melanin_and_much_blood():
    skin, lips = (skin_at("p002", FOREHEAD[np.newaxis], lips=share) for share in (0.0, 1.0))
    assert lips.melanin_fraction[0] == pytest.approx(0.4 * skin.melanin_fraction[0], rel=1e-5)
    assert lips.blood_fraction[0] == pytest.approx(skin.blood_fraction[0] + 0.07, rel=1e-5)


def test_a_smile_brings_blood_to_the_cheeks_and_moves_no_pigment():
    place = np.stack([FOREHEAD, CHEEK])
    neutral, smiling = (skin_at("p003", place, smile=smile) for smile in (0.0, 1.0))
    gain = smiling.blood_fraction / neutral.blood_fraction
    assert gain[0] == pytest.approx(1, abs=0.01)
    assert 1.1 < gain[1] < 1.25
    np.testing.assert_array_equal(smiling.melanin_fraction, neutral.melanin_fraction)


def test_basic_optics_vary_only_what_the_basic_model_has():
    stream = np.random.default_rng(0)
    place = stream.uniform((-0.4, -0.5, 0.45), (0.4, 0.4, 0.6), (300, 3)).astype(np.float32)
    basic, extended = (skin_at("p001", place, extended=flag) for flag in (False, True))
    for name in ("melanin_exponent", "bloodless_factor", "carotenoid", "lipid_fraction", "vessel_radius_cm"):
        assert np.std(np.asarray(getattr(basic, name), np.float64)) < 1e-6, name
        assert np.std(getattr(extended, name)) > 1e-5, name
    for name in ("melanin_fraction", "blood_fraction", "oxygenation", "water_fraction"):
        np.testing.assert_array_equal(getattr(basic, name), getattr(extended, name))
        assert np.std(getattr(basic, name)) > 0.003, name


def test_moles_and_freckles_are_darker_than_the_skin_around():
    seen = look("p011_neutral_front", 16, 16)
    mole = seen.person.moles._centres[np.argmax(seen.person.moles._strengths)]
    ring = mole + 0.05 * np.float32([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    skin = skin_at("p011", np.vstack([mole, ring]))
    assert skin.melanin_fraction[0] > 2.5 * skin.melanin_fraction[1:].max()
