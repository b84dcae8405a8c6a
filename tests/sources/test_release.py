"""The archive is recognised in each of its layouts, read equal to what was written, and refused where it is broken."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperskin.bands import NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.errors import DataError, HyperSkinError, LeakageError
from hyperskin.sources.given_masks import read_given_masks
from hyperskin.sources.release import Release
from hyperskin.sources.source import Original
from tests.sources.archive import (
    HEIGHT,
    INFRARED,
    LAYOUTS,
    POSES,
    VISIBLE,
    WIDTH,
    Truth,
    find_file,
    write_archive,
    write_v5,
    write_v73,
)

TWO = {"train": ("p001",), "test": ("p002",)}
STEM = "p001_neutral_front"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "Hyper-Skin"


def bring(original: Original, folder: Path) -> Path:
    """Copy a capture's files to where `acquire` would put them."""
    target = folder / original.capture.name
    for file in original.files:
        (target / file.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.path, target / file.name)
    return target


def read_all(root: Path, tmp_path: Path) -> None:
    for original in Release().find(root):
        folder = bring(original, tmp_path / "raw")
        Release().read_cubes(folder, original.capture)
        Release().read_inputs(folder, original.capture)


def _equals(folder: Path, original: Original, truth: Truth, kinds: set[str]) -> None:
    source, capture = Release(), original.capture
    cubes, inputs = source.read_cubes(folder, capture), source.read_inputs(folder, capture)
    assert cubes.cubes.keys() == kinds & {"vis", "nir"}
    assert cubes.valid.all()
    for name, cube in cubes.cubes.items():
        assert cube.dtype == np.float32
        np.testing.assert_array_equal(cube, getattr(truth, name).clip(0, 1).astype(np.float32))
        assert cubes.bands[name] == {"vis": VIS, "nir": NIR}[name]
        assert cubes.notes[name]["clipped_count"] == np.count_nonzero(
            (cubes_of(truth, name) < 0) | (cubes_of(truth, name) > 1)
        )
    np.testing.assert_array_equal(inputs.msi_rgb["cie"], truth.msi[..., :3].astype(np.float32))
    np.testing.assert_array_equal(inputs.infrared, truth.msi[..., 3].astype(np.float32))
    assert set(inputs.rgb) == ({"cie"} if "rgb" in kinds else set())
    if "rgb" in kinds:
        np.testing.assert_array_equal(inputs.rgb["cie"], truth.rgb)
        assert inputs.rgb["cie"].dtype == np.uint8
        assert cubes.notes["vis_upright"] > 0.98
        assert cubes.notes["nir_upright"] == 1
    masks = sorted((folder / "mask").glob("*"))
    assert bool(masks) == ("mask" in kinds and original.split == "test")
    if masks:
        np.testing.assert_array_equal(read_given_masks(masks, (HEIGHT, WIDTH)), truth.mask)


def cubes_of(truth: Truth, name: str) -> np.ndarray:
    return getattr(truth, name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_equal_to_what_was_written(root, tmp_path, layout, caplog):
    caplog.set_level(logging.INFO)
    truths = write_archive(root, layout)
    originals = Release().find(root)
    assert f"the archive's layout is {layout}: 42 captures, 12 train, 6 valid, 24 test" in caplog.text
    assert [original.capture.name for original in originals] == sorted(truths)
    assert {original.layout for original in originals} == {layout}
    for original in originals[:: len(POSES) + 1]:
        truth = truths[original.capture.name]
        assert original.split == truth.split
        _equals(bring(original, tmp_path / "raw"), original, truth, set(LAYOUTS[layout]))


@pytest.mark.parametrize("layout", ["release2025", "icassp2024", "internal2023"])
def test_the_folders_names_are_known_without_their_blank(root, layout):
    write_archive(root, layout, splits=TWO, poses=POSES[:1])
    for name in (VISIBLE, INFRARED):
        (root / name).rename(root / name.replace(" ", ""))
    (original, _) = Release().find(root)
    assert len(original.files) == 4


def test_the_folder_above_is_enough_where_one_archive_lies_in_it(root):
    write_archive(root, splits=TWO, poses=POSES[:1])
    (root.parent / "Notes").mkdir()
    assert len(Release().find(root.parent)) == 2


@pytest.mark.parametrize(
    ("without", "kinds"), [(("msi", "nir"), ["rgb_cie", "vis"]), (("rgb", "vis"), ["msi_cie", "nir"])]
)
@pytest.mark.parametrize("layout", ["release2025", "icassp2024", "internal2023", "readme2023"])
def test_one_domain_alone_is_enough(root, tmp_path, layout, without, kinds):
    write_archive(root, layout, splits={"train": ("p001",)}, poses=POSES[:1], without=(*without, "mask"))
    (original,) = Release().find(root)
    assert sorted(file.name.partition("/")[0] for file in original.files) == kinds
    read_all(root, tmp_path)


@pytest.mark.parametrize("domain", [VISIBLE, INFRARED])
@pytest.mark.parametrize("layout", ["release2025", "icassp2024", "internal2023"])
def test_a_domains_own_folder_may_be_named(root, layout, domain):
    write_archive(root, layout, splits=TWO, poses=POSES[:1], without=("mask",))
    assert [len(original.files) for original in Release().find(root / domain)] == [2, 2]


def test_cubes_of_matlab_v5_are_read_alike(root, tmp_path):
    truths = write_archive(root, splits={"train": ("p001",)}, poses=POSES[:1])
    for kind in ("VIS", "NIR", "MSI"):
        write_v5(find_file(root, kind, STEM), getattr(truths[STEM], kind.lower()))
    (original,) = Release().find(root)
    _equals(bring(original, tmp_path / "raw"), original, truths[STEM], {"rgb", "vis", "nir", "msi"})


def test_pictures_kept_as_matlab_files_are_read(root, tmp_path):
    truths = write_archive(root, "readme2023", splits={"train": ("p001",)}, poses=POSES[:2])
    stems = sorted(truths)
    for stem, values in zip(stems, (truths[stems[0]].rgb, truths[stems[1]].msi[..., :3]), strict=True):
        find_file(root, "RGB", stem).unlink()
        write_v73(root / "RGB_CIE" / "train" / f"{stem}.mat", values)
    whole, floats = (
        Release().read_inputs(bring(original, tmp_path / "raw"), original.capture).rgb["cie"]
        for original in Release().find(root)
    )
    np.testing.assert_array_equal(whole, truths[stems[0]].rgb)
    assert whole.dtype == floats.dtype == np.uint8
    np.testing.assert_allclose(floats, 255 * truths[stems[1]].msi[..., :3], rtol=0, atol=0.501)


def test_every_camera_of_the_archive_is_kept_under_its_name(root, tmp_path):
    write_archive(root, "icassp2024", splits=TWO, poses=POSES[:1])
    for split in TWO:
        for folder in (root / VISIBLE / split / "RGB", root / INFRARED / split / "MSI"):
            shutil.copytree(f"{folder}_CIE", f"{folder}_Nokia N900")
    (original, _) = Release().find(root)
    inputs = Release().read_inputs(bring(original, tmp_path / "raw"), original.capture)
    assert set(inputs.rgb) == set(inputs.msi_rgb) == {"cie", "nokia_n900"}


def test_what_was_found_in_the_values_is_noted(root, tmp_path):
    truths = write_archive(root, splits={"train": ("p001",)}, poses=POSES[:1])
    (original,) = Release().find(root)
    folder = bring(original, tmp_path / "raw")
    notes = Release().read_cubes(folder, original.capture).notes
    assert notes["vis"]["stored"] == "MATLAB v7.3, float64"
    assert notes["vis"]["clipped_count"] == 2
    np.testing.assert_allclose(notes["vis"]["lowest"], truths[STEM].vis.min(axis=(0, 1)), atol=1e-9)
    np.testing.assert_allclose(notes["vis"]["highest"], truths[STEM].vis.max(axis=(0, 1)), atol=1e-9)
    assert notes["band_700_off_by"] == 0
    assert Release().read_inputs(folder, original.capture).notes["infrared_960_off_by"] == 0


# What is refused, and in which words.


def _rewrite(change: Callable[[np.ndarray], np.ndarray], kind: str = "VIS") -> Callable[[Path, dict[str, Truth]], None]:
    def spoil(root: Path, truths: dict[str, Truth]) -> None:
        write_v73(find_file(root, kind, STEM), change(getattr(truths[STEM], kind.lower()).copy()))

    return spoil


def _put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(cube: np.ndarray) -> np.ndarray:
        cube[5, 6, 7 % cube.shape[2]] = value
        return cube

    return change


def _remove(kind: str, stem: str = STEM) -> Callable[[Path, dict[str, Truth]], None]:
    return lambda root, truths: find_file(root, kind, stem).unlink()


def _twin(root: Path, truths: dict[str, Truth]) -> None:
    for kind in ("RGB", "VIS", "MSI", "NIR"):
        path = find_file(root, kind, STEM)
        shutil.copy(path, str(path).replace("/train/", "/test/"))


def _moved(root: Path, truths: dict[str, Truth]) -> None:
    path = find_file(root, "VIS", STEM)
    path.rename(str(path).replace("/train/", "/test/"))


def _truncate(root: Path, truths: dict[str, Truth]) -> None:
    path = find_file(root, "VIS", STEM)
    path.write_bytes(path.read_bytes()[:-2000])


def _swap(root: Path, truths: dict[str, Truth]) -> None:
    """Give one capture the cubes of another, as pairing by position would."""
    for kind in ("VIS", "NIR", "MSI"):
        write_v73(find_file(root, kind, STEM), np.flip(getattr(truths[STEM], kind.lower()), axis=(0, 1)))


def _grey(root: Path, truths: dict[str, Truth]) -> None:
    Image.new("L", (WIDTH, HEIGHT)).save(find_file(root, "RGB", STEM), "JPEG")


def _no_picture(root: Path, truths: dict[str, Truth]) -> None:
    find_file(root, "RGB", STEM).write_bytes(b"<html>404</html>")


def _second(root: Path, truths: dict[str, Truth]) -> None:
    path = find_file(root, "RGB", STEM)
    shutil.copy(path, path.with_suffix(".jpeg"))


REFUSED = {
    "no cube": (_remove("VIS"), DataError, rf"1 of 2 lack a file - VIS: 1 \({STEM}\): copy what is missing"),
    "no picture": (_remove("RGB"), DataError, rf"lack a file - RGB: 1 \({STEM}\)"),
    "no MSI": (_remove("MSI"), DataError, rf"lack a file - MSI: 1 \({STEM}\)"),
    "no NIR": (_remove("NIR"), DataError, rf"lack a file - NIR: 1 \({STEM}\)"),
    "no NIR folder": (
        lambda root, truths: [shutil.rmtree(path) for path in root.rglob("NIR")],
        DataError,
        "must hold MSI and NIR side by side; there is no NIR: copy it too",
    ),
    "a capture in two splits": (_twin, LeakageError, rf"{STEM} is in test .* and in train .*: remove it from one"),
    "a pair in two splits": (_moved, LeakageError, rf"{STEM} is in t.* and in t"),
    "30 bands": (_rewrite(lambda cube: cube[..., :30]), DataError, "must hold 31 bands .* holds 24 x 40 x 30"),
    "3-channel MSI": (_rewrite(lambda cube: cube[..., :3], "MSI"), DataError, "must hold 4 bands .* 24 x 40 x 3"),
    "transposed": (
        _rewrite(lambda cube: cube.transpose(1, 0, 2)),
        DataError,
        "must have one size; .* 24 x 40 px .* 40 x 24 px: one of them is transposed",
    ),
    "bands first": (_rewrite(lambda cube: cube.transpose(2, 1, 0)), DataError, "must hold 31 bands on its last axis"),
    "mirrored": (_rewrite(lambda cube: cube[:, ::-1]), DataError, "must lie as .* when mirrored"),
    "NIR upside down": (
        _rewrite(lambda cube: cube[::-1], "NIR"),
        DataError,
        r"/nir/.* must lie as .*/vis/.* upside down",
    ),
    "MSI mirrored": (
        _rewrite(lambda cube: cube[:, ::-1], "MSI"),
        DataError,
        r"/msi_cie/.* must lie as .*/rgb_cie/.* mirrored",
    ),
    "another's cubes": (_swap, DataError, "must lie as|must show what"),
    "NaN": (_rewrite(_put(np.nan)), DataError, "must hold numbers alone; 1 or more are NaN or infinite"),
    "infinite NIR": (_rewrite(_put(np.inf), "NIR"), DataError, "must hold numbers alone"),
    "1.5": (_rewrite(_put(1.5)), DataError, r"within \[0, 1\] up to 1e-06; it holds .* to 1\.5"),
    "MSI of 1.5": (_rewrite(_put(1.5), "MSI"), DataError, r"within \[0, 1\]"),
    "a little below 0": (_rewrite(_put(-2e-6)), DataError, r"within \[0, 1\] up to 1e-06; it holds -2e-06"),
    "8-bit MSI": (
        _rewrite(lambda cube: (255 * cube).astype(np.uint8), "MSI"),
        DataError,
        r"must hold floats in \[0, 1\]; it holds uint8",
    ),
    "truncated": (_truncate, DataError, rf"{STEM}\.mat must be a whole MATLAB v7.3 file; it is truncated: copy it"),
    "grey picture": (_grey, DataError, "must be an RGB picture of 8 bits; it is L"),
    "a web page for a picture": (_no_picture, DataError, "must be a picture; it is none"),
    "two pictures": (_second, DataError, "must have one file in"),
}


@pytest.mark.parametrize(("spoil", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_a_broken_archive_is_refused_in_one_sentence(
    root: Path, tmp_path: Path, spoil: Callable[..., object], error: type[HyperSkinError], message: str
) -> None:
    truths = write_archive(root, splits=TWO, poses=POSES[:1])
    read_all(root, tmp_path)
    shutil.rmtree(tmp_path / "raw")
    spoil(root, truths)
    with pytest.raises(error, match=message) as refusal:
        read_all(root, tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_transpose_is_told_where_the_frame_is_square(root, tmp_path):
    truths = write_archive(root, splits=TWO, poses=POSES[:1], size=(32, 32))
    _rewrite(lambda cube: cube.transpose(1, 0, 2))(root, truths)
    with pytest.raises(DataError, match=r"/vis/.* must lie as .* when transposed: it was written with other axes"):
        read_all(root, tmp_path)


def test_all_that_a_half_copy_lacks_is_told(root):
    write_archive(root, splits={"train": ("p001", "p004")})
    for pose in POSES:
        find_file(root, "NIR", f"p004_{pose}").unlink()
    find_file(root, "VIS", STEM).unlink()
    with pytest.raises(DataError, match=rf"7 of 12 lack a file - VIS: 1 \({STEM}\); NIR: 6 \(p004_.*, \.\.\.\)"):
        Release().find(root)


@pytest.mark.parametrize("kind", ["VIS", "RGB"])
def test_a_folder_that_is_still_empty_is_told_with_what_is_there(root, kind):
    write_archive(root, splits=TWO, without=("msi", "nir", kind.lower()))
    other = "RGB" if kind == "VIS" else "VIS"
    with pytest.raises(DataError, match=rf"holds .*train/{other} \(6 files\): name the folder .*, or copy the rest"):
        Release().find(root)


def test_what_is_no_archive_is_told_with_what_it_holds(root):
    (root / "photos").mkdir(parents=True)
    (root / "notes.txt").write_text("")
    with pytest.raises(
        DataError, match=r"release2025.*readme2023.*; .* holds 'notes\.txt', 'photos/': name the folder"
    ):
        Release().find(root)


def test_two_layouts_in_one_folder_are_refused_and_listed(root):
    write_archive(root, "release2025", splits=TWO, poses=POSES[:1])
    write_archive(root, "mainpy2023", splits=TWO, poses=POSES[:1])
    with pytest.raises(DataError, match=r"holds 2 \(release2025 in .*NIR.*; mainpy2023 in .*test/NIR"):
        Release().find(root)


def test_two_archives_beside_each_other_are_refused(root):
    for name in ("one", "two"):
        write_archive(root / name, splits=TWO, poses=POSES[:1])
    with pytest.raises(DataError, match="must hold the archive in one layout"):
        Release().find(root)


# What is reported, and goes on.


def test_stray_files_are_passed_over_and_named(root, caplog):
    write_archive(root, splits=TWO, poses=POSES[:1])
    for name in ("Thumbs.db", ".DS_Store", f"{STEM} (1).mat", "P001_neutral_front.mat"):
        (root / VISIBLE / "train" / "VIS" / name).write_bytes(b"")
    assert [len(original.files) for original in Release().find(root)] == [4, 4]
    assert "4 files are no part of the archive by name and are passed over: VIS/.DS_Store" in caplog.text


def test_subjects_with_fewer_captures_are_named(root, caplog):
    write_archive(root, splits=TWO, poses=POSES[:5])
    Release().find(root)
    assert "six captures of a subject are usual; fewer have p001 5, p002 5" in caplog.text


def test_the_whole_archives_counts_are_told_beside_what_is_there(root, caplog):
    caplog.set_level(logging.INFO)
    write_archive(root, splits=TWO, poses=POSES[:1])
    Release().find(root)
    assert "the whole archive of this layout has 306: 264 train, 18 valid, 24 test" in caplog.text


def test_masks_are_paired_by_their_stem_and_may_be_png(root, tmp_path):
    truths = write_archive(root, "icassp2024", splits=TWO, poses=POSES[:2])
    folder = root / INFRARED / "mask" / "test"
    for path in sorted(folder.iterdir()):
        Image.fromarray(truths[path.stem].mask).save(path.with_suffix(".png"))
        path.unlink()
    (folder / "p099_smile_left.png").write_bytes(b"")  # of no capture here, and before none by position
    for original in Release().find(root)[2:]:
        masks = sorted((bring(original, tmp_path / "raw") / "mask").glob("*"))
        np.testing.assert_array_equal(read_given_masks(masks, (HEIGHT, WIDTH)), truths[original.capture.name].mask)


def test_a_capture_without_its_mask_is_refused_and_no_mask_folder_is_fine(root):
    write_archive(root, "icassp2024", splits=TWO, poses=POSES[:2])
    folder = root / INFRARED / "mask" / "test"
    next(folder.iterdir()).unlink()
    with pytest.raises(DataError, match=r"1 of 4 lack a file - MASK: 1 \(p002_"):
        Release().find(root)
    shutil.rmtree(folder)
    assert all(len(original.files) == 4 for original in Release().find(root))


def test_a_capture_is_read_by_its_own_name_alone(root, tmp_path):
    write_archive(root, splits=TWO, poses=POSES[:1])
    (original, _) = Release().find(root)
    folder = bring(original, tmp_path / "raw")
    shutil.copy(folder / "vis" / f"{STEM}.mat", folder / "nir" / "p001_smile_left.mat")
    assert Release().read_cubes(folder, CaptureId.parse(STEM)).notes["band_700_off_by"] == 0
