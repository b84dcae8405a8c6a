"""Maps come back from every format with their values, gaps and units; numbers come back from a table."""

import csv

import numpy as np
import pytest
import spectral.io.envi
from PIL import Image

from hyperskin.envi import open_envi
from hyperskin.errors import DataError, ShapeError, UnknownNameError
from hyperskin.skin.export import FORMATS, read_tiff, write_maps, write_table

UNITS = {"melanin_fraction": "share of the epidermis", "erythema_index": "", "unused": "nm"}
ABOUT = "p001_neutral_front; inverse {by} regression, 61 bands"


@pytest.fixture
def maps():
    generator = np.random.default_rng(0)
    made = {name: generator.random((24, 32), dtype=np.float32) for name in ("melanin_fraction", "erythema_index")}
    for values in made.values():
        values[:5] = np.nan
    return made


def write(folder, maps, formats=FORMATS):
    return write_maps(folder, maps, units=UNITS, formats=formats, name="maps", about=ABOUT)


def test_every_format_names_its_files(tmp_path, maps):
    names = ["maps.npz", "melanin_fraction.tif", "erythema_index.tif", "maps.hdr", "maps.raw"]
    assert write(tmp_path, maps) == [tmp_path / name for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert (tmp_path / "maps.npz").stat().st_mode & 0o077 == 0, "others may not look"


def test_tiff_holds_floats_gaps_and_unit(tmp_path, maps):
    write(tmp_path, maps, ["tiff"])
    values, told = read_tiff(tmp_path / "melanin_fraction.tif")
    np.testing.assert_array_equal(values, maps["melanin_fraction"])
    assert told.startswith("melanin_fraction; unit: share of the epidermis; NaN: no value; p001_neutral_front;")
    assert read_tiff(tmp_path / "erythema_index.tif")[1].startswith("erythema_index; unit: 1;")
    with Image.open(tmp_path / "melanin_fraction.tif") as picture:
        assert (picture.mode, picture.size) == ("F", (32, 24))


def test_npz_opens_without_pickle(tmp_path, maps):
    write(tmp_path, maps, ["npz"])
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as file:
        assert dict(zip(file["names"], file["units"], strict=True)) == {
            "melanin_fraction": "share of the epidermis",
            "erythema_index": "1",
        }
        for name, values in maps.items():
            np.testing.assert_array_equal(file[name], values)
        assert str(file["about"]) == ABOUT


def test_envi_is_read_by_us_and_by_spectral_python(tmp_path, maps):
    write(tmp_path, maps, ["envi"])
    stack = np.stack(list(maps.values()), axis=2)
    ours = open_envi(tmp_path / "maps.hdr")
    np.testing.assert_array_equal(ours.read_lines(range(24)), stack)
    assert ours.header.fields["band names"] == "melanin_fraction (share of the epidermis), erythema_index (1)"
    theirs = spectral.io.envi.open(tmp_path / "maps.hdr", tmp_path / "maps.raw")
    np.testing.assert_array_equal(np.array(theirs.open_memmap()), stack)
    assert theirs.metadata["band names"] == ["melanin_fraction (share of the epidermis)", "erythema_index (1)"]
    assert theirs.metadata["data ignore value"] == "nan"


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path, maps):
    with pytest.raises(UnknownNameError, match="must be of npz, tiff, envi; got 'jpeg'"):
        write(tmp_path, maps, ["npz", "jpeg"])
    with pytest.raises(ShapeError, match=r"'erythema_index' must have shape \(24, 32\)"):
        write(tmp_path, {**maps, "erythema_index": maps["erythema_index"].T})
    with pytest.raises(DataError, match="must say the unit of 'other'"):
        write(tmp_path, {"other": maps["erythema_index"]})
    with pytest.raises(DataError, match="at least one map"):
        write(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_a_table_has_six_digits_and_empty_fields_for_gaps(tmp_path):
    write_table(
        tmp_path / "regions.csv",
        [{"region": "nose", "n": 3, "mean": 1 / 3}, {"region": "chin", "n": 0, "mean": np.nan}],
    )
    assert (tmp_path / "regions.csv").read_text() == "region,n,mean\nnose,3,0.333333\nchin,0,\n"
    with (tmp_path / "regions.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["region"] == "nose"


def test_a_table_of_no_rows_or_of_two_forms_is_refused(tmp_path):
    with pytest.raises(DataError, match="at least one row"):
        write_table(tmp_path / "t.csv", [])
    with pytest.raises(DataError, match="must have the columns a; got b"):
        write_table(tmp_path / "t.csv", [{"a": 1}, {"b": 2}])
