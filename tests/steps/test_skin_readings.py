"""Tables of a contact spectrophotometer, lying or standing, as instruments and spreadsheets write them."""

import numpy as np
import pytest

from hyperskin.bands import VIS, Bands
from hyperskin.errors import DataError, MissingFileError
from hyperskin.steps.skin_readings import read_readings

THREE = Bands((400.0, 410.0, 420.0))


@pytest.fixture
def write(tmp_path):
    def make(text, name="readings.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    "text",
    [
        "400,420\n0.2,0.4\n0.1,0.5\n",
        "nm,400,420\nforehead,0.2,0.4\ncheek,0.1,0.5\n",
        "\ufeffnm;400;420\n;0.2;0.4\n;0.1;0.5\n\n",
        "nm\tforehead\tcheek\n400\t0.2\t0.1\n420\t0.4\t0.5\n",
        "400,0.2,0.1\n420,0.4,0.5\n",
        "nm,%,%\n420,40,50\n400,20,10\n",
        "reflectance in percent,420,400\n1,40,20\n2,50,10\n",
    ],
    ids=["plain", "named", "semicolons", "standing", "standing plain", "standing per cent", "descending per cent"],
)
def test_readings_lie_or_stand_and_are_interpolated(write, text):
    """Half way between 400 and 420 nm lies the mean of both."""
    assert read_readings(write(text), THREE) == pytest.approx(np.array([[0.2, 0.3, 0.4], [0.1, 0.3, 0.5]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nm,400,410\na,0.2,0.3\n", "must cover 400 to 420 nm; it covers 400 to 410 nm"),
        (
            "nm,400,420\na,20,40\n",
            r"must hold reflectance from 0 to 1; it goes up to 40: if these are per cent, write %",
        ),
        ("nm,400,420\na %,200,400\n", r"it goes up to 4: if these .* an overexposed reading must be taken again"),
        ("nm,400,420\na,0.2,\n", "must hold a number for every reading and wavelength, with a decimal point; got ''"),
        ("nm,400,420\na,nan,0.2\n", "got 'nan'"),
        ('nm;400;420\na;"0,2";0.3\n', "with a decimal point; got '0,2'"),
        ("nm,400,420\na,-0.1,0.2\n", "0 or more and not all 0"),
        ("nm,400,420\na,0,0\n", "0 or more and not all 0"),
        ("nm,400,420\n", "wavelengths in nm as its first line or first column, and a reading"),
        ("a,b\n0.1,0.2\n", "wavelengths in nm as its first line or first column"),
        ("nm,400,420\na,0.1\n", "every line of as many values"),
        ("", "every line of as many values"),
        ("nm,400,400,420\na,0.1,0.1,0.2\n", "must name every wavelength once"),
    ],
)
def test_a_table_that_holds_something_else_is_refused(write, text, message):
    with pytest.raises(DataError, match=message):
        read_readings(write(text), THREE)


def test_a_table_that_is_no_text_or_too_large_or_not_there_is_refused(tmp_path, write):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="must be text in UTF-8"):
        read_readings(tmp_path / "binary.csv", VIS)
    with pytest.raises(DataError, match="at most 1 MB; it is larger"):
        read_readings(write("0" * 1_000_001), VIS)
    with pytest.raises(MissingFileError, match="must be a capture's name or a CSV file; there is no"):
        read_readings(tmp_path / "nowhere.csv", VIS)
