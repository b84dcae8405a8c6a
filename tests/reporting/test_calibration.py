"""What the page says of subject calibration: means, changes with intervals, and whom it helped."""

import pytest

from hyperskin.metrics.readings import summarise_readings
from hyperskin.reporting.calibration import calibration_section
from hyperskin.reporting.document import Grid, Line, Span, text_of

SAM, BLOOD = "sam/bare_skin", "fidelity/blood_relative_error"


def captures(changes, k=25, plain=0.08, **more):
    """Return two captures of each subject, without readings and with k of them, whose scores changed by so much."""
    rows = []
    for who, change in changes.items():
        for name in ("neutral_left", "smile_left"):
            image = {"image": f"{who}_{name}", "subject": who, "measured": f"{who}_neutral_front"}
            rows.append({**image, "k": 0, SAM: plain, **more})
            if change is not None:
                rows.append({**image, "k": k, SAM: plain + change, **more})
    return rows


def grids(section):
    return [block for block in section.blocks if isinstance(block, Grid)]


def test_every_score_has_a_table_and_every_model_a_row(make_result, examine):
    clear = captures({"p001": -0.02, "p002": -0.01, "p003": -0.03}, **{BLOOD: 0.3})
    unclear = captures({"p001": -0.02, "p002": 0.03, "p003": 0.005})
    exam = examine(
        make_result("hrnet", tables={"per_calibration": clear}),
        make_result("basal", tables={"per_calibration": unclear}),
        make_result("mst_plus_plus", tables={"per_calibration": captures({"p001": None})}),
    )
    sam, blood = grids(calibration_section(exam))
    assert sam.over == (("", 1), ("K = 0", 1), ("K = 25", 3))
    assert "6 captures of 3 subjects" in sam.caption
    told = {text_of(cells[0]): [text_of(cell) for cell in cells[1:]] for cells in sam.rows}
    assert told["hrnet"] == ["0.0800", "0.0600", "-0.0200 (-0.0300 to -0.0100)", "3 of 3"]
    assert told["basal"][1:] == ["0.0850", "+0.0050 (-0.0200 to +0.0300)", "1 of 3"]
    assert told["mst_plus_plus"] == ["0.0800", "-", "-", "-"]
    changes = {text_of(cells[0]): cells[3] for cells in sam.rows}
    assert isinstance(changes["hrnet"], Span)
    assert changes["hrnet"].style == "strong"
    assert isinstance(changes["basal"], str)
    assert {text_of(cells[0]): text_of(cells[3]) for cells in blood.rows}["hrnet"] == "+0.000 (+0.000 to +0.000)"


def test_one_subject_has_no_interval(make_result, examine):
    rows = captures({"p001": -0.01})
    [grid] = grids(calibration_section(examine(make_result(tables={"per_calibration": rows}))))
    assert grid.rows[0][3] == "-0.0100"


def test_runs_without_it_are_told_so(make_result, examine):
    [block] = calibration_section(examine(make_result(tables={}))).blocks
    assert isinstance(block, Line)
    assert "needs masks, and test subjects with two captures" in text_of(block.parts[0])


def test_a_capture_without_the_readings_does_not_count_among_those_with_them():
    rows = captures({"p001": -0.01, "p002": -0.02}) + captures({"p003": None}, plain=0.5)
    without, with_readings = (row for row in summarise_readings(rows) if row["score"] == SAM)
    assert (without["n_images"], with_readings["n_images"]) == (6, 4)
    assert with_readings["mean"] == pytest.approx(0.065)
    assert with_readings["change"] == pytest.approx(-0.015)
