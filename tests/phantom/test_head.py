"""Where rays meet a head: an ellipsoid solved by hand, rotations, and hits that lie on the surface."""

from dataclasses import replace

import numpy as np
import pytest

from hyperskin.phantom import head
from hyperskin.phantom.head import AXES, Figure, Part, Pose, hairline, turn
from hyperskin.phantom.person import Hair, Person
from hyperskin.phantom.recipe import Recipe

PERSON = Person.draw("p002", Recipe(seed=1, skin_type="IV", height_px=24, width_px=32))
BALD = Hair("bald", 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0)
FAR_AWAY = 5.0


def pose(yaw=0.0, pitch=0.0, roll=0.0, offset=(0.0, 0.0, 0.0), smile=0.0):
    return Pose(turn(yaw, pitch, roll), turn(0, 0, 0), yaw, np.array(offset, dtype=np.float32), smile)


def grid(step=0.03, reach=1.2):
    side = np.arange(-reach, reach, step) + step / 3
    x, y = np.meshgrid(side, side)
    return x.ravel().astype(np.float32), y.ravel().astype(np.float32)


@pytest.fixture
def plain(monkeypatch):
    """Return a person whose head is the average head, an ellipsoid, without ears, hair, hills and hollows."""
    monkeypatch.setattr(head, "_hills", lambda shape, smile: ())
    shape = replace(PERSON.shape, width=1.0, jaw=1e9, ear_size=1e-3, neck_width=1e-3)
    return replace(PERSON, shape=shape, hair=BALD)


def _reference_ellipsoid(x, y, rotation, offset):
    """Depth and normal of every ray by the quadratic equation, NaN where a ray passes."""
    inverse = rotation @ np.diag(1 / AXES.astype(np.float64) ** 2) @ rotation.T
    depth, normal = np.full(len(x), np.nan), np.full((len(x), 3), np.nan)
    for number, start in enumerate(np.stack([x - offset[0], y - offset[1], 0 * x], axis=1).astype(np.float64)):
        a, b, c = inverse[2, 2], (inverse @ start)[2], start @ inverse @ start - 1
        if b * b > a * c:
            z = (-b + np.sqrt(b * b - a * c)) / a
            gradient = inverse @ (start + np.array([0, 0, z]))
            depth[number], normal[number] = z + offset[2], gradient / np.linalg.norm(gradient)
    return depth, normal


@pytest.mark.parametrize(
    "posed",
    [pose(), pose(0.66), pose(-0.6, 0.1, -0.08, offset=(0.05, -0.03, 0.0)), pose(1.2, offset=(0, 0, 0.4))],
    ids=["front", "left", "right", "far left"],
)
def test_an_undisturbed_head_is_hit_where_the_quadratic_equation_says(plain, posed):
    x, y = grid()
    hits = Figure(plain, posed).cast(x, y)
    depth, normal = _reference_ellipsoid(x, y, posed.head.astype(np.float64), posed.offset)
    is_hit, must_hit = hits.part == Part.HEAD, np.isfinite(depth)
    torso = hits.part == Part.TORSO
    assert np.mean((is_hit | torso) != (must_hit | torso)) < 0.002  # the rim itself
    both = is_hit & must_hit
    np.testing.assert_allclose(hits.depth[both], depth[both], atol=5e-3)
    assert np.median(np.abs(hits.depth[both] - depth[both])) < 1e-3
    steep = both & (normal[:, 2] > 0.3)
    np.testing.assert_allclose(hits.normal[steep], normal[steep], atol=6e-3)


def test_the_middle_of_a_plain_head_solved_by_hand(plain):
    hits = Figure(plain, pose(offset=(0.1, 0.2, 0.3))).cast(np.float32([0.1]), np.float32([0.2]))
    assert hits.part[0] == Part.HEAD
    assert hits.depth[0] == pytest.approx(0.70 + 0.3, abs=1e-3)
    np.testing.assert_allclose(hits.normal[0], [0, 0, 1], atol=1e-3)
    np.testing.assert_allclose(hits.place[0], [0, 0, 0.70], atol=1e-5)
    sideways = Figure(plain, pose(yaw=np.pi / 2)).cast(np.float32([0.0]), np.float32([0.0]))
    assert sideways.depth[0] == pytest.approx(0.58, abs=1e-3)
    np.testing.assert_allclose(sideways.place[0], [-0.58, 0, 0], atol=1e-5)


def test_a_ray_beside_everything_hits_nothing():
    hits = Figure(PERSON, pose(0.3)).cast(np.float32([1.5, -1.5, 0.0]), np.float32([0.9, 0.5, FAR_AWAY]))
    np.testing.assert_array_equal(hits.part, Part.NOTHING)
    np.testing.assert_array_equal(hits.place, 0)


def test_turning_is_a_rotation():
    for angles in [(0.66, 0.02, -0.03), (0, 0, 0), (-1, 0.5, 2)]:
        matrix = turn(*angles).astype(np.float64)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(turn(np.pi / 2, 0, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-6)  # the nose, to their left
    np.testing.assert_allclose(turn(0, np.pi / 2, 0) @ [0, 0, 1], [0, -1, 0], atol=1e-6)  # down
    np.testing.assert_allclose(turn(0, 0, np.pi / 2) @ [0, 1, 0], [-1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("posed", [pose(0.66, 0.03, 0.02, (0.02, -0.01, 0)), pose(-0.7), pose(0.2, -0.05)])
def test_a_place_on_the_head_moves_as_the_rotation_says(posed):
    straight, turned = Figure(PERSON, pose()), Figure(PERSON, posed)
    x, y = grid(0.05)
    hits = straight.cast(x, y)
    on_head = hits.part == Part.HEAD
    points = np.stack([x, y, hits.depth], axis=1)[on_head]
    moved = points @ posed.head.T + posed.offset
    normals = hits.normal[on_head] @ posed.head.T
    again = turned.cast(moved[:, 0].astype(np.float32), moved[:, 1].astype(np.float32))
    shown = (again.part == Part.HEAD) & (np.abs(again.depth - moved[:, 2]) < 0.02) & (normals[:, 2] > 0.3)
    assert shown.sum() > 0.4 * on_head.sum()
    np.testing.assert_allclose(again.place[shown], hits.place[on_head][shown], atol=0.012)
    assert np.median(np.linalg.norm(again.place[shown] - hits.place[on_head][shown], axis=1)) < 1.5e-3
    assert np.median(np.linalg.norm(again.normal[shown] - normals[shown], axis=1)) < 0.01
    hidden = normals[:, 2] < -0.2
    assert not (hidden & (np.abs(again.depth - moved[:, 2]) < 0.02)).any()


@pytest.mark.parametrize("smile", [0.0, 1.0])
def test_hits_lie_on_the_surface(smile):
    figure = Figure(PERSON, pose(0.6, smile=smile))
    x, y = grid()
    hits = figure.cast(x, y)
    on_head = hits.part == Part.HEAD
    points = np.stack([x, y, hits.depth], axis=1)[on_head] @ figure._pose.head
    height = np.abs(figure._height(points.astype(np.float32)))
    assert np.median(height) < 1e-3
    assert height.max() < 8e-3
    np.testing.assert_allclose(np.square(hits.place[on_head] / AXES).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(hits.normal, axis=1), 1, atol=1e-4)
    assert (hits.normal[on_head, 2] > -0.05).all()  # it faces the camera


def _reference_first(figure, x, y):
    """Walk down one ray in very small steps until it is inside; the depth there."""
    for z in np.arange(1.1, -0.4, -5e-4):
        point = np.array([[x, y, z]], dtype=np.float32) @ figure._pose.head
        if figure._height(point)[0] < 0:
            return z
    return np.nan


@pytest.mark.parametrize("place", [(0.0, -0.17), (0.25, 0.04), (-0.3, -0.4), (0.05, 0.55)])
def test_the_first_hit_is_that_of_a_walk_in_small_steps(place):
    figure = Figure(PERSON, pose(0.35))
    hits = figure.cast(*np.float32(place).reshape(2, 1))
    assert hits.depth[0] == pytest.approx(_reference_first(figure, *place), abs=3e-3)


def test_a_nose_stands_out_and_eyes_lie_deep():
    figure = Figure(PERSON, pose())
    nose, beside, eye, forehead = figure.cast(
        np.float32([0, 0.2, 0.225, 0.225]), np.float32([-0.165, -0.165, 0.045, 0.3])
    ).depth
    assert nose > beside + 0.08
    assert eye < 0.5 * (nose + forehead) - 0.03


def test_every_ray_has_the_same_hit_whichever_others_are_cast():
    figure, (x, y) = Figure(PERSON, pose(0.5, smile=1.0)), grid(0.05)
    whole = figure.cast(x, y)
    for rays in (slice(0, 100), slice(100, 101), slice(101, None)):
        part = figure.cast(x[rays], y[rays])
        for name in ("part", "depth", "normal", "place"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rays])


def test_hair_ears_neck_and_shoulders_are_where_they_belong():
    curly = replace(PERSON, hair=replace(BALD, style="long", hairline=0.7, thickness=0.07))
    x, y = np.float32([0, 0, 0.6, 0.6, 0.66]), np.float32([0.0, -0.95, -1.13, -0.03, -0.6])
    np.testing.assert_array_equal(
        Figure(curly, pose()).cast(x, y).part, [Part.HEAD, Part.NECK, Part.TORSO, Part.EAR, Part.HAIR]
    )
    assert Figure(replace(curly, hair=BALD), pose()).cast(x, y).part[4] == Part.NOTHING


def test_hair_begins_high_over_the_forehead_and_low_at_the_back():
    longhair = replace(PERSON, hair=replace(BALD, style="short", hairline=0.7))
    forehead, crown, face, nape = np.float32([[0, 0.3, 0.6], [0, 0.8, 0.1], [0, 0, 0.7], [0, -0.2, -0.65]])
    above = hairline(longhair, np.stack([forehead, crown, face, nape]))
    np.testing.assert_array_equal(above > 0, [False, True, False, True])
    assert above[0] == pytest.approx(np.arctan2(0.3, 0.6) - 0.7, abs=1e-3)


def test_a_smile_lifts_the_cheeks():
    # The eyes' own hollow is left alone; what changes is around mouth and cheeks.
    neutral, smiling = (Figure(PERSON, pose(smile=smile)) for smile in (0.0, 1.0))
    x, y = np.float32([0.36, 0.0]), np.float32([-0.13, 0.45])
    difference = smiling.cast(x, y).depth - neutral.cast(x, y).depth
    assert difference[0] > 0.008
    assert difference[1] == pytest.approx(0, abs=2e-3)
