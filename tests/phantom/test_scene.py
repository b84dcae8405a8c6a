"""The scene before the sensor: its cubes, maps and labels agree, and skin is the colour that skin has."""

import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.bands import FX10, NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.truth import SUBJECT_LABELS
from hyperskin.errors import DataError
from hyperskin.phantom import scene as scene_module
from hyperskin.phantom.face import BACKGROUND, LABELS, LIPS, SKIN, cover, tissue
from hyperskin.phantom.head import Part, turn
from hyperskin.phantom.person import Person
from hyperskin.phantom.recipe import EXPRESSIONS, SKIN_TYPES, Recipe, plan_subjects
from hyperskin.phantom.scene import SUBJECT, Scene, SceneLines
from hyperskin.skin.optics import Skin, skin_reflectance
from hyperskin.skin.typology import individual_typology_angle

PLAN = plan_subjects(12)
HEIGHT, WIDTH = 40, 32
FX10_NM = FX10.centres_nm()
CHROMOPHORES = ("melanin_fraction", "blood_fraction", "oxygenation", "water_fraction")


def recipe(subject: str, **changes) -> Recipe:
    made = Recipe(seed=1, skin_type=PLAN[subject], height_px=HEIGHT, width_px=WIDTH)
    return replace(made, **changes)


def scene_of(name: str, **changes) -> Scene:
    return Scene.of(CaptureId.parse(name), recipe(name[:4], **changes))


@dataclass(frozen=True)
class Whole:
    scene: Scene
    lines: SceneLines


@pytest.fixture(scope="module")
def seen() -> dict[str, Whole]:
    """One capture of every type, in all poses and expressions."""
    names = [
        "p006_neutral_front",
        "p001_smile_left",
        "p004_neutral_right",
        "p002_smile_front",
        "p005_neutral_left",
        "p012_smile_right",
    ]
    scenes = {name: scene_of(name) for name in names}
    return {name: Whole(scene, scene.lines(0, HEIGHT)) for name, scene in scenes.items()}


def test_lines_have_their_shapes_and_dtypes(seen):
    for whole in seen.values():
        lines = whole.lines
        assert lines.reflectance.shape == (HEIGHT, WIDTH, 448)
        assert lines.vis.shape == lines.nir.shape == (HEIGHT, WIDTH, 31)
        assert {cube.dtype for cube in (lines.reflectance, lines.vis, lines.nir)} == {np.dtype(np.float32)}
        assert lines.labels.shape == (HEIGHT, WIDTH)
        assert lines.labels.dtype == np.uint8
        assert set(lines.maps) == {*CHROMOPHORES, "shading", "specular", "skin_share", "subject_share"}
        for values in lines.maps.values():
            assert values.shape == (HEIGHT, WIDTH)
            assert values.dtype == np.float32


def test_reflectance_is_finite_and_not_negative(seen):
    for whole in seen.values():
        for cube in (whole.lines.reflectance, whole.lines.vis, whole.lines.nir):
            assert np.isfinite(cube).all()
            assert cube.min() >= 0
        assert np.percentile(whole.lines.reflectance, 99) < 1


def test_the_subject_is_what_the_examination_takes_for_it():
    assert tuple(LABELS[index] for index in SUBJECT) == SUBJECT_LABELS
    assert set(LABELS) - set(SUBJECT_LABELS) == {"background", "clothes", "hair"}


def test_the_truth_is_the_sensors_spectrum_interpolated(seen):
    for whole in seen.values():
        for cube, bands in ((whole.lines.vis, VIS), (whole.lines.nir, NIR)):
            place = np.searchsorted(FX10_NM, bands.centres_nm())
            share = (bands.centres_nm() - FX10_NM[place - 1]) / (FX10_NM[place] - FX10_NM[place - 1])
            full = whole.lines.reflectance.astype(np.float64)
            expected = (1 - share) * full[..., place - 1] + share * full[..., place]
            np.testing.assert_allclose(cube, expected, rtol=2e-3, atol=1e-5)


def test_both_cubes_agree_at_700_nm(seen):
    for whole in seen.values():
        np.testing.assert_allclose(whole.lines.vis[..., -1], whole.lines.nir[..., 0], rtol=1e-5)


def pixel_means(scene: Scene, values: npt.NDArray[np.floating], first: int = 0) -> npt.NDArray[np.float64]:
    """The rays' values, averaged over each pixel; slowly."""
    rays = scene._fine**2
    return np.array(
        [np.mean(values[start : start + rays], axis=0, dtype=np.float64) for start in range(0, len(values), rays)]
    )


def test_labels_are_what_covers_most_and_maps_the_shares(seen):
    for whole in (seen["p002_smile_front"], seen["p012_smile_right"]):
        scene, lines = whole.scene, whole.lines
        hits = scene._figure.cast(*scene._rays(0, HEIGHT))
        shares = pixel_means(scene, cover(scene._person, scene._pose, hits).shares).reshape(HEIGHT, WIDTH, -1)
        most = np.take_along_axis(shares, lines.labels[..., np.newaxis].astype(int), axis=2)[..., 0]
        np.testing.assert_allclose(most, shares.max(axis=2), atol=1e-5)
        np.testing.assert_allclose(lines.maps["skin_share"], shares[..., SKIN], atol=1e-5)
        np.testing.assert_allclose(lines.maps["subject_share"], shares[..., list(SUBJECT)].sum(axis=2), atol=1e-5)
        assert len(np.unique(lines.labels)) >= 6


def test_where_there_is_no_skin_the_maps_are_nan(seen):
    for whole in seen.values():
        maps, labels = whole.lines.maps, whole.lines.labels
        unknown = np.isnan(maps["melanin_fraction"])
        for name in ("blood_fraction", "oxygenation", "water_fraction", "shading"):
            np.testing.assert_array_equal(np.isnan(maps[name]), unknown)
        for name in ("specular", "skin_share", "subject_share"):
            assert np.isfinite(maps[name]).all()
        assert not unknown[(labels == SKIN) | (maps["skin_share"] > 2e-3)].any()
        assert unknown[(labels == BACKGROUND) & (maps["subject_share"] == 0)].all()
        assert np.nanmin(maps["melanin_fraction"]) >= 0.002
        assert np.nanmax(maps["blood_fraction"]) <= 0.15


def _reference_basic(scene: Scene, lines: SceneLines, pure: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Spectra of pure skin from the maps: the model in float64, pixel by pixel, with what the basic model varies."""
    hits = scene._figure.cast(*scene._rays(0, HEIGHT))
    places = pixel_means(scene, hits.place).reshape(HEIGHT, WIDTH, 3)[pure].astype(np.float32)
    own, field = scene._person.tissue, scene._person.fields
    spectra = []
    for number, place in enumerate(places):
        known = {name: float(lines.maps[name][pure][number]) for name in CHROMOPHORES}
        here = place[np.newaxis]
        skin = Skin(
            **known,
            scattering_amplitude=own.scattering_amplitude * float(np.exp(0.05 * field["scattering"](here)[0])),
            scattering_power=own.scattering_power,
            surface_reflectance=float(np.clip(own.surface_reflectance + 0.004 * field["surface"](here)[0], 0.02, 0.07)),
        )
        spectra.append(skin_reflectance(skin, FX10_NM)[0])
    return np.array(spectra)


@pytest.mark.parametrize("name", ["p006_neutral_front", "p005_smile_left"])
def test_with_basic_optics_a_spectrum_is_shading_times_the_model_of_the_maps(name):
    scene = scene_of(name, extended_optics=False)
    lines = scene.lines(0, HEIGHT)
    pure = lines.maps["skin_share"] > 0.999
    assert pure.sum() > 100
    body = lines.reflectance[pure] - lines.maps["specular"][pure][:, np.newaxis]
    colour = body / lines.maps["shading"][pure][:, np.newaxis]
    np.testing.assert_allclose(colour, _reference_basic(scene, lines, pure), atol=1e-3)


def test_a_wall_does_not_shine(seen):
    for whole in seen.values():
        wall = (whole.lines.labels == BACKGROUND) & (whole.lines.maps["subject_share"] == 0)
        assert np.median(whole.lines.maps["specular"][wall]) == 0


def test_light_falls_off_by_the_cosine_solved_by_hand():
    normal = np.float32([[0, 0, 1], [1, 0, 0], [0, 1, 0], [0.6, 0, 0.8]])
    np.testing.assert_allclose(scene_module._facing(normal, np.float32([0.6, 0, 0.8])), [0.8, 0.6, 0, 1], rtol=1e-6)


@pytest.mark.parametrize("name", ["p001_neutral_front", "p012_smile_left"])
def test_no_value_depends_on_how_many_lines_are_asked_for_or_in_which_order(name):
    scene = scene_of(name, height_px=24, width_px=32)
    whole = scene.lines(0, 24)
    for step in (1, 7, 16):
        firsts = range(0, 24, step)
        blocks = {first: scene.lines(first, min(step, 24 - first)) for first in reversed(firsts)}
        for field in ("reflectance", "vis", "nir", "labels"):
            joined = np.concatenate([getattr(blocks[first], field) for first in firsts])
            np.testing.assert_array_equal(joined, getattr(whole, field), err_msg=f"{field} {step}")
        for field, values in whole.maps.items():
            np.testing.assert_array_equal(np.concatenate([blocks[first].maps[field] for first in firsts]), values)


def test_a_scene_is_the_same_whoever_was_seen_before(seen):
    again = scene_of("p004_neutral_right").lines(8, 16)
    np.testing.assert_array_equal(again.reflectance, seen["p004_neutral_right"].lines.reflectance[8:24])


def test_another_frame_shows_the_same_person():
    small, large = (scene_of("p002_neutral_front", height_px=size, width_px=size).lines(0, size) for size in (24, 48))
    halved = large.vis.reshape(24, 2, 24, 2, 31).mean(axis=(1, 3))
    assert np.median(np.abs(halved - small.vis)) < 0.02
    assert np.corrcoef(halved.ravel(), small.vis.ravel())[0, 1] > 0.95


def test_lines_are_shifted_by_the_sway():
    scene = scene_of("p003_neutral_front")
    scene._sway = np.zeros(HEIGHT, np.float32)
    still = scene.lines(0, HEIGHT)
    scene._sway = np.full(HEIGHT, 3, np.float32)
    moved = scene.lines(0, HEIGHT)
    np.testing.assert_allclose(moved.vis[:, :-3], still.vis[:, 3:], atol=5e-3)
    np.testing.assert_array_equal(moved.labels[:, :-3] != still.labels[:, 3:], False)


def test_nobody_sits_still_and_nobody_moves_by_pixels():
    sways = [
        scene_of(f"{subject}_{name}")._sway for subject in ("p001", "p002") for name in ("neutral_front", "smile_left")
    ]
    assert len({sway.tobytes() for sway in sways}) == 4
    for sway in sways:
        assert 0.02 < np.std(sway) < 1
        assert np.abs(sway).max() < 1.5


def test_people_turn_as_asked():
    for direction, degrees in (("front", 0), ("left", 38), ("right", -38)):
        yaws = [np.degrees(scene_of(f"{s}_{e}_{direction}")._pose.yaw) for s in ("p001", "p008") for e in EXPRESSIONS]
        np.testing.assert_allclose(yaws, degrees, atol=5)
        assert np.ptp(yaws) > 0.05
    nose = turn(np.radians(38), 0, 0) @ np.array([0, 0, 1])
    assert nose[0] > 0.6  # to the right in the picture, which is the person's left


def test_a_capture_that_is_no_pose_is_refused():
    with pytest.raises(DataError, match="named like p001_neutral_front; got 'p001'"):
        Scene.of(CaptureId.parse("p001"), recipe("p001"))


# A mole stays put

MOLE_HEIGHT, MOLE_WIDTH = 384, 352


def mole_pixels(name: str, mole: npt.NDArray[np.float32]) -> tuple[Scene, int, int, bool]:
    """Where a place on the average head is seen: pose and form of the head applied by hand."""
    scene = scene_of(name, height_px=MOLE_HEIGHT, width_px=MOLE_WIDTH)
    figure, pose = scene._figure, scene._pose
    point = mole * figure._stretch(mole[np.newaxis])[0]
    facing = (figure._normals(point[np.newaxis])[0] @ pose.head.T)[2]
    world = pose.head.astype(np.float64) @ point + pose.offset
    unit = 2.12 / MOLE_HEIGHT
    row = round((0.97 - world[1]) / unit - 0.5)
    column = round(world[0] / unit + MOLE_WIDTH / 2 - float(scene._sway[row]) - 0.5)
    hit = figure.cast(np.float32([world[0]]), np.float32([world[1]]))
    is_visible = facing > 0.35 and hit.part[0] == Part.HEAD and abs(hit.depth[0] - world[2]) < 0.02
    return scene, row, column, bool(is_visible)


@pytest.mark.parametrize(("subject", "number"), [("p011", 0), ("p011", 1), ("p006", 1)])
def test_a_mole_stays_put_when_the_head_turns_and_smiles(subject, number):
    person = Person.draw(subject, recipe(subject))
    mole, radius = person.moles._centres[number], float(person.moles._radii[number])
    visible = []
    for name in ("neutral_front", "neutral_left", "neutral_right", "smile_front", "smile_left", "smile_right"):
        scene, row, column, is_visible = mole_pixels(f"{subject}_{name}", mole)
        if not is_visible:
            continue
        visible.append(name)
        reach = 12
        lines = scene.lines(row - reach, 2 * reach + 1)
        window = lines.maps["melanin_fraction"][:, column - reach : column + reach + 1]
        rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        distance = np.hypot(rows, columns)
        around = np.nanmedian(window[distance > 2 * radius / (2.12 / MOLE_HEIGHT) + 2])
        assert window[reach, reach] > 2 * around, name
        peak = np.unravel_index(np.nanargmax(window), window.shape)
        assert np.hypot(peak[0] - reach, peak[1] - reach) <= 2.5, name
        dark = lines.vis[..., VIS.index_of(650.0)][:, column - reach : column + reach + 1]
        assert dark[reach, reach] < 0.85 * np.nanmedian(dark[(distance > 6) & (distance < 10)]), name
    assert len(visible) >= 3
    assert {"neutral_front", "smile_front"} <= set(visible)


@pytest.mark.parametrize("direction", ["left", "right"])
def test_the_same_place_has_the_same_skin_in_every_neutral_capture(direction):
    front = scene_of("p004_neutral_front")
    turned = scene_of(f"p004_neutral_{direction}")
    lines = turned.lines(0, HEIGHT)
    pure = (lines.maps["skin_share"] > 0.999) & (lines.labels == SKIN)
    hits = turned._figure.cast(*turned._rays(0, HEIGHT))
    places = pixel_means(turned, hits.place).reshape(HEIGHT, WIDTH, 3)[pure].astype(np.float32)
    skin = tissue(front._person, front._pose, places, np.zeros(len(places), np.float32), extended=True)
    for name in CHROMOPHORES:
        np.testing.assert_allclose(lines.maps[name][pure], getattr(skin, name), rtol=2e-4, err_msg=name)


def test_lips_have_the_tissue_of_their_own_place():
    scene = scene_of("p012_neutral_front", height_px=160, width_px=128)
    first, count = 95, 14
    lines = scene.lines(first, count)
    hits = scene._figure.cast(*scene._rays(first, count))
    shares = pixel_means(scene, cover(scene._person, scene._pose, hits).shares)
    pure = np.flatnonzero(shares[:, LIPS] > 0.999)
    assert len(pure) > 50
    places = pixel_means(scene, hits.place)[pure].astype(np.float32)
    skin = tissue(scene._person, scene._pose, places, np.ones(len(pure), np.float32), extended=True)
    for name in CHROMOPHORES:
        np.testing.assert_allclose(lines.maps[name].ravel()[pure], getattr(skin, name), rtol=2e-3, err_msg=name)


def test_memory_does_not_grow_with_the_lines():
    peaks = []
    for height in (256, 1024):
        scene = scene_of("p002_neutral_front", height_px=height, width_px=16)
        tracemalloc.start()
        for first in range(0, height, 64):
            scene.lines(first, 16)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


# The colour of people

# K. Xiao et al., "Characterising the variations in ethnic skin colours", Skin Research and Technology (2016): mean
# spectra of faces, hands and arms by the individual typology angle, at 450, 550, 600, 650 and 700 nm.
MEASURED = {
    (41.0, 90.0): (0.244, 0.298, 0.415, 0.483, 0.496),
    (28.0, 41.0): (0.194, 0.252, 0.372, 0.451, 0.475),
    (10.0, 28.0): (0.153, 0.209, 0.320, 0.405, 0.438),
    (-30.0, 10.0): (0.112, 0.157, 0.243, 0.316, 0.348),
}
MEASURED_NM = np.array([450.0, 550.0, 600.0, 650.0, 700.0])


@pytest.fixture(scope="module")
def complexions() -> dict[str, npt.NDArray[np.float64]]:
    """Median spectrum of forehead, cheeks and chin of twelve persons of every type, at VIS and NIR, (12, 62)."""
    stream = np.random.default_rng(0)
    longitude, latitude = stream.uniform(-0.7, 0.7, 60), stream.uniform(-0.6, 0.5, 60)
    up = np.stack(
        [np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)], axis=1
    )
    places = (up / np.sqrt(np.square(up / (0.58, 0.80, 0.70)).sum(axis=1, keepdims=True))).astype(np.float32)
    nm = np.concatenate([VIS.centres_nm(), NIR.centres_nm()])
    pose = scene_of("p001_neutral_front")._pose
    found = {}
    for skin_type in SKIN_TYPES:
        spectra = []
        for number in range(1, 13):
            person = Person.draw(f"p{number:03d}", Recipe(seed=1, skin_type=skin_type, height_px=24, width_px=32))
            skin = tissue(person, pose, places, np.zeros(len(places), np.float32), extended=True)
            spectra.append(np.median(skin_reflectance(skin, nm), axis=0))
        found[skin_type] = np.array(spectra)
    return found


def test_spectra_of_skin_are_those_measured_on_people(complexions):
    spectra = np.concatenate(list(complexions.values()))
    angles = individual_typology_angle(spectra[:, :31], VIS)
    at = [VIS.index_of(nm) for nm in MEASURED_NM]
    for (low, high), expected in MEASURED.items():
        own = spectra[(angles > low) & (angles <= high)][:, at]
        assert len(own) >= 5
        np.testing.assert_allclose(own.mean(axis=0), expected, atol=0.045)


def test_individuals_stay_within_the_measured_population(complexions):
    at_550 = np.concatenate(list(complexions.values()))[:, VIS.index_of(550.0)]
    lowest, highest = 0.5 * 0.090, 1.1 * 0.354  # half the first percentile: the measured held few of type VI
    assert at_550.min() > lowest
    assert at_550.max() < highest


def test_lighter_types_reflect_more_at_every_band(complexions):
    means = np.array([complexions[skin_type].mean(axis=0) for skin_type in SKIN_TYPES])
    assert (np.diff(means, axis=0) < 0).all()


def test_typology_angles_fall_from_type_to_type(complexions):
    angles = [np.median(individual_typology_angle(complexions[name][:, :31], VIS)) for name in SKIN_TYPES]
    assert (np.diff(angles) < -5).all()
    for angle, (low, high) in zip(angles, [(50, 66), (38, 55), (25, 43), (8, 28), (-30, 8), (-70, -30)], strict=True):
        assert low < angle < high


@pytest.mark.parametrize("name", ["p006_neutral_front", "p001_smile_left", "p012_smile_right"])
def test_the_scene_shows_the_complexion_of_its_type(seen, name):
    lines = seen[name].lines
    pure = lines.maps["skin_share"] > 0.999
    colour = (lines.vis[pure] - lines.maps["specular"][pure][:, None]) / lines.maps["shading"][pure][:, None]
    skin_type = PLAN[name[:4]]
    published = skin_reflectance(
        Skin(SKIN_TYPES[skin_type], blood_fraction=0.012, oxygenation=0.68, water_fraction=0.65),
        VIS.centres_nm(),
    )[0]
    np.testing.assert_allclose(np.median(colour, axis=0), published, rtol=0.35, atol=0.02)


def test_a_scene_shows_what_its_labels_name(seen):
    counts = sum(np.bincount(whole.lines.labels.ravel(), minlength=len(LABELS)) for whole in seen.values())
    for name in ("background", "clothes", "hair", "skin", "lips"):
        assert counts[LABELS.index(name)] > 10, name
