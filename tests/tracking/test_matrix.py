"""A model trained on one camera and tested on each: which runs stand together, what their table and heat map hold."""

import csv
import io
import itertools
import re
from dataclasses import replace

import pytest
from matplotlib.patches import Rectangle

from hyperskin.tracking.compare import Row, make_tables, read_rows
from hyperskin.tracking.compare import to_markdown as compare_markdown
from hyperskin.tracking.matrix import draw, make_matrices, to_csv, to_markdown, write_matrices

_numbers = itertools.count()


def _row(trained, *, model="hrnet", size="width 8", evaluation="aaaaaaaabbbb", pair="rgb_vis", key="sam", **scores):
    """A run trained on cameras with "+" between, with masked angles by camera."""
    cameras = tuple(trained.split("+"))
    region = "masked" if key == "sam" else "full"
    return Row(
        model=model,
        pair=pair,
        size=size,
        params={"model": model, "pair": pair, "size": size, "camera": " + ".join(cameras), "test_cameras": "all"},
        evaluation=evaluation,
        metrics={f"camera_sam_{region}/{camera}": score for camera, score in scores.items()},
        run_id=f"run{next(_numbers)}",
        started_ms=0,
        camera=cameras[0],
        cameras=cameras,
        tested=tuple(scores),
    )


def _seeded(seed, row):
    return replace(row, params={**row.params, "seed": seed})


def _two():
    """Two cameras: each training is good at home and bad abroad, the one on both lies between."""
    return [
        _row("cie+phone", cie=0.12, phone=0.13),
        _row("phone", cie=0.3, phone=0.11),
        _row("cie", cie=0.1, phone=0.2),
    ]


def _cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_two_cameras_by_hand():
    [matrix] = make_matrices(_two())
    assert matrix.cameras == ("cie", "phone")
    assert [row.params["camera"] for row in matrix.rows] == ["cie", "phone", "cie + phone"]
    assert [[matrix.value(row, camera) for camera in matrix.cameras] for row in matrix.rows] == [
        [0.1, 0.2], [0.3, 0.11], [0.12, 0.13],
    ]  # fmt: skip
    cells = _cells(to_markdown([matrix]))
    assert cells[2:5] == [
        ["hrnet (width 8)", "cie", "**0.1000**", "**0.2000**", "0.1500", "0.2000"],
        ["hrnet (width 8)", "phone", "0.1100", "0.3000", "0.2050", "0.3000"],
        ["hrnet (width 8)", "cie + phone", "0.1250", "-", "**0.1250**", "**0.1300**"],
    ]
    assert cells[5] == ["trained on", "cie", "phone"]
    assert cells[7:] == [
        ["cie", "**0.1000**", "0.2000"],
        ["phone", "0.3000", "**0.1100**"],
        ["cie + phone", "**0.1200**", "**0.1300**"],
    ]


def test_seeds_of_a_training_are_one_row_of_their_means():
    rows = [_seeded(seed, _row("cie", cie=low, phone=0.5)) for seed, low in (("2", 0.3), ("1", 0.1))]
    [matrix] = make_matrices([*rows, _seeded("1", _row("phone", cie=0.4, phone=0.2))])
    assert matrix.label == "hrnet (width 8)"
    assert [row.params["camera"] for row in matrix.rows] == ["cie", "phone"]
    assert matrix.value(matrix.rows[0], "cie") == pytest.approx(0.2)
    assert matrix.runs[0] == (rows[1].run_id, rows[0].run_id)
    assert "### hrnet (width 8), SAM masked, mean over 2 seeds" in to_markdown([matrix])
    assert "mean over 2 seeds" in draw(matrix).get_suptitle()
    assert f",{rows[1].run_id} {rows[0].run_id}\n" in to_csv([matrix])


def test_csv_holds_every_digit_and_what_was_not_tested_is_empty():
    rows = [_row("cie", cie=0.123456789, phone=0.2), _row("lone", lone=0.3, cie=0.4)]
    lines = list(csv.DictReader(io.StringIO(to_csv(make_matrices(rows)))))
    found = {(line["trained_on"], line["tested_on"]): (line["sam/masked"], line["is_own"]) for line in lines}
    assert found == {
        ("cie", "cie"): ("0.123456789", "true"), ("cie", "phone"): ("0.2", "false"), ("cie", "lone"): ("", "false"),
        ("lone", "cie"): ("0.4", "false"), ("lone", "phone"): ("", "false"), ("lone", "lone"): ("0.3", "true"),
    }  # fmt: skip


def test_runs_stand_together_that_differ_in_cameras_alone():
    rows = [
        *_two(),
        _row("cie", model="regression_linear", size="closed form", cie=0.2, phone=0.3),
        _row("cie", evaluation="other", cie=0.2, phone=0.3),
        _row("cie", pair="msi_nir", cie=0.2, phone=0.3),
        _row("cie", size="width 16", cie=0.2, phone=0.3),
        _row("cie", model="hscnn_plus", cie=0.2),
    ]
    found = [(matrix.pair, matrix.evaluation[:4], matrix.label, len(matrix.rows)) for matrix in make_matrices(rows)]
    assert found == [
        ("rgb_vis", "aaaa", "regression_linear", 1),
        ("rgb_vis", "aaaa", "hrnet (width 16)", 1),
        ("rgb_vis", "aaaa", "hrnet (width 8)", 3),
        ("rgb_vis", "othe", "hrnet (width 8)", 1),
        ("msi_nir", "aaaa", "hrnet (width 8)", 1),
    ]
    assert {matrix.evaluation for matrix in make_matrices(rows, present={"other"})} == {"other"}


def test_without_masks_the_angle_over_everything_is_shown():
    [matrix] = make_matrices([_row("cie", key="full", cie=0.2, phone=0.3)])
    assert matrix.score == "sam/full"
    assert "SAM with background in rad" in to_markdown([matrix])


def test_a_heat_map_prints_its_numbers_and_frames_what_was_trained_on():
    [matrix] = make_matrices(_two())
    axes = draw(matrix).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.100", "0.200", "0.300", "0.110", "0.120", "0.130"]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle) and not patch.get_fill()]
    assert [(round(frame.get_x() + 0.44), round(frame.get_y() + 0.42)) for frame in frames] == [
        (0, 0), (1, 1), (0, 2), (1, 2),
    ]  # fmt: skip
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cie", "phone", "cie + phone"]


def test_files_are_written_where_there_is_something_to_tell(tmp_path):
    assert write_matrices(tmp_path, []) == ""
    assert list(tmp_path.iterdir()) == []
    said = write_matrices(tmp_path, make_matrices(_two()))
    assert "with other cameras, test set aaaaaaaa: SAM masked in rad" in said
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert names == ["cameras.csv", "cameras.md", "cameras/rgb_vis-hrnet_width_8-aaaaaaaa.png"]


def test_runs_are_compared_only_where_one_camera_examined_them():
    tables = make_tables(_two())
    assert [list(table.labels) for table in tables] == [
        ["hrnet (width 8), camera cie + phone", "hrnet (width 8), camera cie"], ["hrnet (width 8)"],
    ]  # fmt: skip
    headings = re.findall("^## .*", compare_markdown(tables), flags=re.MULTILINE)
    assert headings == [f"## rgb_vis, test set aaaaaaaa, RGB as by {camera}" for camera in ("cie", "phone")]
    assert "one table for each test set" not in compare_markdown(tables)


def test_cameras_are_read_back_from_a_run(uri, finish):
    tags = {"test_camera": "phone", "cameras": "phone, cie", "test_cameras": "cie, phone"}
    finish({"camera_sam_masked/cie": 0.2, "sam/masked": 0.1}, params={"camera": "all"}, tags=tags)
    [row] = read_rows(uri)
    assert (row.camera, row.cameras, row.tested) == ("phone", ("phone", "cie"), ("cie", "phone"))
    assert row.metrics["camera_sam_masked/cie"] == 0.2


@pytest.mark.parametrize("camera", ["cie", ""])
def test_a_run_from_before_was_examined_by_the_camera_it_was_trained_on(uri, finish, camera):
    finish(params={"camera": camera} if camera else {})
    assert read_rows(uri)[0].camera == camera
