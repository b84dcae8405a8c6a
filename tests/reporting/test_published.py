"""The published numbers are those in print, and stand apart from ours."""

import pytest

from hyperskin.pairs import PAIRS
from hyperskin.reporting.document import Bullets, Grid, text_of
from hyperskin.reporting.published import published_blocks, read_published

# The paper's Tables 3 and 4 as printed: three decimals, SSIM and SAM with background, SSIM and SAM masked.
PRINTED = {
    ("rgb_vis", "HSCNN+ (30 blocks)"): (0.916, 0.119, 0.950, 0.113),
    ("rgb_vis", "HRNet"): (0.933, 0.147, 0.961, 0.133),
    ("rgb_vis", "MST++"): (0.923, 0.113, 0.954, 0.107),
    ("msi_nir", "HSCNN+ (20 blocks)"): (0.943, 0.091, 0.964, 0.083),
    ("msi_nir", "HRNet"): (0.955, 0.094, 0.971, 0.086),
    ("msi_nir", "MST++"): (0.959, 0.086, 0.974, 0.076),
}
KEYS = ("ssim/full", "sam/full", "ssim/masked", "sam/masked")


def _half(pair, name):
    [half] = [
        half
        for table in read_published()["tables"]
        if table["pair"] == pair and table["set"] == "T30"
        for half in table["halves"]
        if half["name"] == name
    ]
    return half


@pytest.mark.parametrize(("pair", "model"), PRINTED)
def test_retrained_rows_are_those_of_the_paper(pair, model):
    row = _half(pair, "Re-trained")["rows"][model]
    assert [row[key][0] for key in KEYS] == pytest.approx(PRINTED[pair, model], abs=0.001)
    assert all(0 < row[key][1] < 0.03 for key in KEYS)


def test_the_31st_entry_and_the_misprint_are_told():
    half = _half("rgb_vis", "Re-trained")
    assert half["images"] == {"HSCNN+ (30 blocks)": 31, "HRNet": 30, "MST++": 30}
    assert half["rows"]["MST++"]["ssim/masked"] == [0.9540, 0.0093]
    notes = " ".join(
        text_of(part) for each in _blocks("rgb_vis", Bullets) for item in each.lines for part in item.parts
    )
    assert "31 entries" in notes
    assert "the paper prints 0.010" in notes


def test_every_row_says_over_how_many_captures_and_every_table_of_which_set():
    known = read_published()
    assert {name: entry["images"] for name, entry in known["sets"].items()} == {"T30": 30, "T24": 24, "T54": 54}
    for table in known["tables"]:
        assert table["pair"] in PAIRS
        assert table["set"] in known["sets"]
        for half in table["halves"]:
            assert half["rows"].keys() == half["images"].keys()


def _blocks(pair, kind):
    return [block for block in published_blocks(pair) if isinstance(block, kind)]


def test_the_table_has_the_papers_halves():
    table3, t24 = _blocks("rgb_vis", Grid)
    assert table3.over == (("", 1), ("Pre-trained", 5), ("Re-trained", 5))
    assert table3.heading[1:6] == ("SSIM with background", "SAM with background", "SSIM masked", "SAM masked", "n")
    [row] = [row for row in table3.rows if row[0] == "MST++"]
    assert [text_of(cell) for cell in row[1:6]] == ["0.602", "0.707", "0.766", "0.628", "-"]
    assert text_of(row[6]) == "0.9226 ± 0.0109"
    assert "T24" in t24.caption
    assert t24.heading == ("model", "SSIM with background", "SAM with background", "n")


def test_the_61_bands_have_their_own_set():
    [grid] = _blocks("msi_visnir", Grid)
    assert [text_of(cell) for cell in grid.rows[0][1:]] == ["0.1182 ± 0.0200", "54"]
    assert "T54" in grid.caption
