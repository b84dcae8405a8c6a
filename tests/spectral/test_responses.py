"""Files of camera responses, good and bad, and the cameras that ship."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hyperskin.errors import DataError, MissingFileError
from hyperskin.spectral.responses import CameraResponse, camera_slug, measured_cameras, read_camera_responses, sim28

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "cameras.txt"
        path.write_text(text)
        return path

    return write


def line(peak: int, count: int = 33) -> str:
    """A channel that peaks at the wavelength number `peak`, tab-separated."""
    return "\t".join(f"{np.exp(-((i - peak) ** 2) / 18):.5g}" for i in range(count))


def block(name: str) -> str:
    return f"{name}\n{line(20)}\n{line(13)}\n{line(6)}\n"


# --- the text form --------------------------------------------------------------------------------------------------


def test_text_form_is_name_then_red_green_blue(write: Write) -> None:
    cameras = read_camera_responses(write(block("Mock 1DMarkIII") + block("Mock A-7 (new)")))
    assert list(cameras) == ["mock_1dmarkiii", "mock_a_7_new"]
    camera = cameras["mock_1dmarkiii"]
    assert camera.name == "Mock 1DMarkIII"
    np.testing.assert_array_equal(camera.wavelength_nm, np.arange(400, 721, 10))
    assert camera.wavelength_nm[camera.sensitivity.argmax(axis=0)].tolist() == [600, 530, 460]


@pytest.mark.parametrize(
    "change", [("\n", "\r\n"), ("\t", "  "), ("\t", ", "), ("\n", " \n\n"), ("Mock", "\ufeffMock")]
)
def test_text_form_may_be_written_in_many_ways(write: Write, change: tuple[str, str]) -> None:
    expected = read_camera_responses(write(block("Mock 1")))["mock_1"]
    camera = read_camera_responses(write(block("Mock 1").replace(*change)))["mock_1"]
    np.testing.assert_array_equal(camera.sensitivity, expected.sensitivity)


def test_camera_twice_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"cameras\.txt: Camera 'MOCK-1' must be there once; its key 'mock_1' comes"):
        read_camera_responses(write(block("Mock 1") + block("MOCK-1")))


def test_missing_channel_is_refused(write: Write) -> None:
    text = "Mock 1\n" + line(20) + "\n" + line(13) + "\n" + block("Mock 2")
    with pytest.raises(
        DataError, match=r"cameras\.txt: Camera 'Mock 1' must have 3 lines .* got 2 lines of 33, 33 val"
    ):
        read_camera_responses(write(text))


def test_name_alone_is_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"'Mock 2' must have 3 lines .* got 0 lines of no values"):
        read_camera_responses(write(block("Mock 1") + "Mock 2\n"))


@pytest.mark.parametrize("count", [32, 34])
def test_other_number_of_values_is_refused(write: Write, count: int) -> None:
    text = f"Mock 1\n{line(20)}\n{line(13, count)}\n{line(6)}\n"
    with pytest.raises(
        DataError, match=f"'Mock 1' must have .* of 33 values, .* got 3 lines of 33, {count}, 33 values"
    ):
        read_camera_responses(write(text))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\t1\t", "\t-0.25\t", r"'Mock 1' must have finite sensitivities of 0 or more; the lowest is -0\.25"),
        ("\t1\t", "\tnan\t", "'Mock 1' must have finite sensitivities"),
        ("\t1\t", "\tmuch\t", "'Mock 1' must have numbers only; got "),
        (line(13), "\t".join(["0"] * 33), "'Mock 1' must see something in every channel"),
    ],
)
def test_wrong_value_is_refused(write: Write, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_camera_responses(write(block("Mock 1").replace(old, new, 1)))
    assert "cameras.txt" in str(caught.value)


def test_numbers_without_a_name_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match="name must stand before its numbers"):
        read_camera_responses(write(line(20) + "\n" + block("Mock 1")))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_empty_file_is_refused(write: Write, text: str) -> None:
    with pytest.raises(DataError, match="it holds none"):
        read_camera_responses(write(text))


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cameras.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match="no UTF-8 text"):
        read_camera_responses(path)


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.txt; there is no such file: check `camera_file`"):
        read_camera_responses(tmp_path / "none.txt")


# --- our own form ---------------------------------------------------------------------------------------------------

TABLE = """# measured on a bench
camera,wavelength_nm,r,g,b
"Bench, left",450,0,0.1,0.8
"Bench, left",650,0.9,0.2,0
"Bench, left",550,0.2,1,0.1
Other,400,0.1,0.1,0.1
Other,700,1,1,1
"""


def test_own_form_may_list_wavelengths_in_any_order(write: Write) -> None:
    cameras = read_camera_responses(write(TABLE))
    assert list(cameras) == ["bench_left", "other"]
    assert cameras["bench_left"].wavelength_nm.tolist() == [450, 550, 650]
    assert cameras["bench_left"].sensitivity[1].tolist() == [0.2, 1, 0.1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Other,700,1,1,1", "Other,400,1,1,1", "'Other' must list each wavelength once"),
        ("Other,700,1,1,1", "Other,700,1,1", "'Other' must have rows of 5 fields; got 4"),
        ("Other,700,1,1,1", "Other,700,1,1,x", "'Other' must have numbers only; got '700 1 1 x'"),
        ("Other,700,1,1,1", "", "'Other' must have red, green and blue at 2 wavelengths or more; got 1"),
        ("Other,700,1,1,1", "Other,inf,1,1,1", "'Other' must list each wavelength once"),
    ],
)
def test_wrong_row_is_refused(write: Write, old: str, new: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_camera_responses(write(TABLE.replace(old, new)))


# --- keys -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Nikon D5100", "nikon_d5100"),
        ("Canon 5DMarkII", "canon_5dmarkii"),
        ("Point Grey Grasshopper2 14S5C", "point_grey_grasshopper2_14s5c"),
        ("SONY NEX-5N", "sony_nex_5n"),
        ("  Caméra / no. 1 ", "camera_no_1"),
        ("sim28_07", "sim28_07"),
    ],
)
def test_name_becomes_a_key(name: str, slug: str) -> None:
    assert camera_slug(name) == slug
    assert camera_slug(slug) == slug


def test_name_without_letters_is_refused() -> None:
    with pytest.raises(DataError, match="Latin letter or a digit; got '---'"):
        camera_slug("---")


# --- cameras that ship ----------------------------------------------------------------------------------------------


def test_measured_cameras_are_those_of_colour_science() -> None:
    colour = pytest.importorskip("colour")
    cameras = measured_cameras()
    assert list(cameras) == ["nikon_5100_npl", "sigma_sdmerill_npl"]
    for camera in cameras.values():
        expected = colour.MSDS_CAMERA_SENSITIVITIES[camera.name]
        np.testing.assert_array_equal(camera.wavelength_nm, expected.wavelengths)
        np.testing.assert_allclose(camera.sensitivity, expected.values, rtol=1e-9)


def test_simulated_cameras_are_28_and_the_same_every_time() -> None:
    cameras = sim28()
    assert list(cameras) == [f"sim28_{number:02d}" for number in range(1, 29)]
    sim28.cache_clear()
    again = sim28()
    for slug, camera in cameras.items():
        np.testing.assert_array_equal(camera.sensitivity, again[slug].sensitivity)
    known = [[0.037401, 0.137729, 0.855699], [0.248744, 1, 0.375798], [0.850488, 0.286112, 0.041271]]
    np.testing.assert_allclose(cameras["sim28_01"].sensitivity[[5, 13, 20]], known, atol=1e-6)  # 450, 530, 600 nm


def test_simulated_cameras_differ_and_peak_where_measured_ones_do() -> None:
    peaks = np.stack([camera.wavelength_nm[camera.sensitivity.argmax(axis=0)] for camera in sim28().values()])
    assert len({camera.sensitivity.tobytes() for camera in sim28().values()}) == 28
    np.testing.assert_allclose(peaks.mean(axis=0), [595, 530, 464], atol=6)
    assert (peaks.std(axis=0) > 3).all()


def test_camera_without_three_channels_is_refused() -> None:
    with pytest.raises(DataError, match="'Grey' must have red, green and blue"):
        CameraResponse("Grey", np.array([400.0, 700.0]), np.ones((2, 1)))


@pytest.mark.realdata
@pytest.mark.skipif("HYPERSKIN_REALDATA" not in os.environ, reason="needs the measured data")
def test_database_of_28_cameras_is_read() -> None:
    cameras = read_camera_responses(Path(os.environ["HYPERSKIN_REALDATA"]) / "cameras" / "camspec_database.txt")
    assert len(cameras) == 28
    nikon = cameras["nikon_d5100"]
    assert nikon.wavelength_nm[nikon.sensitivity.argmax(axis=0)].tolist() == [590, 530, 450]
    peaks = np.stack([camera.wavelength_nm[camera.sensitivity.argmax(axis=0)] for camera in cameras.values()])
    np.testing.assert_allclose(peaks.mean(axis=0), [595, 530, 464], atol=2)
    np.testing.assert_allclose(peaks.std(axis=0), [9, 6, 8], atol=2)
