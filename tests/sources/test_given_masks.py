"""Masks that a person brought."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperskin.errors import DataError, EmptyMaskError, MissingFileError
from hyperskin.sources.given_masks import find_masks, read_given_masks, unmatched_masks

FRAME = (24, 32)


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.mgrid[:24, :32]
    return (rows - 11) ** 2 + (columns - 18) ** 2 < 60


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names_of(found: dict[str, list[Path]]) -> dict[str, list[str]]:
    return {capture: [path.name for path in paths] for capture, paths in found.items()}


def save(array: np.ndarray, path: Path, **options: int) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def test_a_mask_belongs_to_the_capture_of_its_name_or_that_it_continues(tmp_path):
    touch(tmp_path, "face_ms.png", "face_ms_skin.png", "toys_ms_a_b.jpg")
    assert names_of(find_masks(tmp_path, ["face_ms", "toys_ms", "hair_ms"], suffix="")) == {
        "face_ms": ["face_ms.png", "face_ms_skin.png"],
        "toys_ms": ["toys_ms_a_b.jpg"],
    }


def test_the_longest_name_wins(tmp_path):
    touch(tmp_path, "face_left_skin.png", "face_left.png", "face_lefty.png")
    assert names_of(find_masks(tmp_path, ["face", "face_left"], suffix="")) == {
        "face": ["face_lefty.png"],
        "face_left": ["face_left.png", "face_left_skin.png"],
    }


def test_only_masks_of_the_asked_suffix_are_taken(tmp_path):
    touch(tmp_path, "face_ms_realskin.png", "face_ms_print.png")
    assert names_of(find_masks(tmp_path, ["face_ms"], suffix="_realskin")) == {"face_ms": ["face_ms_realskin.png"]}


def test_masks_are_found_at_any_depth_and_other_files_are_passed_over(tmp_path):
    touch(tmp_path, "test/a/p001_neutral_front.JPG", "p001_neutral_front.txt", "._p001_neutral_front.png", "Thumbs.db")
    assert names_of(find_masks(tmp_path, ["p001_neutral_front"], suffix="")) == {
        "p001_neutral_front": ["p001_neutral_front.JPG"]
    }


def test_masks_of_no_capture_are_returned_and_logged(tmp_path, caplog):
    touch(tmp_path, "face.png", "stranger.png", "facet.png")
    with caplog.at_level(logging.WARNING):
        found = find_masks(tmp_path, ["face"], suffix="")
    assert [path.name for path in unmatched_masks(tmp_path, found, suffix="")] == ["facet.png", "stranger.png"]
    assert caplog.messages == ["2 masks match no capture: facet.png, stranger.png"]


def test_one_file_name_in_two_folders_is_refused(tmp_path):
    touch(tmp_path, "train/face.png", "test/face.png")
    with pytest.raises(DataError, match="A mask's file name must stand once"):
        find_masks(tmp_path, ["face"], suffix="")


@pytest.mark.parametrize("form", ["8-bit", "16-bit", "bool", "rgb", "rgba", "0 and 1"])
def test_every_way_to_store_a_mask_gives_the_same_pixels(tmp_path, disc, form):
    array = {
        "8-bit": disc * np.uint8(255),
        "16-bit": disc * np.uint16(65535),
        "bool": disc,
        "rgb": np.stack([disc * np.uint8(255), disc * np.uint8(0), disc * np.uint8(255)], axis=2),
        "rgba": np.stack([disc * np.uint8(255)] * 3 + [np.full(FRAME, 255, np.uint8)], axis=2),
        "0 and 1": disc.astype(np.uint8),
    }[form]
    mask = read_given_masks([save(array, tmp_path / "mask.png")], FRAME)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, disc)


def test_the_ringing_of_a_jpeg_is_cut_away(tmp_path, disc):
    path = save(np.repeat(disc[..., None] * np.uint8(255), 3, axis=2), tmp_path / "mask.jpg", quality=95)
    with Image.open(path) as picture:
        assert len(np.unique(np.asarray(picture))) > 2
    np.testing.assert_array_equal(read_given_masks([path], FRAME), disc)


def test_a_soft_mask_is_cut_at_one_half(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (2, 1))
    mask = read_given_masks([save(ramp, tmp_path / "mask.png")], (2, 256))
    assert int(mask[0].argmax()) == 128
    assert np.count_nonzero(mask[0]) == 128


def test_masks_of_one_capture_are_united(tmp_path, disc):
    other = np.zeros(FRAME, dtype=bool)
    other[:3] = True
    paths = [save(disc, tmp_path / "a.png"), save(other * np.uint8(255), tmp_path / "b.png")]
    np.testing.assert_array_equal(read_given_masks(paths, FRAME), disc | other)


def test_an_all_white_mask_is_the_whole_frame(tmp_path):
    assert read_given_masks([save(np.full(FRAME, 255, np.uint8), tmp_path / "mask.png")], FRAME).all()


def test_a_mask_of_another_size_is_refused_by_name(tmp_path, disc):
    path = save(disc.T.copy(), tmp_path / "turned.png")
    with pytest.raises(DataError, match=r"must have shape \(24, 32\) like its cube; .*turned.png has \(32, 24\)"):
        read_given_masks([path], FRAME)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_empty_mask_is_refused_by_name(tmp_path, suffix):
    path = save(np.zeros(FRAME, np.uint8), tmp_path / f"black.{suffix}")
    with pytest.raises(EmptyMaskError, match=rf"black.{suffix} selects none"):
        read_given_masks([path], FRAME)


def test_an_empty_mask_beside_a_good_one_is_refused(tmp_path, disc):
    paths = [save(disc, tmp_path / "a.png"), save(np.zeros(FRAME, np.uint8), tmp_path / "b.png")]
    with pytest.raises(EmptyMaskError, match=r"b\.png"):
        read_given_masks(paths, FRAME)


def test_a_palette_is_refused_because_its_numbers_mean_nothing(tmp_path):
    Image.new("P", (32, 24)).save(tmp_path / "palette.png")
    with pytest.raises(DataError, match=r"palette\.png is of Pillow's mode 'P'"):
        read_given_masks([tmp_path / "palette.png"], FRAME)


def test_a_text_under_the_name_of_a_picture_is_refused(tmp_path):
    (tmp_path / "mask.png").write_text("no picture")
    with pytest.raises(DataError, match="must be a picture of the format PNG or JPEG or BMP; it is none"):
        read_given_masks([tmp_path / "mask.png"], FRAME)


def test_a_mask_that_is_gone_is_said_to_be_missing(tmp_path):
    with pytest.raises(MissingFileError, match=r"mask\.png"):
        read_given_masks([tmp_path / "mask.png"], FRAME)


def test_no_mask_at_all_is_refused():
    with pytest.raises(DataError, match="at least one mask"):
        read_given_masks([], FRAME)


@pytest.mark.realdata
def test_the_masks_of_the_published_face_are_found_and_united():
    if not (root := os.environ.get("HYPERSKIN_REALDATA")):
        pytest.skip("HYPERSKIN_REALDATA names no folder with measured data")
    found = find_masks(Path(root) / "masks", ["photo_and_face_ms", "photo_and_face", "hairs_ms"], suffix="")
    assert list(found) == ["photo_and_face_ms"]
    assert np.count_nonzero(read_given_masks(found["photo_and_face_ms"], (512, 512))) == 18_760 + 11_863
