"""What is read from a face lies below data/ or is shown with consent; a change is what the two visits differ by."""

import csv
import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hyperskin.bands import VIS
from hyperskin.data.capture import CaptureId
from hyperskin.errors import ConsentError, DataError
from hyperskin.skin.export import read_tiff
from hyperskin.skin.maps import KINDS, skin_maps
from hyperskin.steps.skin_folder import choose_folder
from hyperskin.steps.skin_input import read_face
from hyperskin.steps.skin_maps import (
    CHANGE,
    UNCERTAINTY,
    medians,
    pair_visits,
    read_skin,
    write_change,
    write_results,
)
from tests.faces import draw, make_repository

NIR_NM = tuple(float(nm) for nm in range(710, 1001, 10))
NAME, SMILE, TURNED, OTHER = "p004_neutral_front", "p004_smile_front", "p004_neutral_left", "p001_neutral_front"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("repository"), [NAME, SMILE, TURNED, OTHER])


@pytest.fixture(scope="module")
def read(root):
    made = {}

    def once(name, **changes):
        key = name, *changes.items()
        if key not in made:
            made[key] = read_skin(read_face(root, name), **({"method": "inverse", "binning": 1} | changes))
        return made[key]

    return once


def table(path):
    with path.open(newline="") as file:
        return {(row["region"], row["map"]): row for row in csv.DictReader(file)}


# One visit


def test_maps_are_those_of_the_method_on_bare_skin_alone(read):
    reading = read(NAME)
    plain = skin_maps(reading.face.cube, reading.face.bands, reading.regions.skin)
    assert list(reading.maps) == list(plain.values) == list(KINDS)
    for name, values in reading.maps.items():
        np.testing.assert_array_equal(values, plain.values[name])
        assert not np.isfinite(values[~reading.regions.skin]).any()


def test_regions_agree_with_the_truth_of_the_phantom(read):
    lines = draw(NAME)
    found = {(row.region, row.map_name): row.median for row in read(NAME).rows}
    for region, mask in read(NAME).regions.masks.items():
        for name, worst in (("melanin_fraction", 0.5), ("blood_fraction", 0.25)):
            truth = float(np.nanmedian(lines.maps[name][mask]))
            assert abs(math.log(found[region, name] / truth)) < worst, (region, name)


def test_all_files_are_written_and_say_what_they_hold(root, read, tmp_path):
    reading = read(NAME)
    written = write_results(reading, tmp_path, root=root, formats=("npz", "tiff", "envi"))
    assert all(path.is_file() for path in written)
    assert sorted(tmp_path.iterdir()) == sorted(written)
    values, told = read_tiff(tmp_path / "oxygenation.tif")
    np.testing.assert_array_equal(values, reading.maps["oxygenation"])
    assert told.startswith(f"oxygenation; unit: share of the haemoglobin; NaN: no value; {NAME}, measured, 61 bands")
    assert (tmp_path / f"oxygenation{UNCERTAINTY}.tif").is_file()
    rows = table(tmp_path / "regions.csv")
    assert set(rows) == {(row.region, row.map_name) for row in reading.rows}
    nose = reading.maps["blood_fraction"][reading.regions.masks["nose"]]
    assert float(rows["nose", "blood_fraction"]["mean"]) == pytest.approx(np.nanmean(nose), rel=1e-4)
    assert rows["nose", "blood_fraction"]["unit"] == "share of the dermis"
    assert rows["nose", "erythema_index"]["unit"] == "1"
    about = json.loads((tmp_path / "about.json").read_text())
    assert (about["subject"], about["method"], about["landmarks"]["found_by"]) == ("p004", "inverse", "features")
    assert about["made_from"]["input"] == f"data/cubes/p004/{NAME}.h5"
    assert about["files"] == sorted(path.name for path in tmp_path.iterdir())
    assert about["regions"]["nose"] == int(reading.regions.masks["nose"].sum())
    with Image.open(tmp_path / "panel.png") as panel:
        assert panel.info["Subjects"] == "p004"


def test_medians_are_told_by_map_and_region(read):
    heading, *rows = medians(read(NAME))
    assert heading == ["median", "unit", "face", "forehead", "right cheek", "left cheek", "nose", "chin"]
    assert [row[0] for row in rows] == list(KINDS)
    found = {(row.region, row.map_name): row.median for row in read(NAME).rows}
    assert float(rows[0][6]) == pytest.approx(found["nose", "melanin_fraction"], rel=5e-3)


def test_a_region_that_is_turned_away_or_covered_is_told(root, caplog):
    with caplog.at_level(logging.INFO, logger="hyperskin"):
        read_skin(read_face(root, NAME), method="inverse", binning=1)
    assert "regions by eyes and mouth" in caplog.text
    assert "not to be seen" not in caplog.text


def test_the_other_method_and_binning_reach_the_estimators(read):
    assert read(NAME, method="beer_lambert").method == "beer_lambert"
    binned = read(NAME, binning=2)
    assert binned.parameters["binning"] == 2
    assert not np.array_equal(binned.maps["oxygenation"], read(NAME).maps["oxygenation"], equal_nan=True)


# Consent


def test_who_may_not_be_shown_stays_below_data_with_the_panel(tmp_path):
    root = make_repository(tmp_path, [NAME], source="lumo")
    face = read_face(root, NAME)
    assert not face.may_be_shown
    folder = choose_folder(root, face.name, None, unshown="p004")
    assert folder == root / "data" / "skin" / NAME
    reading = read_skin(face, method="inverse", binning=1)
    written = write_results(reading, folder, root=root, formats=("npz",))
    assert [path.name for path in written] == ["panel.png", "regions.csv", "maps.npz", "inverse.npz", "about.json"]
    with Image.open(folder / "panel.png") as panel:
        assert panel.info["Consent"] == "none"
    with pytest.raises(ConsentError, match="must stay below"):
        write_results(reading, tmp_path / "reports" / "mine", root=root, formats=("npz",))
    assert not list((tmp_path / "reports").iterdir())


def test_who_agreed_is_shown_in_reports(tmp_path):
    root = make_repository(tmp_path, [NAME], source="lumo", publishable=("p004",))
    face = read_face(root, NAME)
    assert face.may_be_shown
    written = write_results(
        read_skin(face, method="inverse", binning=1), choose_folder(root, NAME, None), root=root, formats=("npz",)
    )
    assert written[0] == root / "reports" / "skin" / NAME / "panel.png"
    with Image.open(written[0]) as panel:
        assert "Consent" not in panel.info


def test_a_face_without_bare_skin_or_regions_is_refused(root):
    face = read_face(root, NAME)
    little = np.zeros_like(face.mask)
    little[2:6, 2:6] = True
    with pytest.raises(DataError, match=r"must show some of a face's skin; .* of the mask's 16 pixels are bare skin"):
        read_skin(replace(face, mask=little), method="inverse", binning=1)


# Two visits


def test_a_visit_against_itself_changed_nothing(root, read, tmp_path):
    write_change((read(NAME), read(NAME)), tmp_path, root=root, formats=("tiff",))
    for name in KINDS:
        values, _ = read_tiff(tmp_path / f"{name}{CHANGE}.tif")
        np.testing.assert_allclose(values[np.isfinite(values)], 0, atol=2e-5)
        assert np.isfinite(values).sum() > 0.9 * np.isfinite(read(NAME).maps[name]).sum()
    for row in table(tmp_path / f"change_since_{NAME}.csv").values():
        assert float(row["difference"]) == 0
        assert float(row["ratio"]) == 1


def test_a_smile_brings_blood_into_the_cheeks_and_nothing_into_the_forehead(root, read, tmp_path):
    written = write_change((read(NAME), read(SMILE)), tmp_path, root=root, formats=("npz",))
    stem = f"change_since_{NAME}"
    assert [path.name for path in written] == [f"{stem}.png", f"{stem}.csv", f"{stem}.npz"]
    rows = table(tmp_path / f"{stem}.csv")
    cheeks = [float(rows[side, "blood_fraction"]["ratio"]) for side in ("right_cheek", "left_cheek")]
    assert min(cheeks) > 1.03  # the phantom's smile brings 18 % at the middle of a cheek
    assert abs(math.log(float(rows["forehead", "blood_fraction"]["ratio"]))) < 0.1
    row = rows["left_cheek", "blood_fraction"]
    assert float(row["difference"]) == pytest.approx(float(row["median_after"]) - float(row["median_before"]), abs=2e-7)
    assert float(row["median_difference_overlaid"]) > 0, "pixel by pixel it says the same"
    assert int(row["n_overlaid"]) > 0


def test_visits_of_two_subjects_are_refused(root):
    assert CaptureId.parse(OTHER).subject != CaptureId.parse(NAME).subject
    one, two = read_face(root, OTHER), read_face(root, NAME)
    with pytest.raises(DataError, match=rf"{OTHER} is of p001 and {NAME} of p004\.$"):
        pair_visits(one, two)
    with pytest.raises(DataError, match=f"of p004: say with `--subject` whose {OTHER} is"):
        pair_visits(replace(one, origin="cube"), two)


def test_a_photo_is_no_visit_of_a_measured_face(root):
    face = read_face(root, NAME)
    with pytest.raises(DataError, match=r"both be measured or both be photos; .* is reconstructed from a photo and"):
        pair_visits(replace(face, origin="photo"), face)
    assert pair_visits(*2 * [replace(face, origin="photo")])[0].origin == "photo"


def test_visits_are_read_from_the_bands_that_both_have(root, caplog):
    face = read_face(root, NAME)
    nearly = replace(VIS, wavelength_nm=tuple(nm + 1e-9 for nm in VIS.wavelength_nm))
    visible = replace(face, cube=face.cube[..., :31], bands=nearly)
    for before, after in ((visible, face), (face, visible)):
        first, second = pair_visits(before, after)
        assert first.bands == second.bands
        np.testing.assert_array_equal(first.cube, second.cube)
        assert "read from the 31 that both have, 400 to 700 nm" in caplog.text
    both = read_skin(first, method="inverse", binning=1), read_skin(second, method="inverse", binning=1)
    np.testing.assert_array_equal(both[0].maps["blood_fraction"], both[1].maps["blood_fraction"])
    with pytest.raises(DataError, match="have none at one wavelength"):
        pair_visits(visible, replace(face, cube=face.cube[..., 31:], bands=replace(VIS, wavelength_nm=NIR_NM)))


def test_another_pose_is_warned_of(root, read, tmp_path, caplog):
    write_change((read(TURNED), read(NAME)), tmp_path, root=root, formats=("npz",))
    assert "looks left at one visit and front at the other" in caplog.text


def test_a_sheet_of_two_visits_stays_below_data_if_either_may_not_be_shown(root, read, tmp_path):
    secret = replace(read(NAME), face=replace(read(NAME).face, may_be_shown=False))
    for visits in ((secret, read(SMILE)), (read(SMILE), secret)):
        with pytest.raises(ConsentError, match="must stay below"):
            write_change(visits, tmp_path, root=root, formats=("npz",))
    assert not list(tmp_path.iterdir())


def test_what_was_compared_is_told(root, read, tmp_path):
    write_results(read(SMILE), tmp_path, root=root, formats=("npz",), visits=(read(NAME), read(SMILE)))
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["against"][NAME]["made_from"]["input"] == f"data/cubes/p004/{NAME}.h5"
    assert f"change_since_{NAME}.png" in about["files"]
