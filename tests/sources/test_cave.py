"""Public 31-band PNG scenes."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperskin.bands import VIS
from hyperskin.data.capture import CaptureId
from hyperskin.errors import DataError, MissingFileError
from hyperskin.sources.cave import Cave
from hyperskin.sources.decode import open_picture

H, W, C = 24, 32, 31


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 65536, (H, W, C)).astype(np.uint16)


def write_scene(folder: Path, scene: str, counts: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for band in range(counts.shape[2]):
        Image.fromarray(counts[..., band]).save(folder / f"{scene}_{band + 1:02d}.png")
    return folder


def write_rgba(path: Path, colours: np.ndarray, alpha: int | np.ndarray = 255) -> None:
    channels = np.empty((*colours.shape[:2], 4), dtype=np.uint8)
    channels[..., :3] = colours if colours.ndim == 3 else colours[..., None]
    channels[..., 3] = alpha
    Image.fromarray(channels).save(path)


def _png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """Return a PNG written by hand, since Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def read(folder: Path, scene: str = "scene_ms"):
    return Cave().read_cubes(folder, CaptureId.parse(scene))


@pytest.mark.parametrize("nesting", [".", "scene_ms", "scene_ms/scene_ms", "a b/c/d"])
def test_a_scene_is_found_however_deep_it_lies(tmp_path, counts, nesting):
    folder = write_scene(tmp_path / nesting, "scene_ms", counts)
    (found,) = Cave().find(tmp_path)
    assert found.capture == CaptureId("scene_ms", "scene_ms")
    assert [file.path for file in found.files] == [folder / f"scene_ms_{band:02d}.png" for band in range(1, 32)]
    assert [file.name for file in found.files] == [f"scene_ms_{band:02d}.png" for band in range(1, 32)]


def test_scenes_come_sorted_and_each_is_its_own_subject(tmp_path, counts):
    for scene in ("toys_ms", "face_ms"):
        write_scene(tmp_path / scene / scene, scene, counts)
    assert [found.capture.subject for found in Cave().find(tmp_path)] == ["face_ms", "toys_ms"]


def test_scenes_may_share_a_folder(tmp_path, counts):
    write_scene(tmp_path, "a_ms", counts)
    write_scene(tmp_path, "b_ms", counts)
    assert [len(found.files) for found in Cave().find(tmp_path)] == [31, 31]


def test_other_files_are_passed_over(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    Image.new("RGB", (W, H)).save(tmp_path / "scene_RGB.bmp")
    for name in ("Thumbs.db", "._scene_ms_01.png", "scene.png", "scene_ms_1.png", "scene_ms_001.png"):
        (tmp_path / name).write_bytes(b"")
    (found,) = Cave().find(tmp_path)
    assert len(found.files) == 31


def test_a_folder_without_scenes_gives_none(tmp_path):
    assert Cave().find(tmp_path) == []


def test_a_broken_scene_is_named_beside_those_that_are_whole(tmp_path, counts):
    for scene in ("a_ms", "b_ms", "c_ms"):
        write_scene(tmp_path / scene, scene, counts)
    (tmp_path / "b_ms" / "b_ms_07.png").unlink()
    (tmp_path / "b_ms" / "b_ms_30.png").unlink()
    with pytest.raises(DataError, match=r"'b_ms' lacks band 07, 30 \(whole: a_ms, c_ms\)"):
        Cave().find(tmp_path)


def test_all_broken_scenes_are_named(tmp_path, counts):
    for scene in ("a_ms", "b_ms"):
        write_scene(tmp_path / scene, scene, counts[..., :30])
    with pytest.raises(DataError, match=r"'a_ms' lacks band 31 \(also broken: b_ms\)"):
        Cave().find(tmp_path)


def test_names_that_differ_in_case_alone_are_refused(tmp_path, counts):
    write_scene(tmp_path / "a", "face_ms", counts)
    write_scene(tmp_path / "b", "Face_ms", counts)
    with pytest.raises(DataError, match="'Face_ms' and 'face_ms' differ in case alone"):
        Cave().find(tmp_path)


def test_a_scene_that_lies_there_twice_is_refused(tmp_path, counts):
    write_scene(tmp_path / "one", "scene_ms", counts)
    write_scene(tmp_path / "two", "scene_ms", counts)
    with pytest.raises(DataError, match="'scene_ms' has more than one band 01, 02"):
        Cave().find(tmp_path)


@pytest.mark.parametrize("number", ["00", "32", "99"])
def test_a_band_beyond_31_is_refused(tmp_path, counts, number):
    write_scene(tmp_path, "scene_ms", counts)
    shutil.copy(tmp_path / "scene_ms_01.png", tmp_path / f"scene_ms_{number}.png")
    with pytest.raises(DataError, match=f"'scene_ms' has a band {number}"):
        Cave().find(tmp_path)


def test_a_scene_whose_name_is_no_file_name_everywhere_is_refused(tmp_path, counts):
    write_scene(tmp_path, "café: au lait", counts)
    with pytest.raises(DataError, match="A capture name must be"):
        Cave().find(tmp_path)


def test_counts_become_reflectance_band_by_band(tmp_path, counts):
    given = read(write_scene(tmp_path, "scene_ms", counts))
    assert given.cubes["vis"].dtype == np.float32
    assert given.cubes["vis"].shape == (H, W, C)
    np.testing.assert_array_equal(given.cubes["vis"], (counts / 65535).astype(np.float32))
    assert given.bands == {"vis": VIS}
    assert given.valid.all()
    assert given.notes == {"zero_pixel_count": 0, "band_files": {"16-bit grey": 31}}


def test_full_scale_is_reflectance_one(tmp_path, counts):
    counts[3, 5] = 65535
    assert read(write_scene(tmp_path, "scene_ms", counts)).cubes["vis"][3, 5].tolist() == [1.0] * 31


def test_what_find_lists_is_what_read_cubes_reads(tmp_path, counts):
    write_scene(tmp_path / "from" / "deep", "scene_ms", counts)
    (found,) = Cave().find(tmp_path / "from")
    (tmp_path / "raw" / "mask").mkdir(parents=True)
    for file in found.files:
        shutil.copy(file.path, tmp_path / "raw" / file.name)
    shutil.copy(found.files[0].path, tmp_path / "raw" / "mask" / "scene_ms_01.png")
    np.testing.assert_array_equal(read(tmp_path / "raw").cubes["vis"], (counts / 65535).astype(np.float32))


def test_black_pixels_stay_valid_and_are_counted(tmp_path, counts):
    counts[0, :5] = 0
    counts[7, 7, 1:] = 0
    given = read(write_scene(tmp_path, "scene_ms", counts))
    assert given.valid.all()
    assert given.notes["zero_pixel_count"] == 5


def test_eight_bit_grey_is_taken_and_noted(tmp_path, counts):
    small = (counts >> 8).astype(np.uint8)
    given = read(write_scene(tmp_path, "scene_ms", small))
    np.testing.assert_array_equal(given.cubes["vis"], (small / 255).astype(np.float32))
    assert given.notes["band_files"] == {"8-bit grey": 31}


def test_rgba_bands_with_equal_colours_are_taken_and_noted(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    small = (counts >> 8).astype(np.uint8)
    for band in range(C):
        write_rgba(tmp_path / f"scene_ms_{band + 1:02d}.png", small[..., band])
    given = read(tmp_path)
    np.testing.assert_array_equal(given.cubes["vis"], (small / 255).astype(np.float32))
    assert given.notes["band_files"] == {"8-bit RGBA": 31}


def test_the_gamma_chunk_of_a_band_changes_nothing(tmp_path, counts):
    small = (counts >> 8).astype(np.uint8)
    folder = write_scene(tmp_path, "scene_ms", small)
    band = folder / "scene_ms_01.png"
    plain = band.read_bytes()
    gamma = struct.pack(">I4sI", 4, b"gAMA", 45455)
    gamma += struct.pack(">I", zlib.crc32(gamma[4:]))
    band.write_bytes(plain[:33] + gamma + plain[33:])
    with Image.open(band) as picture:
        assert picture.info["gamma"] == 0.45455
    np.testing.assert_array_equal(read(folder).cubes["vis"], (small / 255).astype(np.float32))


def test_rgba_bands_with_unequal_colours_are_refused(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    colours = np.zeros((H, W, 3), dtype=np.uint8)
    colours[4, 4, 2] = 1
    write_rgba(tmp_path / "scene_ms_11.png", colours)
    with pytest.raises(DataError, match="they differ in band 11 of 'scene_ms'"):
        read(tmp_path)


def test_transparent_bands_are_refused(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    alpha = np.full((H, W), 255)
    alpha[0, 0] = 254
    write_rgba(tmp_path / "scene_ms_02.png", np.zeros((H, W)), alpha)
    with pytest.raises(DataError, match="band 02 of 'scene_ms' is partly transparent"):
        read(tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "LA"])
def test_other_kinds_of_pictures_are_refused(tmp_path, counts, mode):
    write_scene(tmp_path, "scene_ms", counts)
    Image.new(mode, (W, H)).save(tmp_path / "scene_ms_05.png")
    with pytest.raises(DataError, match=rf"band 05 of 'scene_ms' is \d+-bit {mode}"):
        read(tmp_path)


def test_sixteen_bit_colour_is_not_quietly_cut_to_eight(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    rows = b"".join(b"\0" + b"\x12\x34" * 4 * W for _ in range(H))
    (tmp_path / "scene_ms_05.png").write_bytes(_png(W, H, depth=16, colour=6, rows=rows))
    with pytest.raises(DataError, match="band 05 of 'scene_ms' is 16-bit RGBA"):
        read(tmp_path)


def test_bands_of_two_sizes_are_refused(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    Image.fromarray(counts[:-1, :, 0]).save(tmp_path / "scene_ms_09.png")
    with pytest.raises(DataError, match=r"in 'scene_ms' band 01 is 24 x 32 px \(H x W\), band 09 is 23 x 32 px"):
        read(tmp_path)


def test_a_band_that_is_gone_is_refused(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    (tmp_path / "scene_ms_09.png").unlink()
    with pytest.raises(DataError, match="'scene_ms' lacks band 09"):
        read(tmp_path)


def test_a_picture_under_a_wrong_suffix_is_refused(tmp_path, counts):
    write_scene(tmp_path, "scene_ms", counts)
    Image.new("L", (W, H)).save(tmp_path / "other.jpg")
    (tmp_path / "other.jpg").rename(tmp_path / "scene_ms_01.png")
    with pytest.raises(DataError, match="must be a picture of the format PNG; it is none"):
        read(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(2001, 2000), (20_000, 20_000), (200_000, 200_000)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, width, height):
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(width, height, depth=8, colour=0, rows=b""))
    with pytest.raises(DataError, match="must hold at most 4000000 pixels"):
        open_picture(path, ("PNG",))


def test_a_missing_picture_is_said_to_be_missing(tmp_path):
    with pytest.raises(MissingFileError, match="A picture must be at"):
        open_picture(tmp_path / "none.png", ("PNG",))


def test_a_damaged_picture_is_read_rightly_or_refused(tmp_path, counts):
    path = tmp_path / "band.png"
    Image.fromarray(counts[..., 0]).save(path)
    whole = path.read_bytes()
    generator = np.random.default_rng(5)
    refused = 0
    for trial in range(500):
        damaged = bytearray(whole)
        if trial % 5 == 0:
            damaged = damaged[: generator.integers(len(whole))]
        else:
            damaged[generator.integers(len(whole))] ^= 1 << generator.integers(8)
        path.write_bytes(bytes(damaged))
        try:
            picture, depth = open_picture(path, ("PNG",))
        except DataError:
            refused += 1
            continue
        assert depth == 16
        np.testing.assert_array_equal(np.asarray(picture), counts[..., 0])
    assert refused > 450


def _real() -> Path:
    folder = os.environ.get("HYPERSKIN_REALDATA")
    if not folder:
        pytest.skip("HYPERSKIN_REALDATA names no folder with measured data")
    return Path(folder) / "cave"


@pytest.mark.realdata
def test_the_published_scenes_are_found():
    assert [found.capture.name for found in Cave().find(_real())] == [
        "fake_and_real_food_ms",
        "hairs_ms",
        "photo_and_face_ms",
        "stuffed_toys_ms",
        "watercolors_ms",
    ]


@pytest.mark.realdata
def test_the_folder_of_one_published_scene_is_enough():
    (found,) = Cave().find(_real() / "hairs_ms" / "hairs_ms")
    assert found.capture.name == "hairs_ms"


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("scene", "form", "zero_pixel_count"),
    [("photo_and_face", "16-bit grey", 0), ("stuffed_toys", "16-bit grey", 0), ("watercolors", "8-bit RGBA", 397)],
)
def test_a_published_scene_has_the_colours_of_the_picture_beside_it(scene, form, zero_pixel_count):
    """Only linear values give them: with the gamma that the 8-bit files claim, the error is twenty times as large."""
    folder = _real() / f"{scene}_ms" / f"{scene}_ms"
    given = Cave().read_cubes(folder, CaptureId.parse(f"{scene}_ms"))
    assert given.notes == {"zero_pixel_count": zero_pixel_count, "band_files": {form: 31}}
    with Image.open(folder / f"{scene}_RGB.bmp") as picture:
        published = np.asarray(picture.convert("RGB")) / 255
    visible = (published > 0.02) & (published < 0.98)
    error = (_reference_srgb(given.cubes["vis"]) - published)[visible]
    assert np.sqrt(np.mean(error**2)) < 0.01
    decoded = np.asarray(given.cubes["vis"], dtype=np.float64) ** 2.2
    assert np.sqrt(np.mean((_reference_srgb(decoded) - published)[visible] ** 2)) > 0.1


def _reference_srgb(cube: np.ndarray) -> np.ndarray:
    """Render under D65 with the colour matching functions of colour-science."""
    colour = pytest.importorskip("colour")
    matching = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"]
    daylight = colour.SDS_ILLUMINANTS["D65"]
    weights = np.stack([matching[nm] * daylight[nm] for nm in VIS.wavelength_nm])
    linear = np.clip(colour.XYZ_to_sRGB(cube @ (weights / weights[:, 1].sum()), apply_cctf_encoding=False), 0, 1)
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
