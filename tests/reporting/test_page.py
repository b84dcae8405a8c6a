"""The whole page: what is on it when something is missing, that names are data, and that it is the same every time."""

import re

import numpy as np
import pytest
from PIL import Image

from hyperskin.pictures import save_picture
from hyperskin.reporting.document import Grid, Span, text_of
from hyperskin.reporting.files import write_page
from hyperskin.reporting.groups import groups_section
from hyperskin.reporting.page import make_page
from hyperskin.reporting.people import wanted_pictures
from hyperskin.tracking.results import Unfinished

EVIL = "<b>evil</b>|x"
SHEETS = ("sheet_p001_neutral_front.png", "sheet_p002_neutral_front.png", "skin_p001_neutral_front.png")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the page and returns HTML and Markdown."""

    def put(found):
        path = write_page(make_page(found), tmp_path / "reports", publishable=found.publishable)
        return path.read_text(), path.with_suffix(".md").read_text()

    return put


@pytest.fixture
def exam(make_result, examine):
    """Two regressions and a network on rgb_vis."""
    curve = [(1, 0.3), (2, 0.2), (3, 0.25)]
    return examine(
        make_result("regression_mean", {"p001": 0.4, "p002": 0.5, "p003": 0.6}),
        make_result("regression_linear"),
        make_result("hrnet", {"p001": 0.2, "p002": 0.3, "p003": 0.4}, curve=curve, pictures=SHEETS),
    )


@pytest.fixture
def bare(make_result, examine):
    """A network whose tables are gone, so that nothing is drawn of it."""
    return examine(make_result("hrnet", tables={}, pictures=SHEETS))


def test_links_lead_somewhere_and_ids_are_unique(exam, find, write):
    page, text = write(find(exam))
    for content in (page, text):
        ids = re.findall(r'id="([^"]+)"', content)
        assert len(ids) == len(set(ids))
        links = re.findall(r'href="#([^"]+)"|\]\(#([^)]+)\)', content)
        assert {first or second for first, second in links} <= set(ids)
        assert f"run-{exam.results[0].row.run_id[:12]}" in ids


def test_cameras_in_front_of_one_pair_are_sections_of_their_own(make_result, examine_all, find, write, tmp_path):
    results = [make_result("hrnet", params={"camera": name}, pictures=SHEETS) for name in ("cie", "x")]
    exams = examine_all(*results)
    paths = _files(tmp_path, SHEETS[:1] * 2)
    pictures = tuple(zip(results, paths, strict=True))
    page, text = write(find(*exams, publishable=frozenset({"p001"}), pictures=pictures))
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "(rgb_vis) by cie" in text
    assert "(rgb_vis) by x" in text
    assert text.count("Published, test set T30") == 1
    assert page.count("data:image/png") == 2


def test_published_scores_are_in_no_table_with_ours(exam, find, write):
    page, _ = write(find(exam))
    tables = re.findall(r"<table>.*?</table>", page, re.DOTALL)
    assert any("MST++" in table for table in tables)
    assert not any("MST++" in table and "regression_" in table for table in tables)
    assert "nothing is ranked across" in page


def test_the_same_runs_are_the_same_bytes(exam, find, tmp_path):
    found = find(exam)
    for name in ("one", "two"):
        write_page(make_page(found), tmp_path / name, publishable=found.publishable)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_its_dates_are_those_of_the_runs(bare, find, write):
    page, _ = write(find(bare))
    assert set(re.findall(r"20\d\d-\d\d-\d\d", page)) == {"2023-11-14"}


def test_names_are_data(make_result, examine, find, write):
    angles = {f"{EVIL}1": 0.1, f"{EVIL}2": 0.2}
    exam = examine(make_result("regression_linear", angles), make_result(EVIL, angles, params={EVIL: EVIL}))
    page, text = write(find(exam, unfinished=(Unfinished(EVIL, "rgb_vis", "FAILED"),)))
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    outside_code = re.sub(r"`[^`]*`", "", text)
    assert not re.search(r"(?<!\\)<b", outside_code)


def test_without_runs_the_page_has_the_data_and_says_what_to_do(find, write):
    page, text = write(find())
    assert "No finished run on the present data yet" in page
    assert "Signal to noise" in text
    assert "There is no run." in text


def test_without_masks_there_are_no_masked_columns(make_result, examine, find, write, make_manifest):
    exam = examine(make_result("regression_linear", masks=False), make_result("hrnet", masks=False))
    _, text = write(find(exam, manifest=make_manifest(masks=False)))
    ours = text[text.index("Ours, test set") : text.index("Published scores stand apart")]
    assert "The test captures have no masks" in ours
    assert "SSIM masked" not in ours
    assert "| none 6 " in text, "the split says that there is no mask"


def test_seeds_are_one_model_of_the_page_and_runs_of_their_own_at_its_end(make_result, examine, find, write):
    seeds = [make_result("hrnet", {"p001": angle, "p002": 0.2}, params={"seed": str(angle)}) for angle in (0.1, 0.3)]
    page, text = write(find(examine(make_result("regression_linear", {"p001": 0.1, "p002": 0.2}), *seeds)))
    table = text[text.index("Ours, test set") : text.index("Published scores stand apart")]
    assert table.count("| [hrnet]") == 1
    assert "Trainings that differ in their seed alone are one row" in text
    assert "#### Scores over seeds" in text
    assert text.count("difference from the best regression") == 1
    assert "Difference from" not in text, "the section on subjects leaves that to the one on seeds"
    runs = text[text.index("Runs of rgb_vis, test set") :]
    assert all(seed.row.run_id in runs for seed in seeds)
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_one_regression_alone_is_a_page_too(make_result, examine, find, write):
    _, text = write(find(examine(make_result("regression_linear"))))
    assert "No network was trained on this pair." in text
    _, text = write(find(examine(make_result("hrnet", {"p001": 0.1}))))
    assert "No regression was fitted on this pair" in text
    assert "One test subject." in text


def test_a_run_whose_files_are_gone_keeps_its_scores(make_result, examine, find, write):
    _, text = write(find(examine(make_result("regression_linear", tables={}), make_result("hrnet", tables={}))))
    assert "No run has tables of its bands or captures." in text
    assert "0.1405 ±" in text


def test_what_is_not_on_the_page_is_told(bare, find, write):
    unfinished = (Unfinished("hrnet", "msi_nir", "KILLED"),) * 2
    _, text = write(find(bare, unfinished=unfinished, others=3, waiting="1 run waits."))
    assert "- Not finished: hrnet on msi\\_nir (KILLED, 2 times)." in text.replace("msi_nir", "msi\\_nir")
    assert "- 3 finished runs on other test captures" in text
    assert "- 1 run waits." in text
    assert "Left out of this page" not in write(find(bare, publishable=frozenset({"p001", "p002", "p003"})))[1]


def test_groups_are_told_with_their_counts_gaps_and_own_camera(make_result, examine):
    tables = {
        "per_skin_type": [
            {"skin_type": "light", "n_images": 6, "n_subjects": 2, "sam/masked": 0.1, "ssim/masked": 0.9},
            {"skin_type": "dark", "n_images": 3, "n_subjects": 1, "sam/masked": 0.25},
        ],
        "per_expression": [{"expression": "neutral", "n_images": 9, "sam/masked": 0.15}],
        "per_camera": [
            {"camera": "cie", "sam/masked": 0.15, "pictures": "of the evaluation"},
            {"camera": "x", "sam/masked": 0.35, "pictures": "of another camera"},
        ],
    }
    section = groups_section(examine(make_result("hrnet", tables=tables)))
    skin, camera = (block for block in section.blocks if isinstance(block, Grid))
    assert [heading.replace("\N{NO-BREAK SPACE}", " ") for heading in skin.heading] == [
        "model", "light (n 6, 2 people)", "dark (n 3, 1 person)", "gap",
        "light (n 6, 2 people)", "dark (n 3, 1 person)", "gap",
    ]  # fmt: skip
    assert [text_of(cell) for cell in skin.rows[0]] == ["hrnet", "0.1000", "0.2500", "0.1500", "0.9000", "-", "-"]
    assert camera.heading == ("model", "cie", "x", "gap")
    assert camera.rows[0][1:] == (Span("0.1500", style="strong"), "0.3500", "0.2000")


def test_fifty_runs_are_fifty_rows_and_few_curves(make_result, examine, find, write):
    results = [make_result("hrnet", label=f"hrnet {k}", params={"learning_rate": str(k)}) for k in range(50)]
    _, text = write(find(examine(*results)))
    assert "Not drawn, but in the tables: 44 of 50 models." in text


# people


def _files(tmp_path, names, subjects=None):
    paths = []
    for name in names:
        own = subjects or [name.split("_")[1]]
        paths.append(tmp_path / "fetched" / name)
        save_picture(np.full((8, 12, 3), 7, np.uint8), subjects=own, publishable=own, path=paths[-1])
    return paths


def test_nobody_is_even_asked_for_without_consent(exam):
    assert wanted_pictures([exam], set()) == []
    assert [name for _, name in wanted_pictures([exam], {"p002"})] == []  # the best model is a regression


def test_the_best_models_pictures_are_of_those_who_agreed(bare, find, write, tmp_path):
    wanted = wanted_pictures([bare], {"p001"})
    assert [name for _, name in wanted] == [SHEETS[0], SHEETS[2]]
    paths = _files(tmp_path, [name for _, name in wanted])
    pictures = tuple((result, path) for (result, _), path in zip(wanted, paths, strict=True))
    page, text = write(find(bare, publishable=frozenset({"p001"}), pictures=pictures))
    assert page.count("data:image/png") == 2
    assert "2 of 3 test subjects left out" in text
    written = sorted(path.name for path in (tmp_path / "reports/report").glob("*.png"))
    assert written == ["rgb_vis-sheet_p001_neutral_front.png", "rgb_vis-skin_p001_neutral_front.png"]
    with Image.open(tmp_path / "reports/report" / written[0]) as picture:
        assert picture.text["Subjects"] == "p001"


def test_a_file_that_names_somebody_else_is_left_out(bare, find, write, tmp_path):
    [path] = _files(tmp_path, SHEETS[:1], subjects=["p001", "p002"])
    page, _ = write(find(bare, publishable=frozenset({"p001"}), pictures=((bare.results[0], path),)))
    assert "data:image/png" not in page


def test_whoever_withdraws_is_gone_from_the_next_page(bare, find, write, tmp_path):
    paths = _files(tmp_path, SHEETS[:1])
    write(find(bare, publishable=frozenset({"p001"}), pictures=((bare.results[0], paths[0]),)))
    page, _ = write(find(bare))
    assert "data:image/png" not in page
    assert list((tmp_path / "reports/report").glob("*.png")) == []
