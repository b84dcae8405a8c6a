"""What the phantom must reach on the real chain: counts on disk -> source -> calibration -> masks, regressions."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from hyperskin.bands import FX10, NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader
from hyperskin.data.encoding import encode
from hyperskin.data.truth import TRUTH_CUBES, TRUTH_MAPS, TruthMaps, read_truth_maps
from hyperskin.metrics.sam import spectral_angle_map
from hyperskin.models.regression import RegressionSums
from hyperskin.phantom.capture import write_capture
from hyperskin.phantom.face import tissue
from hyperskin.phantom.person import Person
from hyperskin.phantom.recipe import DIRECTIONS, EXPRESSIONS, SKIN_TYPES, Recipe, plan_subjects
from hyperskin.phantom.scene import Scene
from hyperskin.phantom.sensor import Sensor, panel_reflectance
from hyperskin.skin.optics import skin_reflectance
from hyperskin.sources.lumo import Lumo
from hyperskin.spectral.calibration import Detector
from hyperskin.spectral.colour import srgb_operator
from hyperskin.spectral.develop import develop
from hyperskin.spectral.mask import subject_mask
from hyperskin.spectral.rendering import render
from hyperskin.spectral.resampling import Kind

Reflectance = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SEED = 1
PLAN = plan_subjects(12)
SUBJECTS = list(PLAN)
POSES = [f"{expression}_{direction}" for expression in EXPRESSIONS for direction in DIRECTIONS]
FX10_NM = FX10.centres_nm()
IS_JUDGED = (FX10_NM >= 430) & (FX10_NM <= 950)
REFERENCE_LINES = 20


def recipe(subject: str, height: int, width: int, **changes) -> Recipe:
    return Recipe(SEED, PLAN[subject], height, width, REFERENCE_LINES, **changes)


@dataclass(frozen=True)
class Shot:
    """A capture that went through the chain, and the truth about it in units of the white reference."""

    vis: Reflectance
    full: Reflectance | None
    valid: Bools
    truth: Reflectance
    maps: TruthMaps
    detector: Detector

    @property
    def skin(self) -> Bools:
        return self.maps.pure_skin() & self.valid

    @property
    def subject(self) -> Bools:
        return self.maps.subject()


def shoot(
    folder: Path, name: str, height: int, width: int, *, kind: Kind = "linear", full: bool = False, keep: bool = False
) -> Shot:
    """Draw a capture unless it was kept, open it as our source does, develop it, and take it from the disk."""
    capture = CaptureId.parse(name)
    if not (folder / name).exists():
        write_capture(folder / name, capture, recipe(capture.subject, height, width))
    raw = Lumo().open_raw(folder / name, capture)
    run = develop(
        raw.line_blocks,
        raw.white_lines,
        raw.dark_lines,
        raw.bands,
        {"vis": VIS, "nir": NIR},
        kind=kind,
        fwhm_nm=10.0 if kind == "gaussian" else None,
        full_scale=raw.full_scale,
        keep_full=full,
    )
    blocks = list(run)
    with CubeReader(folder / name / TRUTH_CUBES) as cubes:
        truth = cubes.read("vis") / panel_reflectance(VIS.centres_nm()).astype(np.float32)
    shot = Shot(
        np.concatenate([block.cubes["vis"] for block in blocks]),
        np.concatenate([block.full for block in blocks]) if full else None,
        np.concatenate([block.valid for block in blocks]),
        truth,
        read_truth_maps(folder / name / TRUTH_MAPS),
        run.detector,
    )
    if not keep:
        shutil.rmtree(folder / name)
    return shot


def sam(estimate: Reflectance, shot: Shot, where: Bools) -> float:
    """Mean angle to the truth."""
    return float(spectral_angle_map(estimate, shot.truth)[where].mean())


# Calibration

SIX = dict(zip(("p006", "p001", "p004", "p002", "p005", "p003"), POSES, strict=True))  # types I to VI


@dataclass(frozen=True)
class Flat:
    """Flat skin of one capture, pixel by pixel: what calibration gave, what is true, which noise is foreseen."""

    error: npt.NDArray[np.float64]
    expected_sd: npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def flats(tmp_path_factory) -> list[Flat]:
    """Six captures, one of every type and pose.

    Pixels beside an edge, be it of skin or of a shadow, are left out: keystone images the bands a fraction of a pixel
    apart, and a bad element gets the mean of its neighbours in the line, so that over an edge a calibrated spectrum
    differs from the scene's without any fault of the calibration. So are the outer quarters of the line, where the
    smile moves the bands most.
    """
    folder, height, width = tmp_path_factory.mktemp("flat"), 64, 64
    sensor, found = Sensor(width, seed=SEED), []
    for subject, pose in SIX.items():
        shot = shoot(folder, f"{subject}_{pose}", height, width, full=True)
        scene = Scene.of(CaptureId.parse(f"{subject}_{pose}"), recipe(subject, height, width)).lines(0, height)
        pure = (scene.maps["skin_share"] > 0.999) & shot.valid
        level = scene.vis[..., VIS.index_of(650.0)]
        edge = ndimage.maximum_filter1d(level, 3, axis=1) - ndimage.minimum_filter1d(level, 3, axis=1)
        flat = ndimage.binary_erosion(pure, np.ones((3, 3))) & (edge < 0.05 * level)
        flat[:, : width // 4] = flat[:, -width // 4 :] = False
        np.testing.assert_array_equal(shot.detector.bad, sensor.bad)
        error = shot.full - scene.reflectance / panel_reflectance(FX10_NM)
        expected = np.stack(
            [sensor.noise_sd(line, reference_lines=REFERENCE_LINES) for line in scene.reflectance[flat.any(axis=1)]]
        )
        found.append(Flat(error[flat], expected[flat[flat.any(axis=1)]]))
        assert len(found[-1].error) > 50
    return found


def test_calibration_has_no_bias(flats):
    bias = np.array([flat.error.mean(axis=0) for flat in flats])
    assert np.abs(bias.mean(axis=0))[IS_JUDGED].max() <= 0.004
    assert np.abs(bias)[:, IS_JUDGED].max() < 0.01  # a capture alone carries its own drift of the dark level


def test_noise_is_that_foreseen(flats):
    expected_sd = np.concatenate([flat.expected_sd for flat in flats])
    error = np.concatenate([flat.error - flat.error.mean(axis=0) for flat in flats])
    error[np.isnan(expected_sd)] = np.nan  # repaired
    ratio = np.sqrt(np.nanmean(error**2, axis=0) / np.nanmean(expected_sd**2, axis=0))
    assert np.abs(ratio[IS_JUDGED] - 1).max() < 0.15


def test_bad_elements_are_repaired(flats):
    for flat in flats:
        assert np.abs(flat.error[:, FX10_NM > 450]).max() < 0.1


# Resampling to 31 bands


def test_noise_after_resampling_is_small_and_smaller_by_a_gaussian(tmp_path):
    linear, gaussian = {}, {}
    for subject, pose in SIX.items():
        shot = shoot(tmp_path, f"{subject}_{pose}", 48, 40, keep=True)
        smooth = shoot(tmp_path, f"{subject}_{pose}", 48, 40, kind="gaussian")
        linear[PLAN[subject]] = sam(shot.vis, shot, shot.skin)
        gaussian[PLAN[subject]] = sam(smooth.vis, smooth, smooth.skin)
    # The darkest skin sends back a fifth of the light: its spectra are noisier by nature, and judged alone.
    assert np.mean([linear[name] for name in SKIN_TYPES if name != "VI"]) <= 0.06
    assert linear["VI"] < 0.2
    # Seven bands' noise averages out; a dark level that has drifted moves all bands alike and stays.
    assert all(gaussian[name] < 0.8 * linear[name] for name in SKIN_TYPES)
    assert np.mean(list(gaussian.values())) < 0.6 * np.mean(list(linear.values()))


# Masks


def overlap(shot: Shot) -> float:
    found = subject_mask(shot.vis, VIS, shot.valid)
    return np.count_nonzero(found & shot.subject) / np.count_nonzero(found | shot.subject)


def test_a_mask_covers_the_subject_of_every_type_and_pose(tmp_path):
    shares = {name: overlap(shoot(tmp_path, f"{name}_{pose}", 128, 128)) for name, pose in SIX.items()}
    assert min(shares.values()) >= 0.97, shares
    assert np.mean(list(shares.values())) >= 0.98


@pytest.mark.slow
def test_masks_cover_the_subjects_of_all_captures(tmp_path):
    shares = {
        f"{subject}_{pose}": overlap(shoot(tmp_path, f"{subject}_{pose}", 128, 128))
        for subject in SUBJECTS
        for pose in POSES
    }
    assert np.mean(list(shares.values())) >= 0.98
    # Two of p012 miss it by a little: black hair beside black skin, at the very rim of the head, before a grey wall.
    below = {name: share for name, share in shares.items() if share < 0.97}
    assert len(below) <= 3, below
    assert min(shares.values()) >= 0.95, below


# Regressions: the floor and its order


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> dict[str, tuple[npt.NDArray[np.float32], Shot]]:
    """Pictures of twelve persons, twice each, as JPEG, with what they show."""
    folder, operator = tmp_path_factory.mktemp("studio"), srgb_operator(VIS)
    found = {}
    for subject in SUBJECTS:
        for pose in ("neutral_front", "smile_left"):
            shot = shoot(folder, f"{subject}_{pose}", 48, 48)
            picture = render(shot.vis, {"cie": operator}, exposure="none", transfer="srgb").pictures["cie"]
            found[f"{subject}_{pose}"] = ((encode(picture, "jpeg") / np.float32(255)), shot)
    return found


def judge(
    studio: dict[str, tuple[npt.NDArray[np.float32], Shot]], kind: str, folds: Iterable[Sequence[str]]
) -> npt.NDArray[np.float64]:
    """Angles to the noise-free cube, of everything, the subject and its skin: means over captures not learned from."""
    scores = []
    for fold in folds:
        sums = RegressionSums(kind, 3, len(VIS), "srgb")
        for name in studio.keys() - set(fold):
            picture, shot = studio[name]
            sums.add(picture[shot.valid], shot.vis[shot.valid])
        regression = sums.solve(ridge=1e-6)
        for name in fold:
            picture, shot = studio[name]
            regions = (shot.valid, shot.subject & shot.valid, shot.skin)
            scores.append([sam(regression.reconstruct(picture), shot, region) for region in regions])
    return np.mean(scores, axis=0)


def folds_by_subject(studio: dict[str, object]) -> list[list[str]]:
    return [[name for name in sorted(studio) if name[:4] in SUBJECTS[start::4]] for start in range(4)]


def test_regressions_are_ranked_against_the_noise_free_cube(studio):
    mean, linear, polynomial = (
        judge(studio, kind, folds_by_subject(studio)) for kind in ("mean", "linear", "polynomial")
    )
    assert (linear < 0.9 * mean).all()
    assert (polynomial < linear).all()
    assert polynomial[2] < 0.9 * linear[2]  # on skin


def test_a_split_that_shares_subjects_scores_too_well(studio):
    honest = judge(studio, "polynomial", folds_by_subject(studio))
    leaking = judge(studio, "polynomial", [sorted(studio)[start::4] for start in range(4)])
    assert (leaking < honest).all()
    assert leaking[2] < 0.98 * honest[2]


# Same seed, same bytes


def digest(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Draw captures in this order; hash every file."""
    found = {}
    for name in names:
        capture = CaptureId.parse(name)
        for file in write_capture(folder / name, capture, recipe(capture.subject, 24, 32)):
            found[f"{name}/{file}"] = hashlib.sha256((folder / name / file).read_bytes()).hexdigest()
    return found


def test_the_same_seed_gives_the_same_bytes_in_any_order_and_process(tmp_path):
    names = ["p001_neutral_front", "p012_smile_left", "p001_smile_right"]
    first = digest(tmp_path / "a", names)
    assert digest(tmp_path / "b", names[::-1]) == first
    assert digest(tmp_path / "c", names[1:2]).items() <= first.items()
    program = (
        "import sys; from pathlib import Path; from hyperskin.data.capture import CaptureId\n"
        "from hyperskin.phantom.capture import write_capture; from hyperskin.phantom.recipe import Recipe\n"
        f"write_capture(Path(sys.argv[1]), CaptureId.parse({names[1]!r}), {recipe('p012', 24, 32)!r})"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "d")], check=True)
    again = {
        f"{names[1]}/{path.relative_to(tmp_path / 'd')}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "d").rglob("*.*")
    }
    assert again == {name: value for name, value in first.items() if name.startswith(names[1])}


# Degrees of freedom


def dimensions(spectra: npt.NDArray[np.floating], share: float) -> int:
    """How many principal components hold a share of the variance."""
    centred = spectra.astype(np.float64) - spectra.mean(axis=0)
    variance = np.linalg.svd(centred, compute_uv=False) ** 2
    return int(np.searchsorted(np.cumsum(variance) / variance.sum(), share)) + 1


def test_extended_optics_have_more_dimensions_than_the_basic_model():
    stream = np.random.default_rng(0)
    nm = np.concatenate([VIS.centres_nm(), NIR.centres_nm()[1:]])
    places = stream.uniform((-0.4, -0.5, 0.45), (0.4, 0.4, 0.6), (60, 3)).astype(np.float32)
    pose = Scene.of(CaptureId.parse("p001_neutral_front"), recipe("p001", 24, 32))._pose
    found = {}
    for extended in (False, True):
        spectra = []
        for subject, skin_type in plan_subjects(24).items():
            person = Person.draw(subject, Recipe(SEED, skin_type, 24, 32, extended_optics=extended))
            skin = tissue(person, pose, places, np.zeros(len(places), np.float32), extended=extended)
            spectra.append(skin_reflectance(skin, nm))
        found[extended] = [dimensions(np.concatenate(spectra), share) for share in (0.999, 0.9999)]
    assert (np.array(found[True]) > found[False]).all()
    assert found[True][0] >= 5


def test_calibrated_skin_has_more_dimensions_than_noise_free_skin(studio):
    shots = [shot for _, shot in studio.values()]
    noisy, clean = (np.concatenate([getattr(shot, name)[shot.skin] for shot in shots]) for name in ("vis", "truth"))
    assert dimensions(clean, 0.999) >= 4
    assert dimensions(noisy, 0.999) > dimensions(clean, 0.999)
