"""What the page says of subject calibration: means, changes with intervals, and whom it helped."""

from hyperskin.reporting.calibration import calibration_section
from hyperskin.reporting.document import Grid, Line, Span, text_of


def row(score, k, mean, **more):
    return {"score": score, "k": k, "n_images": 6, "n_subjects": 3, "mean": mean, **more}


def grids(section):
    return [block for block in section.blocks if isinstance(block, Grid)]


def test_every_score_has_a_table_and_every_model_a_row(make_result, examine):
    clear = {"change": -0.01, "low": -0.02, "high": -0.005, "better": 3}
    unclear = {"change": 0.002, "low": -0.001, "high": 0.004, "better": 1}
    rows = [
        row("sam/bare_skin", 0, 0.08),
        row("sam/bare_skin", 25, 0.07, **clear),
        row("fidelity/blood_relative_error", 0, 0.3),
        row("fidelity/blood_relative_error", 25, 0.302, **unclear),
    ]
    other = [row("sam/bare_skin", 0, 0.09)]
    exam = examine(
        make_result("hrnet", tables={"calibration": rows}), make_result("basal", tables={"calibration": other})
    )
    sam, blood = grids(calibration_section(exam))
    assert sam.over == (("", 1), ("K = 0", 1), ("K = 25", 3))
    assert "6 captures of 3 subjects" in sam.caption
    told = {text_of(cells[0]): [text_of(cell) for cell in cells[1:]] for cells in sam.rows}
    assert told["hrnet"] == ["0.0800", "0.0700", "-0.0100 (-0.0200 to -0.0050)", "3 of 3"]
    assert told["basal"] == ["0.0900", "-", "-", "-"]
    changes = {text_of(cells[0]): cells[3] for cells in sam.rows} | {"blood": blood.rows[0][3]}
    assert isinstance(changes["hrnet"], Span)
    assert changes["hrnet"].style == "strong"
    told = {text_of(cells[0]): cells[3] for cells in blood.rows}
    assert told["hrnet"] == "+0.002 (-0.001 to +0.004)"


def test_one_subject_has_no_interval(make_result, examine):
    rows = [row("sam/bare_skin", 0, 0.08), row("sam/bare_skin", 25, 0.07, change=-0.01, better=1)]
    [grid] = grids(calibration_section(examine(make_result(tables={"calibration": rows}))))
    assert grid.rows[0][3] == "-0.0100"


def test_runs_without_it_are_told_so(make_result, examine):
    [block] = calibration_section(examine(make_result(tables={}))).blocks
    assert isinstance(block, Line)
    assert "needs masks, and test subjects with two captures" in text_of(block.parts[0])
