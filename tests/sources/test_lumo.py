from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.envi import write_envi
from hyperskin.errors import DataError, MissingFileError
from hyperskin.sources.catalog import find_source
from hyperskin.sources.lumo import DARK, WHITE, Lumo

NAME = "p003_smile_left"
HEIGHT, WIDTH, BANDS = 24, 32, 121
CENTRES_NM = tuple(399.0 + 5.02 * band for band in range(BANDS))


def frames() -> dict[str, npt.NDArray[np.uint16]]:
    """Counts of a capture and its references by file prefix."""
    rng = np.random.default_rng(4)
    lamp = 200 + 3000 * np.exp(-(((np.array(CENTRES_NM) - 680) / 170) ** 2))
    response = (1 - 0.18 * np.linspace(-1, 1, WIDTH) ** 2)[:, None] * lamp
    levels = {"": np.full((HEIGHT, 1, 1), 0.4) * response, DARK: np.zeros((12, WIDTH, BANDS)), WHITE: [response] * 10}
    return {
        prefix: np.rint(270 + np.asarray(level) + rng.normal(0, 4, np.shape(level))).astype(np.uint16)
        for prefix, level in levels.items()
    }


def record(folder: Path, name: str = NAME, **changes: npt.NDArray[np.uint16]) -> Path:
    """Write a capture as the recorder does; return its folder."""
    for prefix, counts in (frames() | changes).items():
        path = folder / name / "capture" / f"{prefix}{name}.hdr"
        write_envi(path, [counts], wavelength_nm=CENTRES_NM, fields={"tint": 8.0, "sensor type": "FX10"})
    return folder / name


def edit(place: Path, prefix: str, pattern: str, new: str) -> None:
    """Change a header on disk."""
    path = place / "capture" / f"{prefix}{NAME}.hdr"
    text, count = re.subn(pattern, new, path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)


def open_raw(place: Path):
    return Lumo().open_raw(place, CaptureId.parse(place.name))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return record(tmp_path)


def test_lumo_is_a_source_of_counts():
    source = find_source("lumo")
    assert (source.name, source.gives) == ("lumo", "raw")


def test_captures_are_found_at_any_depth_sorted_by_name(tmp_path):
    for folder, name in (("b/deep/down", "p002_smile_left"), ("", "p001_neutral_front"), ("z", "scan-7")):
        record(tmp_path / folder, name)
    found = Lumo().find(tmp_path)
    assert [original.capture.name for original in found] == ["p001_neutral_front", "p002_smile_left", "scan-7"]
    assert found[1].capture == CaptureId("p002", "p002_smile_left", "smile", "left")
    assert [file.name for file in found[2].files] == [
        "capture/scan-7.hdr", "capture/scan-7.raw", "capture/DARKREF_scan-7.hdr", "capture/DARKREF_scan-7.raw",
        "capture/WHITEREF_scan-7.hdr", "capture/WHITEREF_scan-7.raw",
    ]  # fmt: skip
    assert all(file.path.is_file() for original in found for file in original.files)


@pytest.mark.parametrize("start", [".", "capture", ".."])
def test_the_folder_given_may_be_the_capture_itself(place, start):
    (original,) = Lumo().find(place / start)
    assert original.capture.name == NAME


def test_other_files_beside_a_capture_are_left_alone(place):
    for name in (
        "manifest.xml",
        "capture/notes.log",
        "capture/.hidden.raw",
        "metadata/x.raw",
        "results/REFLECTANCE.hdr",
    ):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text("x")
    (original,) = Lumo().find(place)
    assert len(original.files) == 6


def test_an_empty_folder_holds_no_capture(tmp_path):
    assert Lumo().find(tmp_path) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"below a folder; .*nowhere is none"):
        Lumo().find(tmp_path / "nowhere")


@pytest.mark.parametrize("prefix", ["", DARK, WHITE])
@pytest.mark.parametrize("suffix", [".raw", ".hdr"])
def test_a_missing_file_is_refused_with_the_capture_and_the_file(place, prefix, suffix):
    (place / "capture" / f"{prefix}{NAME}{suffix}").unlink()
    message = f"'{NAME}' must have its counts, dark and white reference in .*; there is no {prefix}{NAME}{suffix}"
    with pytest.raises(MissingFileError, match=message):
        Lumo().find(place)


@pytest.mark.parametrize("other", [NAME, NAME.upper()])
def test_two_captures_of_one_name_are_refused(tmp_path, place, other):
    record(tmp_path / "again", other)
    with pytest.raises(DataError, match=r"must have a name of its own; .* is in .* and in .*"):
        Lumo().find(tmp_path)


@pytest.mark.parametrize("name", ["-rf", "two words", "sm\u00f8rrebr\u00f8d", "n" * 121])
def test_a_name_that_is_no_safe_file_name_is_refused(tmp_path, name):
    record(tmp_path, name)
    with pytest.raises(DataError, match="A capture name must be 1 to 120 letters"):
        Lumo().find(tmp_path)


def test_a_capture_opens_with_its_bands_counts_and_references(place):
    raw = open_raw(place)
    expected = frames()
    assert raw.bands.wavelength_nm == pytest.approx(CENTRES_NM)
    assert (raw.height, raw.width, raw.full_scale) == (HEIGHT, WIDTH, 4095)
    np.testing.assert_array_equal(raw.dark_lines, expected[DARK])
    np.testing.assert_array_equal(raw.white_lines, expected[WHITE])
    np.testing.assert_array_equal(np.concatenate(list(raw.line_blocks(7))), expected[""])


def test_counts_above_twelve_bits_mean_a_sensor_of_sixteen(tmp_path):
    assert (
        open_raw(record(tmp_path / "a", **{prefix: 4 * counts for prefix, counts in frames().items()})).full_scale
        == 65535
    )


def test_references_take_the_wavelengths_of_their_capture(place):
    for prefix in (DARK, WHITE):
        edit(place, prefix, r"^wavelength = \{.*\}\n", "")
    assert len(open_raw(place).bands) == BANDS


@pytest.mark.parametrize("prefix", [DARK, WHITE])
@pytest.mark.parametrize(
    ("pattern", "new", "message"),
    [
        ("^tint = 8$", "tint = 4", r"integration time of its capture \(tint = 8 ms\); it was taken with 4 ms"),
        ("^wavelength = {399", "wavelength = {390", "have the wavelengths of its capture"),
        ("^samples = 32$", "samples = 16", "32 samples x 121 bands like its capture; it has 16 x 121"),
    ],
)
def test_a_reference_of_another_capture_is_refused(place, prefix, pattern, new, message):
    edit(place, prefix, pattern, new)
    if "samples" in new:
        edit(place, prefix, r"^lines = (\d+)$", "lines = " + ("24" if prefix == DARK else "20"))
    with pytest.raises(DataError, match=f"{prefix}{NAME}.raw must .*{message}"):
        open_raw(place)


def test_an_integration_time_written_with_more_digits_is_the_same(place):
    edit(place, DARK, "^tint = 8$", "tint = 8.000001")
    edit(place, WHITE, "^tint = 8\n", "")
    assert open_raw(place).height == HEIGHT


def test_swapped_references_are_refused_as_such(place):
    folder = place / "capture"
    for suffix in (".raw", ".hdr"):
        (folder / f"{DARK}{NAME}{suffix}").rename(folder / f"other{suffix}")
        (folder / f"{WHITE}{NAME}{suffix}").rename(folder / f"{DARK}{NAME}{suffix}")
        (folder / f"other{suffix}").rename(folder / f"{WHITE}{NAME}{suffix}")
    with pytest.raises(DataError, match=r"must be brighter .* on 99% .*; it is on 0\.0%: they look swapped"):
        open_raw(place)


def test_a_white_reference_that_is_dark_in_places_is_refused(tmp_path):
    white = frames()[WHITE]
    white[:, :2] = 100
    with pytest.raises(DataError, match=r"it is on 93\.8%: look at both"):
        open_raw(record(tmp_path, **{WHITE: white}))


def test_a_dark_reference_with_the_lamp_on_is_refused(tmp_path):
    scene = frames()
    with pytest.raises(DataError, match="must be dark, below 50% of full scale; its median is 9"):
        open_raw(record(tmp_path, **{DARK: scene[DARK] + 3500, WHITE: scene[WHITE] // 12 + 3750}))


@pytest.mark.parametrize(
    ("pattern", "new", "message"),
    [
        ("^wavelength = .*\n", "", "must give the wavelengths in nm; it gives none"),
        ("^wavelength = {399", "wavelength = {599", "finite and strictly ascending"),
        ("404.02", "399", "finite and strictly ascending"),
        ("^wavelength = {399, ", "wavelength = {", "`wavelength` must hold 121 values, one per band; it holds 120"),
        ("^wavelength = {399, 404.02", "wavelength = {403, 404.02", "must cover 400 to 700 nm to within half a band"),
        ("^interleave = bil", "interleave = tiled", "`interleave` must be bil, bip, bsq"),
        ("^lines = 24", "lines = 25", "must have 193600 bytes .* it has 185856"),
        ("^lines = 24", "lines = 23", "must have 178112 bytes .* it has 185856"),
    ],
)
def test_a_capture_whose_header_cannot_be_right_is_refused(place, pattern, new, message):
    edit(place, "", pattern, new)
    with pytest.raises(DataError, match=message):
        open_raw(place)


def test_micrometres_are_refused_unless_the_header_says_so(place):
    edit(place, "", "^wavelength = {.*}", f"wavelength = {{{', '.join(f'{nm / 1000:.6f}' for nm in CENTRES_NM)}}}")
    with pytest.raises(DataError, match=r"0\.399 to 1\.0014 look like micrometres"):
        open_raw(place)
    edit(place, "", "^wavelength units = nm", "wavelength units = Micrometers")
    assert open_raw(place).bands.wavelength_nm == pytest.approx(CENTRES_NM, abs=1e-3)


@pytest.mark.parametrize("prefix", ["", WHITE])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("byte order", "1", "with `interleave = bil` and `byte order = 0` they would not"),
        ("interleave", "bip", "with `interleave = bil` and `byte order = 0` they would not"),
    ],
)
def test_a_header_with_the_wrong_layout_is_refused_with_the_one_that_fits(place, prefix, key, value, message):
    edit(place, prefix, f"^{key} = .*$", f"{key} = {value}")
    with pytest.raises(DataError, match=f"/{prefix}{NAME}.raw must say how the counts lie.*{message}"):
        open_raw(place)


def test_a_featureless_scene_is_not_suspected(tmp_path):
    flat = np.random.default_rng(1).integers(300, 310, (HEIGHT, WIDTH, BANDS), dtype=np.uint16)
    assert open_raw(record(tmp_path, **{"": flat})).height == HEIGHT
    assert open_raw(record(tmp_path / "even", **{"": flat * 0 + 300})).height == HEIGHT


def test_a_capture_that_is_gone_is_named(place):
    shutil.rmtree(place / "capture")
    with pytest.raises(MissingFileError, match=f"An ENVI header must be at .*{NAME}.hdr; there is none"):
        open_raw(place)


@pytest.mark.realdata
@pytest.mark.skipif("HYPERSKIN_REALDATA" not in os.environ, reason="needs HYPERSKIN_REALDATA")
def test_a_measured_capture_opens():
    folder = Path(os.environ["HYPERSKIN_REALDATA"]) / "fx10"
    (original,) = Lumo().find(folder)
    raw = Lumo().open_raw(folder / original.capture.name, original.capture)
    assert (raw.height, raw.width, len(raw.bands), raw.full_scale) == (2, 1024, 448, 4095)
    index = np.arange(448)
    np.testing.assert_allclose(
        raw.bands.wavelength_nm, 397.0111 + 1.307579 * index + 1.152053e-4 * index**2, rtol=0, atol=0.006
    )
    counts, white, dark = (
        lines.astype(np.float64) for lines in (next(raw.line_blocks(2)), raw.white_lines, raw.dark_lines)
    )
    reflectance = (counts - dark.mean(axis=0)) / (white.mean(axis=0) - dark.mean(axis=0))
    np.testing.assert_allclose(reflectance[0, 512, [2, 116, 227, 447]], [0.60583, 0.64549, 0.58597, 0.30357], atol=6e-6)
