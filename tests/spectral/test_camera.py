"""Camera pictures against sums done by hand, white balance, colour correction and the 960 nm band."""

import logging
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hyperskin.bands import FX10, NIR, VIS, Bands, regular_bands
from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.spectral.camera import (
    CIE,
    camera_operator,
    correction_matrix,
    find_camera,
    find_cameras,
    infrared_band,
    render_camera,
    render_cameras,
    slug_of,
)
from hyperskin.spectral.colour import (
    ILLUMINANTS,
    OBSERVER_BANDS,
    SRGB_FROM_XYZ,
    SRGB_WHITE,
    illuminant_power,
    read_table,
    render_srgb,
    srgb_operator,
)
from hyperskin.spectral.rendering import encode_srgb
from hyperskin.spectral.responses import CameraResponse, measured_cameras, read_camera_responses, sim28

HEIGHT, WIDTH = 24, 32
PLAIN: dict[str, Any] = {"illuminant": "d65", "colour_correction": False, "exposure": "none", "transfer": "linear"}


@pytest.fixture
def cube() -> npt.NDArray[np.float32]:
    return np.random.default_rng(4).random((HEIGHT, WIDTH, 31), dtype=np.float32)


def boxes(first_nm: float = 400, last_nm: float = 700) -> CameraResponse:
    """A camera whose channels see each a third of the range, all alike."""
    wavelength_nm = np.arange(first_nm, last_nm + 1, 10)
    edges = np.linspace(first_nm, last_nm + 1, 4)
    is_seen = [(wavelength_nm >= low) & (wavelength_nm < high) for low, high in pairwise(edges)]
    return CameraResponse("Boxes", wavelength_nm, np.stack(is_seen[::-1], axis=1).astype(np.float64))


def colour_errors(operator: npt.NDArray[np.float64], bands: Bands) -> npt.NDArray[np.float64]:
    """Return CIEDE2000 of the 24 ColorChecker patches, seen by the operator, against their true colours."""
    colour = pytest.importorskip("colour")
    patches = np.stack(list(read_table("colour_checker.csv").values())[1:])
    on_bands = np.stack([np.interp(bands.centres_nm(), OBSERVER_BANDS.centres_nm(), patch) for patch in patches])
    pair = on_bands @ operator, patches @ srgb_operator(OBSERVER_BANDS)
    white = colour.XYZ_to_xy(SRGB_WHITE)
    labs = [colour.XYZ_to_Lab(linear @ np.linalg.inv(SRGB_FROM_XYZ).T, white) for linear in pair]
    return np.asarray(colour.delta_E(*labs, method="CIE 2000"))


# --- what a camera sees ---------------------------------------------------------------------------------------------


def _reference_rgb(spectrum: npt.NDArray[np.float64], camera: CameraResponse) -> list[float]:
    """Sum band by band, where camera and cube share their wavelengths."""
    light = illuminant_power("d65", VIS.centres_nm())
    rgb = []
    for channel in range(3):
        scene = white = 0.0
        for i, nm in enumerate(VIS.wavelength_nm):
            width_nm = 5 if i in (0, 30) else 10
            weight = light[i] * camera.sensitivity[camera.wavelength_nm.tolist().index(nm), channel] * width_nm
            scene += spectrum[i] * weight
            white += weight
        rgb.append(scene / white)
    return rgb


@pytest.mark.parametrize("camera", [boxes(), sim28()["sim28_03"]], ids=lambda camera: camera.name)
def test_camera_is_a_weighted_mean_over_its_bands(cube: npt.NDArray[np.float32], camera: CameraResponse) -> None:
    picture = render_camera(cube, VIS, camera)
    for row, column in ((0, 0), (11, 31), (23, 4)):
        expected = _reference_rgb(cube[row, column].astype(np.float64), camera)
        np.testing.assert_allclose(picture[row, column], expected, rtol=2e-6)


def test_two_bands_by_hand() -> None:
    bands = Bands((540.0, 560.0))
    flat = CameraResponse("Flat", np.array([540.0, 560.0]), np.ones((2, 3)))
    light = illuminant_power("d65", bands.centres_nm())
    expected = (0.2 * light[0] + 0.6 * light[1]) / light.sum()
    picture = render_camera(np.array([[[0.2, 0.6]]]), bands, flat)
    np.testing.assert_allclose(picture[0, 0], [expected] * 3, rtol=1e-6)


@pytest.mark.parametrize("colour_correction", [False, True])
@pytest.mark.parametrize("illuminant", ILLUMINANTS)
@pytest.mark.parametrize("bands", [VIS, FX10, regular_bands(400, 720, 5)], ids=["31", "448", "to 720"])
def test_perfect_reflector_is_white_for_every_camera(bands: Bands, illuminant: Any, colour_correction: bool) -> None:
    for camera in (*measured_cameras().values(), sim28()["sim28_05"]):
        operator = camera_operator(camera, bands, illuminant=illuminant, colour_correction=colour_correction)
        np.testing.assert_allclose(operator.sum(axis=0), 1, atol=2e-7)


def test_unit_of_the_sensitivities_does_not_matter(cube: npt.NDArray[np.float32]) -> None:
    camera = sim28()["sim28_09"]
    scaled = CameraResponse("x", camera.wavelength_nm, camera.sensitivity * [7.0, 0.1, 1e-6])
    np.testing.assert_allclose(render_camera(cube, VIS, scaled), render_camera(cube, VIS, camera), rtol=1e-5)


def test_channel_sees_its_own_wavelengths() -> None:
    cube = np.zeros((1, 3, 31), dtype=np.float32)
    for column, nm in enumerate((600, 530, 460)):
        cube[0, column, VIS.index_of(nm)] = 1
    for camera in (*measured_cameras().values(), *sim28().values()):
        if camera.name.startswith("Sigma"):
            continue  # stacked layers: its green answers to red light
        picture = render_camera(cube, VIS, camera)
        assert picture[0].argmax(axis=1).tolist() == [0, 1, 2], camera.name


def test_light_beyond_the_cube_is_left_out_of_scene_and_white_alike(cube: npt.NDArray[np.float32]) -> None:
    wide = sim28()["sim28_04"]
    assert wide.wavelength_nm[-1] == 720
    cut = CameraResponse("Cut", wide.wavelength_nm[:31], wide.sensitivity[:31])
    np.testing.assert_allclose(render_camera(cube, VIS, wide), render_camera(cube, VIS, cut), rtol=1e-6)


def test_infrared_bands_change_nothing(cube: npt.NDArray[np.float32]) -> None:
    bands = regular_bands(400, 1000, 10)
    whole = np.concatenate([cube, np.full((HEIGHT, WIDTH, 30), np.nan, dtype=np.float32)], axis=2)
    camera = CameraResponse("To 700", VIS.centres_nm(), np.ones((31, 3)))
    assert np.isfinite(render_camera(whole, bands, camera)).all()


def test_camera_that_sees_mostly_elsewhere_is_refused() -> None:
    with pytest.raises(DataError, match=r"'Boxes' needs bands that see 90% of its channels; bands from 700 to 1000 nm"):
        camera_operator(boxes(), NIR)
    with pytest.raises(DataError, match="such a cube has no colour"):
        camera_operator(CIE, NIR)


def test_camera_that_daylight_tables_do_not_reach_is_refused() -> None:
    infrared = CameraResponse("Night", np.array([800.0, 1000.0]), np.ones((2, 3)))
    micrometres = CameraResponse("Micro", np.array([0.4, 0.7]), np.ones((2, 3)))
    for camera in (infrared, micrometres):
        with pytest.raises(DataError, match=r"see R 0\.0 %, G 0\.0 %, B 0\.0 %"):
            camera_operator(camera, FX10)


def test_a_little_unseen_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        camera_operator(boxes(), regular_bands(410, 700, 10))
    assert "colours of camera Boxes are a little off: bands from 410 to 700 nm see R 100.0 %" in caplog.text


def test_vis_cubes_suit_every_shipped_camera(caplog: pytest.LogCaptureFixture) -> None:
    for camera in find_cameras(["cie", "nikon_5100_npl", "sigma_sdmerill_npl", "sim28"]):
        camera_operator(camera, VIS, colour_correction=True)
    assert not caplog.records


# --- colour correction ----------------------------------------------------------------------------------------------


def test_correction_of_a_perfect_camera_is_the_matrix_it_hides() -> None:
    true = srgb_operator(OBSERVER_BANDS)
    mixing = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]]).T  # columns sum to 1: white stays
    np.testing.assert_allclose(correction_matrix(true @ mixing, OBSERVER_BANDS), np.linalg.inv(mixing), atol=1e-6)


def test_correction_is_the_best_of_those_that_keep_white() -> None:
    """No small change that keeps white lowers the squared error over the patches."""
    camera = sim28()["sim28_02"]
    operator = camera_operator(camera, OBSERVER_BANDS)
    best = correction_matrix(operator, OBSERVER_BANDS)
    np.testing.assert_allclose(best.sum(axis=0), 1, atol=1e-12)
    patches = np.stack(list(read_table("colour_checker.csv").values())[1:])
    rgb, target = patches @ operator, patches @ srgb_operator(OBSERVER_BANDS)
    least = np.sum((rgb @ best - target) ** 2)
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = rng.normal(0, 1e-3, (3, 3))
        step -= step.mean(axis=0)
        assert np.sum((rgb @ (best + step) - target) ** 2) > least


def test_correction_brings_camera_colours_near_the_true_ones() -> None:
    for slug, gate in (("nikon_5100_npl", 1.3), ("sigma_sdmerill_npl", 2.3)):
        camera = measured_cameras()[slug]
        plain = colour_errors(camera_operator(camera, VIS), VIS)
        corrected = colour_errors(camera_operator(camera, VIS, colour_correction=True), VIS)
        assert corrected.mean() < gate < plain.mean() / 2


def test_simulated_cameras_err_as_real_ones_do() -> None:
    operators = [camera_operator(camera, VIS, colour_correction=True) for camera in sim28().values()]
    errors = np.array([colour_errors(operator, VIS).mean() for operator in operators])
    assert errors.mean() == pytest.approx(1.45, abs=0.05)  # 28 measured cameras: 1.05
    assert errors.min() > 0.4
    assert errors.max() < 4.2


# --- many at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour_correction", [False, True])
def test_cameras_together_give_what_each_gives_alone(cube: npt.NDArray[np.float32], colour_correction: bool) -> None:
    cameras = find_cameras(["sim28_01", "cie", "nikon_5100_npl"])
    options = PLAIN | {"colour_correction": colour_correction}
    rendering = render_cameras(cube, VIS, cameras, **options)
    assert list(rendering.pictures) == ["sim28_01", "cie", "nikon_5100_npl"]
    for camera in cameras:
        alone = render_camera(cube, VIS, camera, colour_correction=colour_correction)
        np.testing.assert_allclose(rendering.pictures[slug_of(camera)], alone.clip(0, 1), atol=1e-6)


def test_cie_is_the_srgb_picture(cube: npt.NDArray[np.float32]) -> None:
    rendering = render_cameras(cube, VIS, [CIE], **PLAIN | {"transfer": "srgb"})
    expected = render_srgb(cube, VIS)
    np.testing.assert_array_equal(rendering.pictures["cie"], expected.rgb)
    assert rendering.clipped["cie"] == expected.clipped


def test_transfer_and_exposure_come_after_the_camera(cube: npt.NDArray[np.float32]) -> None:
    camera = find_camera("sim28_12")
    linear = render_camera(0.3 * cube, VIS, camera)
    picture = render_cameras(0.3 * cube, VIS, [camera], **PLAIN | {"exposure": "max", "transfer": "srgb"})
    np.testing.assert_allclose(picture.pictures["sim28_12"], encode_srgb(linear / linear.max()), atol=1e-5)


def test_clipped_counts_are_plain_numbers_by_key(cube: npt.NDArray[np.float32]) -> None:
    cube[0, 0] = 3
    rendering = render_cameras(cube, VIS, find_cameras(["cie", "sim28_01"]), **PLAIN)
    assert rendering.clipped["sim28_01"].above_count == 3
    assert {type(count) for count in rendering.clipped_counts.values()} == {int}


def test_bad_pixel_is_black_in_every_picture(cube: npt.NDArray[np.float32]) -> None:
    cube[2, 3, 15] = np.nan
    rendering = render_cameras(cube, VIS, find_cameras(["cie", "sim28_01"]), **PLAIN)
    assert np.argwhere(~rendering.valid).tolist() == [[2, 3]]
    assert not any(picture[2, 3].any() for picture in rendering.pictures.values())


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def camera_file(tmp_path: Path) -> Path:
    path = tmp_path / "own.csv"
    rows = [
        f"{name},{nm},{nm - 399},{1 + nm % 7},{701 - nm}" for name in ("Own 1", "Own 2") for nm in range(400, 701, 50)
    ]
    path.write_text("camera,wavelength_nm,r,g,b\n" + "\n".join(rows))
    return path


def test_cameras_come_in_the_order_asked_for_and_once(camera_file: Path) -> None:
    cameras = find_cameras(["own_2", "cie", "sim28_07", "own_2", "nikon_5100_npl"], camera_file)
    assert [slug_of(camera) for camera in cameras] == ["own_2", "cie", "sim28_07", "nikon_5100_npl"]


def test_groups_stand_for_their_cameras(camera_file: Path) -> None:
    assert [slug_of(camera) for camera in find_cameras(["file", "cie"], camera_file)] == ["own_1", "own_2", "cie"]
    assert len(find_cameras(["sim28", "sim28_03"])) == 28


def test_own_file_goes_before_what_ships(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("camera,wavelength_nm,r,g,b\nNikon 5100 (NPL),400,1,1,1\nNikon 5100 (NPL),700,1,1,1\n")
    camera = find_camera("nikon_5100_npl", path)
    assert isinstance(camera, CameraResponse)
    assert camera.wavelength_nm.tolist() == [400, 700]


@pytest.mark.parametrize("name", ["CIE", "sim28_03", "sim28", "File"])
def test_own_file_may_not_take_reserved_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"camera,wavelength_nm,r,g,b\n{name},400,1,1,1\n{name},700,1,1,1\n")
    with pytest.raises(DataError, match=rf"own\.csv must give its cameras names of their own; {name.lower()} is ours"):
        find_cameras(["cie"], path)


def test_unknown_name_lists_near_ones(camera_file: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"got 'nikon_5100': did you mean nikon_5100_npl\?"):
        find_cameras(["nikon_5100"])
    with pytest.raises(UnknownNameError, match=r"got 'Own 1': did you mean own_1"):
        find_cameras(["Own 1"], camera_file)


@pytest.mark.parametrize("name", ["polaroid", "", "---"])
def test_name_near_to_nothing_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"sim28_01 to sim28_28, cie, nikon_5100_npl, .* need `camera_file`"):
        find_cameras([name])


def test_one_camera_is_one_camera(camera_file: Path) -> None:
    assert find_camera("cie") == CIE
    with pytest.raises(UnknownNameError, match="'sim28' stands for 28"):
        find_camera("sim28")


# --- 960 nm ---------------------------------------------------------------------------------------------------------


def test_infrared_band_is_the_band_at_960_nm() -> None:
    cube = np.random.default_rng(5).random((HEIGHT, WIDTH, 31), dtype=np.float32)
    band = infrared_band(cube, NIR)
    np.testing.assert_array_equal(band, cube[..., 26])
    assert band.flags.owndata


def test_infrared_band_lies_between_its_neighbours_by_hand() -> None:
    bands = Bands((950.0, 958.0, 962.0, 1000.0))
    cube = np.array([[[9.0, 0.2, 0.6, 9.0]]], dtype=np.float32)
    np.testing.assert_allclose(infrared_band(cube, bands), [[0.4]], rtol=1e-6)


def test_infrared_band_of_a_sensor_equals_interpolation_pixel_by_pixel() -> None:
    cube = np.random.default_rng(6).random((3, 4, len(FX10)), dtype=np.float32)
    expected = [[np.interp(960, FX10.centres_nm(), spectrum) for spectrum in row] for row in cube]
    np.testing.assert_allclose(infrared_band(cube, FX10), expected, rtol=1e-6)
    assert infrared_band(cube.astype(np.float64), FX10).dtype == np.float32


def test_infrared_band_needs_bands_that_reach_it() -> None:
    with pytest.raises(DataError, match="must reach 960 nm; got 400 to 700 nm"):
        infrared_band(np.ones((2, 2, 31)), VIS)
    with pytest.raises(ShapeError, match="a band for each of the 31"):
        infrared_band(np.ones((2, 2, 5)), NIR)


# --- measured data --------------------------------------------------------------------------------------------------

needs_realdata = pytest.mark.skipif("HYPERSKIN_REALDATA" not in os.environ, reason="needs the measured data")


@pytest.mark.realdata
@needs_realdata
def test_28_measured_cameras_have_their_known_colour_errors() -> None:
    path = Path(os.environ["HYPERSKIN_REALDATA"]) / "cameras" / "camspec_database.txt"
    cameras = read_camera_responses(path)
    assert [slug_of(camera) for camera in find_cameras(["file"], path)] == list(cameras)
    operators = [camera_operator(camera, VIS, colour_correction=True) for camera in cameras.values()]
    errors = np.array([colour_errors(operator, VIS).mean() for operator in operators])
    assert errors.mean() == pytest.approx(1.05, abs=0.05)
    assert errors.min() == pytest.approx(0.68, abs=0.05)
    assert errors.max() == pytest.approx(4.18, abs=0.1)


@pytest.mark.realdata
@needs_realdata
def test_real_scene_looks_like_the_picture_beside_it() -> None:
    folder = Path(os.environ["HYPERSKIN_REALDATA"]) / "cave" / "photo_and_face_ms" / "photo_and_face_ms"
    planes = []
    for path in sorted(folder.glob("*_ms_[0-9][0-9].png")):
        with Image.open(path) as plane:
            planes.append(np.asarray(plane, dtype=np.float32) / 65535)
    with Image.open(next(folder.glob("*.bmp"))) as bmp:
        published = np.asarray(bmp.convert("RGB"), dtype=np.float64)
    picture = render_srgb(np.stack(planes, axis=2), VIS).rgb
    for channel in range(3):
        assert np.corrcoef(picture[..., channel].ravel(), published[..., channel].ravel())[0, 1] > 0.98
