"""A photo is calibrated by another capture of its subject or by spectra in a table, and never by itself."""

import numpy as np
import pytest
from PIL import Image

from hyperskin.bands import VIS
from hyperskin.errors import DataError
from hyperskin.models.regression import RegressionSums
from hyperskin.skin.subject_gain import PriorSums, subject_gain
from hyperskin.steps.skin_calibration import calibrate_face, share_gain
from hyperskin.steps.skin_input import read_face
from hyperskin.steps.skin_maps import apply_gain, read_skin
from hyperskin.tracking import gain_prior, photo
from hyperskin.tracking.champion import Champion
from tests.faces import draw, make_repository, photograph, subject_of

NAME, SMILE, OTHER = "p004_neutral_front", "p004_smile_front", "p001_neutral_front"


def skin_of(name, cube):
    return cube[subject_of(draw(name))]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("repository"), [NAME, OTHER])


@pytest.fixture(scope="module")
def fitted():
    """A regression that has seen one other person, and how it errs on people."""
    lines = draw(OTHER)
    sums = RegressionSums("polynomial", 3, 31)
    sums.add(photograph(lines).reshape(-1, 3) / 255, lines.vis.reshape(-1, 31))
    model, people = sums.solve(ridge=1e-6), PriorSums(VIS)
    for who in ("p001", "p002", "p003", "p005", "p006"):
        name = f"{who}_neutral_front"
        estimate = model.reconstruct(photograph(draw(name)).astype(np.float32) / 255)
        people.add(skin_of(name, draw(name).vis), skin_of(name, estimate))
    return model, people.prior()


@pytest.fixture(autouse=True)
def _champion(monkeypatch, fitted):
    model, prior = fitted
    champion = Champion("7", "regression", "", "digest", "cie", model.reconstruct)
    monkeypatch.setattr(photo, "load_photo_model", lambda uri, pair: photo.PhotoModel(champion, "cie"))
    monkeypatch.setattr(gain_prior, "read_prior", lambda uri, pair, version: prior)


@pytest.fixture
def face(root, tmp_path):
    Image.fromarray(photograph(draw(SMILE))).save(tmp_path / f"{SMILE}.png")
    return read_face(root, str(tmp_path / f"{SMILE}.png"))


def angle(one, other):
    one, other = (each.mean(axis=0) / np.linalg.norm(each.mean(axis=0)) for each in (one, other))
    return float(np.arccos(np.clip(one @ other, -1, 1)))


def test_another_capture_of_the_subject_brings_the_skin_nearer_to_what_it_is(root, face):
    calibrated = calibrate_face(root, face, NAME)
    skin = read_skin(face, method="inverse", binning=1).regions.skin
    truth, plain, better = (cube[skin] for cube in (draw(SMILE).vis, face.cube, apply_gain(calibrated, skin).cube))
    assert angle(better, truth) < 0.7 * angle(plain, truth)
    about = calibrated.about["calibration"]
    assert (about["by"], about["held_against"], about["counted_as"], about["prior_of_subjects"]) == (NAME, NAME, 25, 5)
    assert about["spectra"] > 25
    assert calibrated.skin_gain == pytest.approx(about["gain"], abs=1e-5)
    assert "Calibrated to the subject by" in calibrated.note


def test_only_bare_skin_is_changed_and_it_is_read_calibrated(root, face):
    calibrated = calibrate_face(root, face, NAME)
    before, after = (read_skin(each, method="inverse", binning=1) for each in (face, calibrated))
    skin = before.regions.skin
    assert np.array_equal(skin, after.regions.skin)
    assert np.array_equal(after.face.cube[~skin], face.cube[~skin])
    assert after.face.cube[skin] == pytest.approx(face.cube[skin] * calibrated.skin_gain, rel=1e-6)
    assert not np.array_equal(before.maps["melanin_fraction"][skin], after.maps["melanin_fraction"][skin])


def write_readings(path, spectra):
    rows = [",".join(["nm", *(f"{nm:g}" for nm in VIS.wavelength_nm)])]
    rows += [",".join(["skin", *(repr(float(value)) for value in row)]) for row in spectra]
    path.write_text("\n".join(rows))
    return str(path)


def test_spectra_in_a_table_are_held_against_the_photo_or_another_one(root, face, fitted, tmp_path):
    spectra = skin_of(NAME, draw(NAME).vis)[::100].astype(np.float64)
    table = write_readings(tmp_path / "contact.csv", spectra)
    own = calibrate_face(root, face, table)
    skin = read_skin(face, method="inverse", binning=1).regions.skin
    assert own.skin_gain == pytest.approx(subject_gain(fitted[1], spectra, face.cube[skin]), rel=1e-5)
    assert own.about["calibration"]["held_against"] == face.about["input"]
    Image.fromarray(photograph(draw(NAME))).save(tmp_path / "elsewhere.png")
    other = calibrate_face(root, face, table, photo=tmp_path / "elsewhere.png")
    assert other.about["calibration"]["held_against"].endswith("elsewhere.png")
    assert not np.array_equal(other.skin_gain, own.skin_gain)
    both = share_gain(other, face)
    assert both.skin_gain is other.skin_gain
    assert both.about["calibration"] == other.about["calibration"]


def test_a_table_that_is_hardly_of_skin_is_warned_of(root, face, tmp_path, caplog):
    skin = skin_of(NAME, draw(NAME).vis)[::100].astype(np.float64)
    calibrate_face(root, face, write_readings(tmp_path / "skin.csv", skin))
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    calibrate_face(root, face, write_readings(tmp_path / "stripes.csv", np.resize([0.9, 0.1], (1, 31))))
    assert "look whether" in caplog.text
    assert "stripes.csv holds skin of p004" in caplog.text


def test_the_cube_of_the_photo_itself_never_calibrates_it(root, tmp_path):
    Image.fromarray(photograph(draw(NAME))).save(tmp_path / f"{NAME}.png")
    own = read_face(root, str(tmp_path / f"{NAME}.png"))
    with pytest.raises(DataError, match=f"must be calibrated by another capture than its own; got {NAME} for both"):
        calibrate_face(root, own, NAME)


def test_what_cannot_calibrate_is_refused(root, face, tmp_path):
    with pytest.raises(DataError, match=f"{SMILE} is of p004 and {OTHER} of p001: say with `--subject`"):
        calibrate_face(root, face, OTHER)
    with pytest.raises(
        DataError, match=f"must calibrate a photo, which a model reconstructs; {NAME} was measured itself"
    ):
        calibrate_face(root, read_face(root, NAME), NAME)
    with pytest.raises(DataError, match=f"must go with spectra in a CSV file; {NAME} is a capture"):
        calibrate_face(root, face, NAME, photo=tmp_path / "a.png")
    table = write_readings(tmp_path / "contact.csv", np.full((1, 31), 0.3))
    with pytest.raises(DataError, match="`--calibrate-photo` must be a photo"):
        calibrate_face(root, face, table, photo=root / "data" / "cubes" / "p004" / f"{NAME}.h5")
