"""A face is read from a capture, a cube of ours, an ENVI cube or a photo; what is wrong is said in a sentence."""

import logging

import numpy as np
import pytest
from PIL import Image

from hyperskin.bands import FX10, NIR, VIS
from hyperskin.envi import write_envi
from hyperskin.errors import DataError, EmptyMaskError, MissingFileError
from hyperskin.models.regression import RegressionSums
from hyperskin.pictures import save_mask
from hyperskin.steps import skin_photo
from hyperskin.steps.skin_input import read_face
from hyperskin.tracking import photo
from hyperskin.tracking.champion import Champion
from tests.faces import SIZE, draw, make_repository, measure, photograph, subject_of, write_cube

NAME = "p004_neutral_front"
BOTH_NM = (*VIS.wavelength_nm, *NIR.wavelength_nm[1:])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("repository"), [NAME, "p004_smile_left"])


# Captures and cubes


def test_a_capture_brings_its_mask_its_subject_and_all_its_bands_once(root):
    face = read_face(root, NAME)
    assert (face.name, face.subject, face.origin, face.direction) == (NAME, "p004", "capture", "front")
    assert face.bands.wavelength_nm == BOTH_NM
    cubes = measure(draw(NAME))
    np.testing.assert_allclose(face.cube, np.concatenate([cubes["vis"], cubes["nir"][..., 1:]], axis=2), atol=2e-5)
    np.testing.assert_array_equal(face.mask, subject_of(draw(NAME)))
    assert face.about["mask"] == f"data/masks/p004/{NAME}.png"
    assert face.may_be_shown, "the phantom's people may be"


def test_a_captures_own_cube_file_is_that_capture(root, monkeypatch):
    monkeypatch.chdir(root)
    face = read_face(root, f"data/cubes/p004/{NAME}.h5")
    assert face.origin == "capture"
    assert face.about["mask"].startswith("data/masks")


def test_a_cube_from_elsewhere_is_nobody_who_may_be_shown_and_gets_our_mask(root, tmp_path):
    face = read_face(root, str(write_cube(tmp_path / f"{NAME}.h5", NAME)))
    assert (face.origin, face.subject, face.may_be_shown) == ("cube", "p004", False)
    assert face.about["mask"] == "found by hyperskin's own mask stage"
    truth = subject_of(draw(NAME))
    assert (face.mask & truth).sum() / (face.mask | truth).sum() > 0.85


def test_without_any_data_a_cube_can_be_read_all_the_same(tmp_path):
    empty = make_repository(tmp_path / "empty", [], publishable=("mine",))
    (empty / "data" / "manifest.json").unlink()
    face = read_face(empty, str(write_cube(tmp_path / "visit1.h5", NAME)), subject="mine")
    assert (face.name, face.subject, face.may_be_shown) == ("visit1", "mine", True)


def test_a_given_mask_counts_before_all_others(root, tmp_path):
    mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask[20:40, 2:44] = True  # more to the left than the manifest's mask
    save_mask(mask, tmp_path / "mask.png")
    face = read_face(root, NAME, mask=tmp_path / "mask.png")
    np.testing.assert_array_equal(face.mask, mask)
    assert face.about["mask"] == str(tmp_path / "mask.png")


# ENVI


def cube_of(name: str = NAME) -> np.ndarray:
    cubes = measure(draw(name))
    return np.concatenate([cubes["vis"], cubes["nir"][..., 1:]], axis=2)


def test_envi_floats_and_scaled_whole_numbers_are_the_same_reflectance(root, tmp_path):
    cube = cube_of()
    write_envi(tmp_path / "floats.hdr", [cube], wavelength_nm=BOTH_NM)
    counts = np.rint(cube * 10000).astype(np.int16)
    write_envi(tmp_path / "whole.hdr", [counts], wavelength_nm=BOTH_NM, fields={"reflectance scale factor": 10000})
    floats, whole = (read_face(root, str(tmp_path / name)) for name in ("floats.hdr", "whole.raw"))
    np.testing.assert_array_equal(floats.cube, cube)
    np.testing.assert_allclose(whole.cube, cube, atol=6e-5)
    assert whole.bands.wavelength_nm == pytest.approx(BOTH_NM)


def test_bands_that_descend_are_turned(root, tmp_path):
    cube = cube_of()
    write_envi(tmp_path / "turned.hdr", [np.ascontiguousarray(cube[..., ::-1])], wavelength_nm=BOTH_NM[::-1])
    face = read_face(root, str(tmp_path / "turned.hdr"))
    np.testing.assert_array_equal(face.cube, cube)


def test_many_bands_become_one_every_10_nm(root, tmp_path):
    lines = draw(NAME)
    write_envi(tmp_path / "fine.hdr", [lines.reflectance], wavelength_nm=FX10.wavelength_nm)
    face = read_face(root, str(tmp_path / "fine.hdr"))
    assert face.bands.wavelength_nm == pytest.approx(np.arange(400, 1001, 10))
    skin = subject_of(lines)
    inner = np.isin(face.bands.wavelength_nm, np.arange(460, 990, 10))
    exact = np.concatenate([lines.vis, lines.nir[..., 1:]], axis=2)
    np.testing.assert_allclose(face.cube[skin][:, inner], exact[skin][:, inner], atol=0.01)


@pytest.mark.parametrize(
    ("fields", "wavelength_nm", "kind", "message"),
    [
        ({}, BOTH_NM, np.uint16, "by what its whole numbers are divided.*raw counts"),
        ({"reflectance scale factor": "much"}, BOTH_NM, np.uint16, "must be a number; got 'much'"),
        ({"reflectance scale factor": "-1"}, BOTH_NM, np.float32, "must be a positive number; got '-1'"),
        ({"data ignore value": "none"}, BOTH_NM, np.float32, "`data ignore value` must be a number; got 'none'"),
        ({"bbl": ["1", "0"]}, BOTH_NM, np.float32, "`bbl` must hold a 0 or a 1 for each of 61 bands"),
        ({}, tuple(nm / 1000 for nm in BOTH_NM), np.float32, "got 0.4 to 1: if these are micrometres, add the line"),
        ({}, (*BOTH_NM[:-1], 990.0), np.float32, r"a.hdr: Band centres must be .* strictly ascending"),
        ({}, (), np.float32, "must list the wavelengths of its 61 bands"),
    ],
)
def test_an_envi_cube_that_does_not_say_what_it_holds_is_refused(root, tmp_path, fields, wavelength_nm, kind, message):
    write_envi(tmp_path / "a.hdr", [cube_of().astype(kind)], wavelength_nm=wavelength_nm, fields=fields)
    with pytest.raises(DataError, match=message):
        read_face(root, str(tmp_path / "a.hdr"))


def test_per_cent_and_counts_in_floats_are_no_reflectance(root, tmp_path):
    write_envi(tmp_path / "a.hdr", [100 * cube_of()], wavelength_nm=BOTH_NM)
    with pytest.raises(DataError, match=r"half of its values are above .*: if these are per cent, add the line"):
        read_face(root, str(tmp_path / "a.hdr"))


def test_gaps_and_bad_bands_of_the_header_count_for_nothing(root, tmp_path):
    cube = cube_of()
    marked = cube.copy()
    marked[10:20, :, 7] = -9999
    marked[..., 3] = np.nan  # which the header calls bad
    good = ["0" if place == 3 else "1" for place in range(61)]
    fields = {"data ignore value": -9999, "bbl": good}
    write_envi(tmp_path / "a.hdr", [marked], wavelength_nm=BOTH_NM, fields=fields)
    face = read_face(root, str(tmp_path / "a.hdr"))
    assert face.bands.wavelength_nm == (*BOTH_NM[:3], *BOTH_NM[4:])
    np.testing.assert_array_equal(face.cube[:10], np.delete(cube[:10], 3, axis=2))
    assert not face.mask[10:20].any()
    assert face.mask[20:40].any()


def test_a_band_of_nothing_is_named(root, tmp_path):
    cube = cube_of()
    cube[..., 5] = np.nan
    write_envi(tmp_path / "a.hdr", [cube], wavelength_nm=BOTH_NM)
    with pytest.raises(DataError, match="it holds none: the band at 450 nm holds no number at all"):
        read_face(root, str(tmp_path / "a.hdr"))


def test_bands_that_show_no_skin_ask_for_a_mask_and_take_it(root, tmp_path):
    write_envi(tmp_path / "nir.hdr", [np.ascontiguousarray(cube_of()[..., 31:])], wavelength_nm=BOTH_NM[31:])
    with pytest.raises(DataError, match=r"nir: A subject mask needs a band .* say where the subject is with `--mask"):
        read_face(root, str(tmp_path / "nir.hdr"))
    mask = root / "data" / "masks" / "p004" / f"{NAME}.png"
    face = read_face(root, str(tmp_path / "nir.hdr"), mask=mask)
    np.testing.assert_array_equal(face.mask, subject_of(draw(NAME)))


# Photos


@pytest.fixture
def with_a_champion(monkeypatch):
    """Let a regression, fitted to another person, stand for the champion."""
    lines = draw("p001_neutral_front")
    sums = RegressionSums("polynomial", 3, 31)
    sums.add(photograph(lines).reshape(-1, 3) / 255, lines.vis.reshape(-1, 31))
    fitted = sums.solve(ridge=1e-6)
    champion = Champion("7", "regression", "", "digest", "cie", lambda frame: fitted.reconstruct(frame))
    monkeypatch.setattr(photo, "load_photo_model", lambda uri, pair: photo.PhotoModel(champion, "cie"))


def test_a_photo_is_reconstructed_and_its_limits_are_said(root, tmp_path, with_a_champion, caplog):
    Image.fromarray(photograph(draw(NAME))).save(tmp_path / "p004_selfie.png")
    with caplog.at_level(logging.INFO, logger="hyperskin"):
        face = read_face(root, str(tmp_path / "p004_selfie.png"))
    assert (face.origin, face.subject, face.may_be_shown) == ("photo", "p004", False)
    assert face.bands == VIS
    skin = subject_of(draw(NAME))
    assert np.abs(face.cube - draw(NAME).vis)[skin].mean() < 0.02
    assert "reconstructed by version 7 of hyperskin-rgb-vis (regression), the champion" in caplog.text
    assert "must be as the model's camera gives pictures: cie, 8-bit srgb" in caplog.text
    assert "oxygenation cannot be read" in caplog.text
    assert "melanin is right only as a level of the whole person" in face.note


def test_a_photo_that_was_turned_in_the_hand_stands_upright(root, tmp_path, with_a_champion):
    upright = Image.fromarray(photograph(draw(NAME)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    upright.rotate(90).save(tmp_path / "turned.png", exif=exif)
    upright.save(tmp_path / "upright.png")
    faces = [read_face(root, str(tmp_path / name)) for name in ("turned.png", "upright.png")]
    np.testing.assert_array_equal(faces[0].cube, faces[1].cube)


def test_a_large_photo_is_shrunk_and_its_mask_with_it(root, tmp_path, with_a_champion, monkeypatch):
    monkeypatch.setattr(skin_photo, "LONGEST_PX", SIZE)
    small = photograph(draw(NAME))
    Image.fromarray(small.repeat(3, axis=0).repeat(3, axis=1)).save(tmp_path / "large.png")
    save_mask(subject_of(draw(NAME)).repeat(3, axis=0).repeat(3, axis=1), tmp_path / "mask.png")
    Image.fromarray(small).save(tmp_path / "small.png")
    large = read_face(root, str(tmp_path / "large.png"), mask=tmp_path / "mask.png")
    np.testing.assert_array_equal(large.cube, read_face(root, str(tmp_path / "small.png")).cube)
    np.testing.assert_array_equal(large.mask, subject_of(draw(NAME)))
    with pytest.raises(DataError, match=r"must have shape \(192, 192\)"):
        read_face(root, str(tmp_path / "large.png"), mask=root / "data" / "masks" / "p004" / f"{NAME}.png")


def test_what_is_cut_out_of_a_photo_is_not_the_subject(root, tmp_path, with_a_champion):
    opaque = np.full((SIZE, SIZE, 1), 255, dtype=np.uint8)
    opaque[:30] = 0
    Image.fromarray(np.concatenate([photograph(draw(NAME)), opaque], axis=2)).save(tmp_path / "cut.png")
    face = read_face(root, str(tmp_path / "cut.png"))
    assert not face.mask[:30].any()
    assert face.mask[30:].any()


# What is wrong


def test_a_mask_that_meets_no_measured_pixel_is_named(root, tmp_path):
    cube = cube_of()
    cube[:8] = np.nan
    write_envi(tmp_path / "a.hdr", [cube], wavelength_nm=BOTH_NM)
    mask = np.zeros((SIZE, SIZE), dtype=np.bool_)
    mask[2:6] = True
    save_mask(mask, tmp_path / "mask.png")
    with pytest.raises(EmptyMaskError, match=r"must select a measured pixel; .*mask.png selects none of a\."):
        read_face(root, str(tmp_path / "a.hdr"), mask=tmp_path / "mask.png")


def test_a_claim_does_not_outweigh_a_name(tmp_path):
    root = make_repository(tmp_path / "lumo", [NAME], source="lumo", publishable=("p001",))
    for what in (NAME, str(write_cube(tmp_path / f"{NAME}_2.h5", NAME))):
        with pytest.raises(DataError, match=r"`--subject` must be p004, whose p004_neutral_front\S* is; got 'p001'"):
            read_face(root, what, subject="p001")
    with pytest.raises(DataError, match="`--subject` must be letters"):
        read_face(root, str(write_cube(tmp_path / "visit.h5", NAME)), subject="../p001")


def test_a_folder_is_told_how_to_become_captures(root, tmp_path):
    with pytest.raises(MissingFileError, match=r"is a folder: name a file in it, or bring .* `hyperskin init --source"):
        read_face(root, str(tmp_path))


def test_what_is_nowhere_is_named_with_the_nearest_capture(root):
    with pytest.raises(MissingFileError, match=f"'p004_neutral_fron' is none of them.*did you mean {NAME}"):
        read_face(root, "p004_neutral_fron")
    with pytest.raises(MissingFileError, match=f"such as {NAME}"):
        read_face(root, "xyz.h5")


def test_another_kind_of_file_is_refused(root, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"must be a cube file of ours \(.h5\), an ENVI cube .* or a photo"):
        read_face(root, str(tmp_path / "table.csv"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="must be a picture"):
        read_face(root, str(tmp_path / "broken.png"))
    (tmp_path / "phone.heic").write_bytes(b"of another form")
    with pytest.raises(DataError, match="it is none of them: save it as PNG or JPEG"):
        read_face(root, str(tmp_path / "phone.heic"))


def test_a_name_that_cannot_name_results_is_refused(root, tmp_path):
    with pytest.raises(DataError, match=r"must have a name of letters.*rename it"):
        read_face(root, str(write_cube(tmp_path / "a b.h5", NAME)))


def test_where_nobody_is_the_mask_is_asked_for(root, tmp_path):
    write_envi(tmp_path / "wall.hdr", [np.full((32, 32, 61), 0.4, dtype=np.float32)], wavelength_nm=BOTH_NM)
    with pytest.raises(EmptyMaskError, match="no pixel looks like living skin: say where it is with `--mask PNG`"):
        read_face(root, str(tmp_path / "wall.hdr"))
