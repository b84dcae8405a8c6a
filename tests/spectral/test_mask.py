"""Which pixels are living skin."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import io as scipy_io
from scipy.interpolate import PchipInterpolator

from hyperskin.bands import FX10, NIR, VIS, Bands
from hyperskin.errors import DataError, ShapeError
from hyperskin.spectral import mask as mask_module
from hyperskin.spectral.mask import subject_mask

# Absorption of whole blood, 150 g/L: nm, oxygenated, deoxygenated in 1/cm (Prahl's compilation, thinned).
_BLOOD = np.fromstring(
    """396 1240 1082 402 1522 1265 406 1897 1449 408 2261 1539 414 2807 1835 416 2795 1948 418 2761 2065 422 2313 2302
    426 1746 2580 432 1147 2957 436 711.2 2929 438 638 2686 440 549.3 2213 442 496.8 1945 444 436.1 1514 446 408.7 1270
    448 359 928.1 450 336.4 553.1 452 315.2 335.4 454 286.8 193.7 456 265 164.4 458 254.3 138.6 462 221.3 111.9
    466 198.5 97.15 472 169.3 81.98 480 142.6 77.91 488 129.5 85.13 496 117 102 506 106.8 127.3 514 109.4 150.5
    536 266.4 233.4 542 285.4 257.8 546 267 274.5 552 212.5 289.6 556 184.6 292.1 562 174.7 279.9 572 263.3 232.1
    576 297.4 214.7 578 293.1 206 584 185.5 183.8 586 142.4 175.9 588 105.8 166.4 590 77.11 151.7 596 30.43 106
    598 24.12 91.35 600 17.14 78.59 602 14.27 72.95 606 9.581 61.65 610 8.064 50.57 614 6.548 41.56 620 5.044 34.86
    626 3.789 30.09 630 3.266 27.57 636 2.564 24.65 666 1.621 15.89 686 1.461 11.72 710 1.681 8.249""",
    sep=" ",
).reshape(-1, 3)
_OXY, _DEOXY = (PchipInterpolator(_BLOOD[:, 0], np.log(_BLOOD[:, column])) for column in (1, 2))
_MELANIN = (0.011, 0.028, 0.05, 0.085, 0.19, 0.36)
# The same model as printed for the six types at 450, 550, 600 and 700 nm.
_PUBLISHED = (
    (0.269, 0.311, 0.455, 0.544),
    (0.223, 0.282, 0.422, 0.520),
    (0.177, 0.250, 0.384, 0.491),
    (0.127, 0.207, 0.330, 0.449),
    (0.065, 0.126, 0.215, 0.344),
    (0.047, 0.071, 0.119, 0.229),
)
_NOISE = ([400, 410, 420, 450, 550, 650, 700], [0.048, 0.027, 0.016, 0.0068, 0.0023, 0.0019, 0.0018])
_NM = VIS.centres_nm()


def skin(melanin: float, blood: float = 0.012, nm: np.ndarray = _NM) -> np.ndarray:
    """Return the reflectance of skin by diffusion theory (Jacques 2013), an epidermis before a dermis with vessels."""
    base = 0.244 + 85.3 * np.exp(-(nm - 154) / 66.2)
    whole_blood = 0.68 * np.exp(_OXY(nm)) + 0.32 * np.exp(_DEOXY(nm))
    packed = (1 - np.exp(-2e-3 * whole_blood)) / 2e-3
    albedo = 1 / (1 + (blood * packed + base) / (36 * (nm / 500) ** -1.6))
    root = np.sqrt(3 * (1 - albedo))
    dermis = albedo / 2 * (1 + np.exp(-4 / 3 * 3.2507 * root)) * np.exp(-root)
    epidermis = np.exp(-0.018 * (melanin * 519 * (nm / 500) ** -3.5 + (1 - melanin) * base))
    return 0.045 + (1 - 0.045) * (1 - 0.02778) * epidermis * dermis


def paint(*, floor: float, height: float, edge_nm: float, width_nm: float) -> np.ndarray:
    return floor + height / (1 + np.exp(-(_NM - edge_nm) / width_nm))


def peak(*, floor: float, height: float, centre_nm: float, width_nm: float) -> np.ndarray:
    return floor + height * np.exp(-(((_NM - centre_nm) / width_nm) ** 2))


SURFACES = {
    "black": np.full(31, 0.02),
    "grey": np.full(31, 0.3),
    "white": np.full(31, 0.8),
    "blue": peak(floor=0.05, height=0.45, centre_nm=450, width_nm=50),
    "green": peak(floor=0.06, height=0.35, centre_nm=530, width_nm=40),
    "red": paint(floor=0.05, height=0.55, edge_nm=595, width_nm=10),
    "orange": paint(floor=0.06, height=0.6, edge_nm=565, width_nm=14),
    "yellow": paint(floor=0.06, height=0.6, edge_nm=515, width_nm=12),
    "brown": paint(floor=0.05, height=0.35, edge_nm=640, width_nm=60),
    "beige": paint(floor=0.25, height=0.35, edge_nm=560, width_nm=40),
    "hair": 0.03 + 0.15 * np.exp(-2.5 * (_NM / 500) ** -3.5),
    "blond": 0.03 + 0.35 * np.exp(-0.9 * (_NM / 500) ** -3.5),
}
# What an ink-jet makes a face of: magenta and yellow on white paper, as red as skin but without blood's violet band.
PRINT = 0.6 * np.exp(-0.55 * np.exp(-(((_NM - 565) / 35) ** 2)) - 0.6 * np.exp(-(((_NM - 465) / 50) ** 2)))

PARTS = ("wall", "cloth", "hair", "skin", "cheek", "lips", "brow", "eye")


def portrait(
    kind: int,
    *,
    wall: str = "grey",
    cloth: str = "blue",
    hair: str | None = "hair",
    shape: tuple[int, int] = (128, 112),
    noise: float = 1.0,
    seed: int = 0,
    face: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return a shaded head on a neck before a wall, (H, W, 31), what of it is skin, and the share of every part.

    The pixels on a boundary are mixed, as a lens mixes them; skin is where at least half a pixel is.
    """
    height, width = shape
    generator = np.random.default_rng([seed, kind])
    fine = 4
    rows, columns = np.mgrid[: height * fine, : width * fine]
    y = (rows + 0.5) / (height * fine) * 2 - 1 + 0.05
    x = ((columns + 0.5) / (width * fine) * 2 - 1) * width / height + generator.uniform(-0.05, 0.05)
    u, v = x / 0.55, y / 0.75
    head = u**2 + v**2 < 1
    neck = (np.abs(x) < 0.28) & (y > 0.3) & (y < 0.9)
    parts = np.full(x.shape, PARTS.index("wall"))
    parts[(y > 0.78) & (np.abs(x) < 0.7)] = PARTS.index("cloth")
    parts[head | neck] = PARTS.index("skin")
    parts[((np.abs(u) - 0.45) / 0.3) ** 2 + ((v - 0.2) / 0.25) ** 2 < 1] = PARTS.index("cheek")
    parts[(np.abs(np.abs(u) - 0.38) < 0.2) & (np.abs(v + 0.28) < 0.03)] = PARTS.index("brow")
    parts[((np.abs(u) - 0.38) / 0.17) ** 2 + ((v + 0.12) / 0.06) ** 2 < 1] = PARTS.index("eye")
    parts[(u / 0.27) ** 2 + ((v - 0.5) / 0.06) ** 2 < 1] = PARTS.index("lips")
    if hair is not None:
        parts[(u**2 + v**2 < 1.15) & (v < -0.5 + 0.15 * np.cos(4 * u))] = PARTS.index("hair")
    melanin = _MELANIN[kind] * np.exp(0.15 * generator.standard_normal())
    spectra = {
        "wall": SURFACES[wall],
        "cloth": SURFACES[cloth],
        "hair": SURFACES[hair or "hair"],
        "skin": skin(melanin) if face is None else face,
        "cheek": skin(melanin, 0.02) if face is None else face,
        "lips": skin(0.5 * melanin, 0.06) if face is None else face,
        "brow": SURFACES["hair"],
        "eye": np.full(31, 0.3),
    }
    height_map = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    light = np.where(head, 0.15 + 0.75 * height_map + 0.1 * u, 0.5)
    light[parts == PARTS.index("wall")] = 0.35
    cube = np.zeros((*shape, 31))
    shares = {}
    for name, spectrum in spectra.items():
        here = parts == PARTS.index(name)
        lit = (here * light).reshape(height, fine, width, fine).mean((1, 3))
        cube += lit[..., None] * spectrum
        shares[name] = here.reshape(height, fine, width, fine).mean((1, 3))
    cube += noise * generator.standard_normal(cube.shape) * np.interp(_NM, *_NOISE)
    truth = sum(shares[name] for name in ("skin", "cheek", "lips", "brow", "eye")) >= 0.5
    return cube.astype(np.float32), truth, shares


def find(cube: np.ndarray, bands: Bands = VIS, **params: float) -> np.ndarray:
    return subject_mask(cube, bands, np.ones(cube.shape[:2], dtype=bool), **params)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


@pytest.mark.parametrize("kind", range(6))
def test_the_skin_of_these_tests_is_that_of_the_six_types(kind):
    found = skin(_MELANIN[kind], nm=np.array([450.0, 550.0, 600.0, 700.0]))
    np.testing.assert_allclose(found, _PUBLISHED[kind], atol=0.004)


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize(
    ("wall", "cloth", "hair"),
    [
        ("black", "blue", "hair"),
        ("grey", "red", None),
        ("blue", "white", "blond"),
        ("green", "black", "hair"),
        ("white", "orange", "hair"),
    ],
)
def test_a_face_of_any_skin_type_is_found_to_the_pixel(kind, wall, cloth, hair):
    cube, truth, _ = portrait(kind, wall=wall, cloth=cloth, hair=hair, seed=2)
    assert overlap(find(cube), truth) >= 0.97


@pytest.mark.parametrize(("kind", "wall"), [(0, "beige"), (2, "beige"), (3, "brown"), (4, "brown"), (5, "brown")])
def test_a_wall_nearly_of_the_colour_of_skin_costs_little(kind, wall):
    cube, truth, _ = portrait(kind, wall=wall, cloth=wall, seed=2)
    assert overlap(find(cube), truth) >= 0.94


@pytest.mark.parametrize("kind", range(6))
def test_brows_eyes_and_lips_belong_to_the_face_and_hair_clothes_and_wall_do_not(kind):
    cube, _, shares = portrait(kind, wall="grey", cloth="red", seed=1)
    found = find(cube)
    for name in ("brow", "eye", "lips", "cheek"):
        assert found[shares[name] == 1].mean() > 0.97, name
    for name in ("hair", "cloth", "wall"):
        assert found[shares[name] == 1].mean() < 0.01, name


@pytest.mark.parametrize("kind", [0, 2, 5])
def test_twice_the_noise_is_borne(kind):
    cube, truth, _ = portrait(kind, wall="black", cloth="grey", noise=2.0, seed=3)
    assert overlap(find(cube), truth) >= 0.97


@pytest.mark.parametrize("kind", [0, 5])
def test_a_small_frame_is_enough(kind):
    cube, truth, _ = portrait(kind, shape=(64, 56), seed=5)
    assert overlap(find(cube), truth) >= 0.94


def test_two_people_are_both_found():
    left, left_truth, _ = portrait(1, wall="grey", seed=1)
    right, right_truth, _ = portrait(4, wall="grey", seed=2)
    found = find(np.concatenate([left, right], axis=1))
    assert overlap(found, np.concatenate([left_truth, right_truth], axis=1)) >= 0.97


@pytest.mark.parametrize("surface", sorted(SURFACES))
def test_a_scene_of_one_surface_has_no_subject(surface):
    cube, _, _ = portrait(2, wall="grey", cloth=surface, hair=None, face=SURFACES[surface])
    assert not find(cube).any()


def test_noise_alone_has_no_subject():
    cube = np.random.default_rng(0).normal(0.02, 0.02, (64, 64, 31)).astype(np.float32)
    assert not find(cube).any()


@pytest.mark.parametrize("value", [0.0, 1.0, -0.01])
def test_an_even_frame_has_no_subject(value):
    assert not find(np.full((24, 32, 31), value, dtype=np.float32)).any()


def test_a_printed_face_is_no_subject():
    cube, truth, _ = portrait(2, hair=None, face=PRINT)
    assert overlap(find(cube, least_pigment=0.0), truth) > 0.9, "by colour alone it passes"
    assert not find(cube).any()


def test_a_living_face_beside_a_printed_one_is_found_alone():
    printed, printed_truth, _ = portrait(2, hair=None, face=PRINT)
    living, truth, _ = portrait(2, seed=1)
    found = find(np.concatenate([printed, living], axis=1))
    assert overlap(found, np.concatenate([np.zeros_like(printed_truth), truth], axis=1)) >= 0.97


def test_a_dim_picture_has_the_same_subject():
    cube, _, _ = portrait(3, noise=0.3)
    assert overlap(find(0.25 * cube), find(cube)) > 0.995


@pytest.mark.parametrize("drift", [-1.0, 1.0])
def test_a_dark_level_that_has_drifted_does_not_cost_dark_skin(drift):
    cube, truth, _ = portrait(5, noise=0.3)
    in_one_count = np.interp(_NM, [400, 430, 460, 510, 600, 700], [0.02, 0.006, 0.0028, 0.0012, 0.0005, 0.0003])
    assert overlap(find(0.25 * cube + (drift * in_one_count).astype(np.float32)), truth) >= 0.97


@pytest.mark.parametrize("turn", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.swapaxes(0, 1)])
def test_a_turned_picture_has_the_turned_subject(turn):
    cube, _, _ = portrait(4, wall="white")
    assert overlap(find(np.ascontiguousarray(turn(cube))), turn(find(cube))) > 0.999


def test_the_same_cube_gives_the_same_mask():
    cube, _, _ = portrait(0)
    before = cube.copy()
    np.testing.assert_array_equal(find(cube), find(cube))
    np.testing.assert_array_equal(cube, before)


def test_all_bands_of_the_sensor_serve_as_well_as_31():
    cube, truth, _ = portrait(2, noise=0.0)
    nm = FX10.centres_nm()[::4]
    dense = np.stack([[np.interp(nm, _NM, spectrum) for spectrum in line] for line in cube]).astype(np.float32)
    assert overlap(find(dense, Bands(tuple(nm.tolist()))), truth) >= 0.97


def test_unmeasured_pixels_are_never_subject_and_their_values_do_not_count():
    cube, _, _ = portrait(1)
    valid = np.ones(cube.shape[:2], dtype=bool)
    valid[40:60, 50:53] = False
    expected = subject_mask(cube, VIS, valid)
    cube[~valid] = np.nan
    cube[41, 51, ::2], cube[41, 51, 1::2] = np.inf, -np.inf
    found = subject_mask(cube, VIS, valid)
    np.testing.assert_array_equal(found, expected)
    assert found.any()
    assert not found[~valid].any()


def test_a_frame_without_a_measured_pixel_has_no_subject():
    cube, _, _ = portrait(1)
    assert not subject_mask(cube, VIS, np.zeros(cube.shape[:2], dtype=bool)).any()


def test_a_region_below_the_smallest_fraction_is_none():
    cube, truth, _ = portrait(1)
    fraction = truth.mean()
    assert find(cube, smallest_fraction=0.9 * fraction).any()
    assert not find(cube, smallest_fraction=1.1 * fraction).any()


def test_a_cube_without_visible_bands_is_refused():
    with pytest.raises(DataError, match="a band within 420 to 440 nm; the cube spans 700 to 1000 nm"):
        find(np.ones((24, 32, 31), dtype=np.float32), NIR)


def test_shapes_that_do_not_fit_are_refused():
    cube = np.ones((24, 32, 30), dtype=np.float32)
    with pytest.raises(ShapeError, match="must name the 30 bands"):
        find(cube)
    with pytest.raises(ShapeError, match="`valid` must have shape"):
        subject_mask(cube, VIS, np.ones((32, 24), dtype=bool))


def test_the_shape_of_a_spectrum_solved_by_hand():
    levels = {"soret": 0.1, "blue": 0.2, "green_shoulder": 0.4, "trough": 0.2, "red_shoulder": 0.8, "red_end": 1.6}
    shape = mask_module._measure_shape({name: np.full((1, 1), level) for name, level in levels.items()})
    in_halvings = {name: float(getattr(shape, name)[0, 0] / np.log(2)) for name in shape._fields}
    assert in_halvings == pytest.approx(
        {"trough_depth": 1.5, "blood_edge": 2, "red_slope": 1, "blue_slope": 1, "green_slope": 1, "soret_depth": 2}
    )


def test_shading_does_not_touch_the_shape_of_a_spectrum():
    generator = np.random.default_rng(0)
    levels = {name: generator.uniform(0.05, 1, (4, 5)) for name in mask_module._WINDOWS_NM}
    shading = generator.uniform(0.2, 3, (4, 5))
    plain = mask_module._measure_shape(levels)
    shaded = mask_module._measure_shape({name: shading * level for name, level in levels.items()})
    np.testing.assert_allclose(np.stack(shaded), np.stack(plain), atol=1e-12)


@pytest.mark.parametrize(("share", "belongs"), [(0.45, False), (0.55, True)])
def test_a_mixed_pixel_goes_to_the_side_it_has_more_of(share, belongs):
    level = np.zeros((9, 12))
    level[:, :6] = 0.8
    level[:, 6] = share * 0.8 + (1 - share) * 0.1
    level[:, 7:] = 0.1
    subject = np.zeros((9, 12), dtype=bool)
    subject[:, :6] = True
    levels = dict.fromkeys(mask_module._EDGE_WINDOWS, level)
    known = np.ones_like(subject)
    settled = mask_module._settle_edge(subject, levels, known, edge_px=3, rounds=4)
    np.testing.assert_array_equal(settled[:, :6], True)
    np.testing.assert_array_equal(settled[:, 6], belongs)
    np.testing.assert_array_equal(settled[:, 7:], False)


def test_a_cheek_that_turns_away_from_the_light_stays_subject_before_a_bright_wall():
    level = {name: np.zeros((9, 12)) for name in mask_module._EDGE_WINDOWS}
    for values, red in zip(level.values(), (0.2, 0.25, 0.25, 0.45, 0.5), strict=True):
        values[:, :6] = red * np.array([1.0, 1.0, 0.9, 0.8, 0.6, 0.4])
        values[:, 6:] = 0.15
    subject = np.zeros((9, 12), dtype=bool)
    subject[:, :4] = True
    settled = mask_module._settle_edge(subject, level, np.ones_like(subject), edge_px=3, rounds=4)
    np.testing.assert_array_equal(settled, np.arange(12) < 6 * np.ones((9, 1)))


def _reference_edge(subject, inside, outside, edge, spectra, edge_px):
    """Each edge pixel by itself: its neighbours listed, its two shares fitted by a general least-squares solver."""
    moved = subject.copy()
    for row, column in zip(*np.nonzero(edge), strict=True):
        near = (
            slice(max(row - edge_px, 0), row + edge_px + 1),
            slice(max(column - edge_px, 0), column + edge_px + 1),
        )
        if not inside[near].any() or not outside[near].any():
            continue
        own = np.array([level[row, column] for level in spectra])
        ours = np.array([level[near][inside[near]].mean() for level in spectra])
        theirs = np.array([level[near][outside[near]].mean() for level in spectra])
        if np.linalg.norm(ours - theirs) <= mask_module._LEAST_CONTRAST * np.linalg.norm(ours):
            continue
        stray = np.hypot(mask_module._STRAY, mask_module._VARIATION * np.linalg.norm(own))
        equations = np.vstack([np.stack([ours, theirs], axis=1) / stray, [[1 / mask_module._SHADING] * 2]])
        wanted = np.append(own / stray, 1 / mask_module._SHADING)
        (a, b), *_ = np.linalg.lstsq(equations, wanted)
        moved[row, column] = a > b
    return moved


@pytest.mark.parametrize("seed", range(5))
def test_the_edge_is_that_of_the_slow_formulation(seed):
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:24, :32]
    subject = (rows - 12) ** 2 + (columns - 15) ** 2 < 64
    spectra = [np.where(subject, 0.5, 0.2) + generator.normal(0, 0.15, subject.shape) for _ in range(5)]
    edge = (np.abs(np.hypot(rows - 12, columns - 15) - 8) < 1.5) & (generator.random(subject.shape) < 0.9)
    inside, outside = subject & ~edge, ~subject & ~edge
    found = mask_module._assign_edge(subject, inside, outside, edge, spectra, 3)
    assert edge.sum() > 50
    np.testing.assert_array_equal(found, _reference_edge(subject, inside, outside, edge, spectra, 3))


def _real() -> Path:
    folder = os.environ.get("HYPERSKIN_REALDATA")
    if not folder:
        pytest.skip("HYPERSKIN_REALDATA names no folder with measured data")
    return Path(folder)


def _read_scene(scene: str) -> np.ndarray:
    bands = []
    for path in sorted((_real() / "cave" / scene / scene).glob("*.png")):
        with Image.open(path) as picture:
            values = np.asarray(picture)
        bands.append(values[..., 0] / 255 if values.ndim == 3 else values / 65535)
    return np.stack(bands, axis=2).astype(np.float32)


def _read_mask(name: str) -> np.ndarray:
    with Image.open(_real() / "masks" / f"photo_and_face_ms_{name}.png") as picture:
        return np.asarray(picture) > 127


@pytest.mark.realdata
def test_of_a_real_and_a_printed_face_the_real_one_is_found():
    """The given mask of the skin was cut by brightness and leaves the shaded jaw out, hence the overlap below 0.9."""
    found = find(_read_scene("photo_and_face_ms"))
    living, printed = _read_mask("realskin"), _read_mask("printedphoto")
    assert found[living].mean() > 0.995
    assert not found[printed].any()
    assert overlap(found, living) > 0.84
    assert overlap(found, living | printed) > 0.54


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("scene", "most"),
    [("hairs_ms", 0), ("watercolors_ms", 0), ("stuffed_toys_ms", 0.0066), ("fake_and_real_food_ms", 0.0112)],
)
def test_scenes_without_skin_have_next_to_no_subject(scene, most):
    """Among the toys it is the chart's patch that is painted to match light skin, among the food a cut tomato."""
    assert find(_read_scene(scene)).mean() <= most


@pytest.mark.realdata
def test_measured_skin_lies_within_the_ranges_of_living_skin():
    forearms = np.load(_real() / "skin" / "nist_397_1003.npz", allow_pickle=False)
    cheeks = scipy_io.loadmat(_real() / "skin" / "iset_HyspexSkinReflectance.mat")
    measured = [
        *(np.interp(_NM, forearms["wavelength"], spectrum) for spectrum in forearms["average"]),
        *(np.interp(_NM, cheeks["wavelength"].ravel(), spectrum) for spectrum in cheeks["data"].T),
    ]
    cube = np.stack(measured)[None]
    levels, _ = mask_module._measure_levels(cube, VIS, np.ones(cube.shape[:2], dtype=bool))
    shape = mask_module._measure_shape(levels)
    inside = np.ones(len(measured), dtype=bool)
    for name, (low, high) in mask_module._LIVING_SKIN.items():
        inside &= (getattr(shape, name)[0] > low) & (getattr(shape, name)[0] < high)
    assert inside.mean() > 0.99
    pigment = (shape.soret_depth + shape.red_slope) / shape.trough_depth
    assert pigment.min() > 1.3
