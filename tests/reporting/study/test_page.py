"""The study as a document and as files: what is on it, that names are data, that it is the same every time."""

import csv
import io
import re

import pytest

from hyperskin.reporting.study.numbers import study_tables
from hyperskin.reporting.study.page import main_tables, make_study, write_study

CURVE = tuple((epoch, 0.5 / epoch) for epoch in range(1, 10))
EVIL = "<b>evil</b>|x"


@pytest.fixture
def whole(pool):
    """A regression with one run and two networks with two seeds each."""
    models = {
        "regression_linear": [{"p001": 0.2, "p002": 0.3}],
        "basal": [{"p001": 0.1, "p002": 0.2}] * 2,
        "hrnet": [{"p001": 0.3, "p002": 0.1}] * 2,
    }
    return pool(models, hrnet={"curve": CURVE}, basal={"curve": CURVE})


def _write(folder, *pools, measured=()):
    tables = study_tables(pools, measured)
    return write_study(make_study(pools, measured, source="phantom", digest="d" * 64), tables, folder)


def _read(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_same_runs_are_the_same_bytes_and_what_was_before_goes(whole, tmp_path):
    (tmp_path / "one/figures").mkdir(parents=True)
    (tmp_path / "one/figures/old.png").touch()
    (tmp_path / "one/old.csv").touch()
    for name in ("one", "two"):
        _write(tmp_path / name, whole)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert {path.name for path in files} == {
        "study.md", "scores.csv", "differences.csv", "learning.csv", "runs.csv",
        "rgb_vis-learning-over-seeds.png", "rgb_vis-pareto.png",
    }  # fmt: skip
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_links_lead_somewhere_and_figures_are_there(whole, tmp_path):
    text = _write(tmp_path, whole).read_text()
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(ids)
    figures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert len(figures) == 2
    assert all((tmp_path / figure).exists() for figure in figures)


def test_the_word_on_convergence_stands_beside_the_score(whole):
    [line] = [line for line in main_tables([whole]).splitlines() if line.startswith("| hrnet")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["hrnet", "2", "0.2005"]
    assert cells[-1] == "falling, 33 %"


def test_every_number_is_in_a_file(whole, tmp_path):
    _write(tmp_path, whole)
    rows = _read(tmp_path / "scores.csv")
    assert [(row["model"], row["score"]) for row in rows[:2]] == [
        ("regression_linear", "sam/masked"),
        ("regression_linear", "ssim/masked"),
    ]
    basal = next(row for row in rows if row["model"] == "basal")
    assert (float(basal["mean"]), basal["seeds"], basal["subjects"]) == (pytest.approx(0.1505), "2", "2")
    assert float(basal["seed_deviation"]) == 0
    held = {(row["model"], row["against"]) for row in _read(tmp_path / "differences.csv")}
    floor, own = "regression_linear", "basal"
    assert held == {("basal", floor), ("hrnet", floor), (floor, own), ("hrnet", own)}
    learning = _read(tmp_path / "learning.csv")
    assert len(learning) == 4 * len(CURVE)
    assert {row["seed"] for row in learning} == {"1", "2"}
    assert len(_read(tmp_path / "runs.csv")) == 5


def test_a_regression_has_its_one_validation_among_the_epochs(pool, tmp_path):
    _write(tmp_path, pool({"regression_linear": [None]}, regression_linear={"val_sam/masked": 0.25}))
    [row] = _read(tmp_path / "learning.csv")
    assert (row["model"], row["score"], row["value"]) == ("regression_linear", "val_sam/masked", "0.25")


def test_costs_begin_with_what_they_are_of(pool, tmp_path):
    row = {"frame_s": 0.5, "pair": "rgb_vis", "model": "hrnet", "size": "full"}
    _write(tmp_path, pool({"hrnet": [None]}), measured=[row])
    assert (tmp_path / "cost.csv").read_text() == "model,pair,size,frame_s\nhrnet,rgb_vis,full,0.5\n"


def test_runs_that_do_not_say_what_epochs_took_are_drawn_by_epoch(whole, tmp_path):
    text = _write(tmp_path, whole).read_text()
    assert "against epochs" in text
    assert "do not say how many steps and seconds" in text
    assert "hrnet: still improving by 33 % over the last third: not converged." in text


def test_without_runs_it_says_what_to_do(tmp_path):
    assert "No finished run on the present data yet" in _write(tmp_path).read_text()
    assert main_tables([]).startswith("No finished run")


def test_names_are_data(pool, tmp_path):
    text = _write(tmp_path, pool({EVIL: [None, None]})).read_text()
    assert not re.search(r"(?<!\\)<b", re.sub(r"`[^`]*`", "", text))


def test_other_cameras_are_columns_where_there_are_several(make_result, examine, tmp_path):
    from dataclasses import replace

    from hyperskin.reporting.study.seeds import Pool

    runs = []
    for seed, angle in (("1", 0.1), ("2", 0.3)):
        run = make_result(
            "hrnet", params={"seed": seed}, **{"camera_sam_masked/cie": angle, "camera_sam_masked/phone": 0.5}
        )
        runs.append(replace(run, row=replace(run.row, tested=("cie", "phone"), cameras=("cie",))))
    text = _write(tmp_path, Pool.of(examine(*runs))).read_text()
    assert [(row["pictures"], row["mean"]) for row in _read(tmp_path / "cameras.csv")] == [
        ("cie", "0.2"),
        ("phone", "0.5"),
    ]
    assert re.search(r"hrnet\]\(#run-\w+\) \| cie +\| +0.2000 \| 0.5000 \| 0.5000 \|", text)


def test_seeds_that_other_code_trained_are_told(whole, tmp_path):
    whole.groups[1].members[0].tags["code"] = "another"
    assert (
        "basal: its seeds were trained by different code, which spreads them too."
        in _write(tmp_path, whole).read_text()
    )
