"""Regions lie where a face has them, in every pose, on skin alone; what they say is what their pixels say."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.bands import NIR, VIS, Bands
from hyperskin.data.capture import CaptureId
from hyperskin.data.truth import SUBJECT_LABELS
from hyperskin.errors import DataError, EmptyMaskError, ShapeError
from hyperskin.phantom.face import LABELS
from hyperskin.phantom.recipe import Recipe, plan_subjects
from hyperskin.phantom.scene import Scene
from hyperskin.skin.landmarks import Landmarks, bare_skin, face_coordinates, find_landmarks
from hyperskin.skin.regions import REGIONS, Regions, align, find_regions, place_regions, region_statistics

SIZE = 96
FACE = Landmarks((40.0, 30.0), (40.0, 50.0), (60.0, 40.0), 0.0, "features")
SUBJECTS = {"II": "p001", "IV": "p002", "VI": "p003", "III": "p004", "V": "p005", "I": "p006"}


@dataclass(frozen=True)
class Shot:
    """A phantom's picture with a sensor's noise, and the truth about it."""

    cube: npt.NDArray[np.float32]
    subject: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.str_]
    place: npt.NDArray[np.float32]  # on the head, (H, W, 3)
    regions: Regions


@functools.cache
def shoot(name: str) -> Shot:
    capture = CaptureId.parse(name)
    scene = Scene.of(capture, Recipe(1, plan_subjects(6)[capture.subject], SIZE, SIZE))
    lines = scene.lines(0, SIZE)
    labels = np.array(LABELS)[lines.labels]
    subject = np.isin(labels, SUBJECT_LABELS)
    cube = lines.vis + 0.003 * np.random.default_rng(0).standard_normal(lines.vis.shape, dtype=np.float32)
    place = scene._figure.cast(*scene._rays(0, SIZE)).place.reshape(SIZE, SIZE, -1, 3).mean(axis=2)
    return Shot(cube, subject, labels, place, find_regions(cube, VIS, subject))


def middle(mask: npt.NDArray[np.bool_]) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


# Placing


def test_a_region_is_an_ellipse_between_eyes_and_mouth():
    nose = place_regions(FACE, np.ones((90, 80), dtype=np.bool_))["nose"]
    assert middle(nose) == pytest.approx((48, 40), abs=0.05)  # 0.40 of the way from the eyes, 20 px, to the mouth
    assert nose.sum() == pytest.approx(math.pi * (0.28 * 10) * (0.28 * 20), rel=0.05)


def test_forehead_lies_above_nose_above_chin_and_right_is_the_subjects_own():
    found = place_regions(FACE, np.ones((90, 80), dtype=np.bool_))
    assert list(found) == list(REGIONS)
    rows = [middle(found[name])[0] for name in ("forehead", "nose", "chin")]
    assert rows == sorted(rows)
    assert middle(found["right_cheek"])[1] < middle(found["nose"])[1] < middle(found["left_cheek"])[1]


def test_a_mirrored_face_has_its_cheeks_exchanged():
    skin = np.random.default_rng(1).random((90, 81)) < 0.9
    right, left, mouth, turn = (41.0, 28.0), (39.0, 47.0), (61.0, 41.0), 0.3
    face = Landmarks(right, left, mouth, turn, "features")
    mirrored = Landmarks((39.0, 33.0), (41.0, 52.0), (61.0, 39.0), -turn, "features")
    found, turned = place_regions(face, skin), place_regions(mirrored, skin[:, ::-1])
    other = {"right_cheek": "left_cheek", "left_cheek": "right_cheek"}
    for name, mask in found.items():
        np.testing.assert_array_equal(mask[:, ::-1], turned[other.get(name, name)])


def test_what_is_turned_away_or_covered_is_no_region():
    skin = np.ones((90, 80), dtype=np.bool_)
    skin[:, 42:] = False
    found = place_regions(FACE, skin)
    assert "left_cheek" not in found
    assert {"right_cheek", "nose", "chin"} <= set(found)


# On phantoms


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_regions_are_skin_and_lie_on_the_same_place_of_the_head_in_every_pose(subject):
    places = {}
    for pose in ("neutral_front", "neutral_left", "neutral_right", "smile_front"):
        shot = shoot(f"{subject}_{pose}")
        assert shot.regions.landmarks.found_by == "features"
        for name, mask in shot.regions.masks.items():
            assert np.mean(shot.labels[mask] == "skin") > 0.9, (pose, name)
            places[pose, name] = shot.place[mask].mean(axis=0)
    for name in ("forehead", "nose"):
        seen = np.stack([place for (_, region), place in places.items() if region == name])
        assert len(seen) == 4
        assert np.ptp(seen, axis=0).max() < 0.15, name  # the head is 1.16 wide
    near = places["neutral_left", "right_cheek"] - places["neutral_front", "right_cheek"]
    assert np.abs(near).max() < 0.1, "turned to the left, the right cheek is the near one"
    assert places["neutral_front", "right_cheek"][0] < -0.2 < 0.2 < places["neutral_front", "left_cheek"][0]


def test_a_beard_is_no_bare_skin_and_takes_the_chin_away():
    shot = shoot("p005_neutral_front")
    assert (shot.labels == "beard").sum() > 300
    assert np.mean(shot.labels[shot.regions.skin] == "beard") < 0.04
    assert "chin" not in shot.regions.masks
    assert "chin" in shoot("p004_neutral_front").regions.masks


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_bare_skin_leaves_out_eyes_and_lips_and_hardly_any_skin(subject):
    shot = shoot(f"{subject}_neutral_front")
    for name in ("sclera", "iris", "lips", "teeth"):
        where = shot.labels == name
        assert shot.regions.skin[where].sum() <= 0.1 * where.sum(), name
    assert np.mean(shot.regions.skin[shot.labels == "skin"]) > 0.75


@pytest.mark.parametrize("pose", ["neutral_front", "neutral_left", "smile_right"])
@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_eyes_and_mouth_are_found(subject, pose):
    shot = shoot(f"{subject}_{pose}")
    eyes = np.argwhere(np.isin(shot.labels, ("sclera", "iris")))
    x = shot.place[..., 0]
    for side, found in ((x < 0, "right_eye"), (x > 0, "left_eye")):
        eye = np.argwhere(np.isin(shot.labels, ("sclera", "iris")) & side)
        assert np.hypot(*(eye.mean(axis=0) - getattr(shot.regions.landmarks, found))) < 0.04 * SIZE, found
    mouth = np.argwhere(np.isin(shot.labels, ("lips", "teeth"))).mean(axis=0)
    assert np.hypot(*(mouth - shot.regions.landmarks.mouth)) < 0.05 * SIZE
    assert len(eyes)


@pytest.mark.parametrize(
    ("name", "seed"), [("p003_neutral_left", 3), ("p003_smile_right", 3), ("p010_neutral_left", 3),
                       ("p012_neutral_right", 4)],
)  # fmt: skip
def test_hair_and_beard_are_no_eyes_of_a_small_dark_face(name, seed):
    """At 64 px eyes are three pixels wide, and a beard has more places without blood; better none than those."""
    capture = CaptureId.parse(name)
    lines = Scene.of(capture, Recipe(seed, plan_subjects(12)[capture.subject], 64, 64)).lines(0, 64)
    labels = np.array(LABELS)[lines.labels]
    cube = lines.vis + 0.003 * np.random.default_rng(0).standard_normal(lines.vis.shape, dtype=np.float32)
    found = find_landmarks(cube, VIS, np.isin(labels, SUBJECT_LABELS), direction=capture.direction)
    eyes = np.argwhere(np.isin(labels, ("sclera", "iris")))
    for point in (found.right_eye, found.left_eye):
        assert np.hypot(*(eyes - point).T).min() < 6, "0.09 of the frame, as far off as an outline may be"


def test_features_that_look_elsewhere_than_the_subject_are_none():
    shot = shoot("p002_neutral_left")
    for direction, found_by in ((None, "features"), ("left", "features"), ("front", "outline"), ("right", "outline")):
        assert find_landmarks(shot.cube, VIS, shot.subject, direction=direction).found_by == found_by


def test_brightness_does_not_count():
    shot = shoot("p002_neutral_front")
    dimmer = 0.5 * shot.cube
    found = find_landmarks(dimmer, VIS, shot.subject)
    assert found.mouth == pytest.approx(shot.regions.landmarks.mouth)
    assert (found.right_eye, found.left_eye) == (shot.regions.landmarks.right_eye, shot.regions.landmarks.left_eye)
    np.testing.assert_array_equal(bare_skin(dimmer, VIS, shot.subject, shot.regions.landmarks), shot.regions.skin)


def test_a_mask_that_leaves_out_the_eyes_helps_as_much():
    shot = shoot("p004_neutral_front")
    holes = shot.subject & ~np.isin(shot.labels, ("sclera", "iris"))
    assert find_landmarks(shot.cube, VIS, holes) == shot.regions.landmarks


def test_where_the_bands_tell_nothing_the_outline_has_to_do():
    shot = shoot("p004_neutral_front")
    found = find_landmarks(np.ones((SIZE, SIZE, 31), dtype=np.float32), NIR, shot.subject)
    assert found.found_by == "outline"
    for side in ("right_eye", "left_eye", "mouth"):
        away = np.subtract(getattr(found, side), getattr(shot.regions.landmarks, side))
        assert np.hypot(*away) < 0.07 * SIZE, side
    turned = find_landmarks(np.ones((SIZE, SIZE, 31), dtype=np.float32), NIR, shot.subject, direction="left")
    assert turned.mouth[1] > found.mouth[1], "a subject who looks to the left looks to the picture's right"


def test_a_strip_that_ends_above_its_own_brow_has_an_outline():
    mask = np.zeros((40, 64), dtype=np.bool_)
    mask[1:5] = True
    bands = Bands((800.0, 900.0))
    found = find_landmarks(np.full((40, 64, 2), 0.5, dtype=np.float32), bands, mask)
    assert found.found_by == "outline"
    assert np.isfinite([*found.right_eye, *found.left_eye, *found.mouth]).all()


def test_a_mask_without_a_pixel_and_a_wrong_shape_are_refused():
    cube = np.ones((5, 6, 31), dtype=np.float32)
    with pytest.raises(EmptyMaskError, match="it selects none"):
        find_regions(cube, VIS, np.zeros((5, 6), dtype=np.bool_))
    with pytest.raises(ShapeError, match=r"`mask` must have shape \(5, 6\)"):
        find_regions(cube, VIS, np.ones((6, 5), dtype=np.bool_))
    with pytest.raises(ShapeError, match="must name the 31 bands"):
        find_regions(cube, NIR.__class__(NIR.wavelength_nm[:5]), np.ones((5, 6), dtype=np.bool_))


# Numbers


def _reference_statistics(values: list[float]) -> tuple[float, ...]:
    """Mean, spread and percentiles as schoolbooks have them."""
    values = sorted(values)
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))

    def percentile(share: float) -> float:
        place = share * (len(values) - 1)
        low = math.floor(place)
        high = min(low + 1, len(values) - 1)
        return values[low] + (place - low) * (values[high] - values[low])

    return mean, spread, percentile(0.05), percentile(0.5), percentile(0.95)


def test_statistics_are_those_of_the_pixels_with_a_value():
    generator = np.random.default_rng(3)
    values = generator.random((24, 32)).astype(np.float32)
    values[generator.random(values.shape) < 0.2] = np.nan
    mask = generator.random(values.shape) < 0.3
    row = region_statistics({"oxygenation": values}, {"nose": mask})[0]
    own = [float(value) for value in values[mask] if not math.isnan(value)]
    assert (row.region, row.map_name, row.pixel_count) == ("nose", "oxygenation", len(own))
    assert (row.mean, row.sd, row.p5, row.median, row.p95) == pytest.approx(_reference_statistics(own), rel=1e-6)


def test_a_region_without_a_value_says_so():
    row = region_statistics({"m": np.full((2, 2), np.nan)}, {"nose": np.ones((2, 2), dtype=np.bool_)})[0]
    assert row.pixel_count == 0
    assert math.isnan(row.mean)
    assert math.isnan(row.p95)


def test_a_region_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"region 'nose' must have shape \(2, 3\)"):
        region_statistics({"m": np.ones((2, 3))}, {"nose": np.ones((3, 2), dtype=np.bool_)})


# Alignment


def test_what_depends_on_the_place_in_the_face_alone_is_the_same_after_alignment():
    there = Landmarks((20.5, 15.0), (22.0, 34.0), (39.0, 27.0), 0.1, "features")
    across, down = face_coordinates(there, (60, 64))
    moved = align(3 * across - 2 * down, there, FACE, (90, 80))
    across, down = face_coordinates(FACE, (90, 80))
    known = np.isfinite(moved)
    assert known.mean() > 0.5
    np.testing.assert_allclose(moved[known], (3 * across - 2 * down)[known], atol=1e-9)


def test_an_unmoved_map_is_itself():
    values = np.random.default_rng(4).random((90, 80))
    values[10:20] = np.nan
    np.testing.assert_allclose(align(values, FACE, FACE, (90, 80)), values, atol=1e-9)


def test_a_pixel_between_a_value_and_none_has_none():
    lower = Landmarks(
        *((row + 0.5, column) for row, column in (FACE.right_eye, FACE.left_eye, FACE.mouth)), 0.0, "features"
    )
    values = np.ones((90, 80))
    values[50] = np.nan
    moved = align(values, lower, FACE, (90, 80))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(moved[:-1]).all(axis=1)), [49, 50])


def test_landmarks_on_a_line_are_refused():
    with pytest.raises(DataError, match="must not lie on one line"):
        align(np.ones((9, 9)), FACE, Landmarks((1.0, 1.0), (1.0, 3.0), (1.0, 5.0), 0.0, "features"), (9, 9))


@pytest.mark.realdata
def test_closed_eyes_of_a_real_face_with_its_chin_raised_are_not_sought_in_its_brows(real_scene):
    regions = find_regions(real_scene.cube, VIS, real_scene.real_skin)
    found = regions.landmarks
    assert found.found_by == "features"
    # Where a person sees the lashes, and the line between the lips.
    for point, seen in ((found.right_eye, (302, 381)), (found.left_eye, (300, 450)), (found.mouth, (362, 419))):
        assert math.dist(point, seen) < 5
    assert set(REGIONS) <= set(regions.masks)
