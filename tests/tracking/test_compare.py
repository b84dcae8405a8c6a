import csv
import dataclasses
import io
import itertools
import re

import pytest
from mlflow import MlflowClient

from hyperskin.tracking.compare import (
    OURS,
    PUBLISHED,
    Column,
    Row,
    find_best,
    make_tables,
    networks_below_floor,
    read_rows,
    scored_pairs,
    to_csv,
    to_latex,
    to_markdown,
    write_comparison,
)

SAM = OURS[3]
_numbers = itertools.count()


def _row(model, sam, *, pair="rgb_vis", size="full", evaluation="aaaaaaaabbbb", params=None, file="", **metrics):
    number = next(_numbers)
    known = {} if sam is None else {"sam/masked": sam, "sam/masked_std": 0.01}
    return Row(
        model=model,
        pair=pair,
        size=size,
        params={"model": model, "pair": pair, "size": size, **(params or {})},
        evaluation=evaluation,
        metrics={**known, "n_images": 6.0, "cost/parameters": 7.0, **metrics},
        run_id=f"run{number}",
        started_ms=number,
        camera=(params or {}).get("camera", ""),
        file=file,
    )


def _table(*rows):
    [table] = make_tables(rows)
    return table


# how rows are grouped and ranked


def test_floor_stands_first_and_pairs_keep_their_order():
    rows = [_row("hrnet", 0.1, pair="msi_nir"), _row("hrnet", 0.1), _row("regression_linear", 0.2)]
    tables = make_tables(rows)
    assert [table.pair for table in tables] == ["rgb_vis", "msi_nir"]
    assert tables[0].labels == ("regression_linear", "hrnet")


def test_a_published_test_set_is_named_before_its_fingerprint():
    rows = [
        dataclasses.replace(_row("hrnet", 0.1, evaluation=f"{name}aaaaaaaa"), test_set=name) for name in ("T24", "own")
    ]
    text = to_markdown(make_tables(rows))
    assert "## rgb_vis, test set T24 T24aaaaa\n" in text
    assert "## rgb_vis, test set ownaaaaa\n" in text


def test_different_test_sets_are_never_in_one_table_and_the_text_says_so():
    tables = make_tables([_row("hrnet", 0.1), _row("hscnn_plus", 0.2, evaluation="other")])
    assert [len(table.rows) for table in tables] == [1, 1]
    assert "rgb_vis: one table for each test set" in to_markdown(tables)
    assert "one table for each test set" not in to_markdown(tables[:1])


def test_tables_of_the_present_data_stand_first_and_say_so():
    rows = [_row("hrnet", 0.1, evaluation="aaaa"), _row("hrnet", 0.2, evaluation="zzzz")]
    tables = make_tables([*rows, _row("hrnet", 0.3, evaluation="bbbb", pair="msi_nir")], present={"zzzz", "cccc"})
    assert [(table.evaluation, table.is_present) for table in tables] == [
        ("zzzz", True), ("aaaa", False), ("bbbb", False)
    ]  # fmt: skip
    headings = [line for line in to_markdown(tables).splitlines() if line.startswith("##")]
    assert headings == [
        "## rgb_vis, test set zzzz (present data)",
        "## rgb_vis, test set aaaa (other data)",
        "## msi_nir, test set bbbb (other data)",
    ]
    assert "data)" not in to_markdown(make_tables(rows)), "nobody said which data are there"
    assert [table.evaluation for table in make_tables(rows)] == ["aaaa", "zzzz"]


def test_smallest_angle_and_largest_similarity_are_best():
    rows = [_row("a", 0.1, **{"ssim/masked": 0.8}), _row("b", 0.2, **{"ssim/masked": 0.9}), _row("c", None)]
    assert find_best(rows, SAM) is rows[0]
    assert find_best(rows, OURS[2]) is rows[1]
    assert find_best(rows[2:], SAM) is None


@pytest.mark.parametrize(
    ("column", "better", "worse"),
    [
        (Column("sam/full", "SAM", is_higher_better=False), 0.1, 0.2),
        (Column("ssim/full", "SSIM", is_higher_better=True), 0.2, 0.1),
    ],
)
def test_equal_scores_beat_neither(column, better, worse):
    assert column.beats(better, worse)
    assert not column.beats(worse, better)
    assert not column.beats(better, better)


def test_networks_that_do_not_beat_the_best_regression_are_named():
    table = _table(
        _row("regression_mean", 0.5),
        _row("regression_linear", 0.2),
        _row("hrnet", 0.3),
        _row("hscnn_plus", 0.2),
        _row("mst_plus_plus", 0.1),
        _row("mst_plus_plus", float("nan"), size="stages 1"),
    )
    assert networks_below_floor(table) == ["hrnet", "hscnn_plus", "mst_plus_plus (stages 1)"]
    assert (
        "Not better by SAM than the best regression, the floor: hrnet; hscnn_plus; mst_plus_plus (stages 1)."
        in to_markdown([table])
    )


def test_without_masks_the_angle_over_everything_decides():
    table = _table(_row("regression_linear", None, **{"sam/full": 0.2}), _row("hrnet", None, **{"sam/full": 0.3}))
    assert networks_below_floor(table) == ["hrnet"]


def test_without_a_regression_nobody_is_blamed():
    assert networks_below_floor(_table(_row("hrnet", 0.3))) == []


def test_rows_of_one_model_are_told_apart_by_what_differs():
    table = _table(
        _row("hrnet", 0.1, params={"seed": "1", "camera": "cie"}),
        _row("hrnet", 0.2, params={"seed": "2", "camera": "cie"}),
        _row("hrnet", 0.3, size="width 16", params={"seed": "3", "camera": "cie"}),
    )
    assert set(table.labels) == {"hrnet, seed 1", "hrnet, seed 2", "hrnet (width 16)"}


# how they are written


def test_a_network_trained_elsewhere_stands_above_those_trained_here_and_says_so():
    table = _table(
        _row("hrnet", 0.1, params={"seed": "1"}),
        _row("hrnet", 0.2, params={"origin": "pretrained", "weights": "ab12"}, file="ntire.pth"),
        _row("mst_plus_plus", 0.3, size="stages 1", params={"weights": "cd34"}, file="cave.pt"),
    )
    assert table.labels == ("hrnet (pretrained)", "hrnet", "mst_plus_plus (stages 1, pretrained)")
    assert [row.metrics["sam/masked"] for row in table.rows] == [0.2, 0.1, 0.3]


def test_several_networks_from_elsewhere_are_told_apart_by_their_files():
    first = _row("hrnet", 0.1, params={"weights": "ab12"}, file="a.pt")
    assert _table(first, _row("hrnet", 0.2, params={"weights": "cd34"}, file="b.pt")).labels == (
        "hrnet (pretrained), file a.pt",
        "hrnet (pretrained), file b.pt",
    )
    assert _table(first, _row("hrnet", 0.2, params={"weights": "cd34"}, file="a.pt")).labels == (
        "hrnet (pretrained), weights ab12",
        "hrnet (pretrained), weights cd34",
    )


def _small():
    return make_tables(
        [
            _row("regression_linear", 0.2, params={"camera": "cie"}, **{"ssim/full": 0.8, "ssim/full_std": 0.02}),
            _row("hrnet", 0.123456, size="width 16", params={"camera": "cie"}, **{"ssim/full": 0.7}),
        ]
    )


def _squeeze(text):
    """Return the lines without the blanks that align columns."""
    return [re.sub(" +", " ", line) for line in text.splitlines()]


def test_markdown_is_the_papers_table_with_the_best_in_bold():
    lines = _squeeze(to_markdown(_small()))
    assert "## rgb_vis, test set aaaaaaaa, RGB as by cie" in lines
    assert "| model | SSIM with background | SAM with background | SSIM masked | SAM masked | n | parameters |" in lines
    assert "| *regression_linear* | **0.8000 ± 0.0200** | - | - | 0.2000 ± 0.0100 | 6 | 7 |" in lines
    assert "| hrnet (width 16) | 0.7000 | - | - | **0.1235 ± 0.0100** | 6 | 7 |" in lines


def test_published_rule_has_its_own_table_where_it_was_computed():
    assert "published evaluation code" not in to_markdown(_small())
    table = _table(_row("hrnet", 0.1, **{PUBLISHED[3].metric: 0.09}))
    assert "| hrnet | - | - | - | **0.0900** | 6 | 7 |" in _squeeze(to_markdown([table]))


def test_noise_free_scores_have_a_column_and_the_noise_a_sentence():
    known = {"sam/skin_truth": 0.04, "sam/floor_masked": 0.094, "sam/floor_skin": 0.054}
    table = _table(_row("regression_linear", 0.2, **known), _row("hrnet", 0.1, **{**known, "sam/skin_truth": 0.03}))
    lines = _squeeze(to_markdown([table]))
    assert (
        "| model | SSIM with background | SAM with background | SSIM masked | SAM masked | SAM skin, noise-free "
        "| n | parameters |" in lines
    )
    assert "| hrnet | - | - | - | **0.1000 ± 0.0100** | **0.0300** | 6 | 7 |" in lines
    assert (
        "The noise-free cubes themselves would score a SAM of 0.0940 masked and 0.0540 on skin: "
        "that is the noise of the measured ones." in lines
    )
    [line, _] = csv.DictReader(io.StringIO(to_csv([table])))
    assert (line["sam/skin_truth"], line["sam/floor_skin"]) == ("0.04", "0.054")


def test_nothing_of_the_truth_is_said_where_nobody_knows_it():
    assert "noise-free" not in to_markdown(_small())
    assert "truth" not in to_csv(_small())
    assert "floor" not in to_csv(_small())


def test_a_pair_whose_input_holds_a_target_band_is_also_ranked_without_it():
    table = _table(
        _row("regression_linear", 0.02, pair="msi_nir", **{"sam/masked_unseen": 0.031}),
        _row("hrnet", 0.019, pair="msi_nir", **{"sam/masked_unseen": 0.032}),
    )
    text = to_markdown([table])
    assert "| SAM masked, without given bands |" in re.sub(" +", " ", text)
    assert "**0.0310**" in text
    assert "**0.0190 ± 0.0100**" in text
    assert next(iter(csv.DictReader(io.StringIO(to_csv([table])))))["sam/masked_unseen"] == "0.031"
    assert "given bands" not in to_markdown(_small())


def test_columns_stand_below_each_other():
    lines = [line for line in to_markdown(_small()).splitlines() if line.startswith("|")]
    bars = [[place for place, sign in enumerate(line) if sign == "|"] for line in lines]
    assert bars[1:] == bars[:-1]


def test_one_image_has_no_spread():
    (table,) = _small()
    alone = dataclasses.replace(
        table, rows=tuple(dataclasses.replace(row, metrics={**row.metrics, "n_images": 1}) for row in table.rows)
    )
    assert "±" not in to_markdown([alone]).partition("## rgb_vis")[2]


def test_nothing_finished_says_what_to_do():
    assert "prefect deployment run train-all" in to_markdown([])


def test_csv_holds_every_digit():
    lines = list(csv.DictReader(io.StringIO(to_csv(_small()))))
    assert [line["label"] for line in lines] == ["regression_linear", "hrnet (width 16)"]
    assert lines[1]["sam/masked"] == "0.123456"
    assert lines[1]["ssim/full_std"] == ""
    assert lines[1]["parameters"] == "7"


def test_latex_is_escaped_and_bold():
    text = to_latex(_small())
    assert r"regression\_linear & $\mathbf{0.8000 \pm 0.0200}$ & - & - & $0.2000 \pm 0.0100$ & 6 & 7 \\" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


# what is read from MLflow


def test_only_the_newest_finished_run_of_the_same_thing_counts(uri, start, finish, provenance):
    with pytest.raises(KeyboardInterrupt), start(params={"seed": 1}):
        raise KeyboardInterrupt
    finish({"sam/masked": 0.3}, params={"seed": 1}, provenance=dataclasses.replace(provenance, unit_key="old code"))
    newest = finish({"sam/masked": 0.2}, params={"seed": 1}, provenance=dataclasses.replace(provenance, unit_key="b"))
    other = finish({"sam/masked": 0.1}, params={"seed": 2}, provenance=dataclasses.replace(provenance, unit_key="c"))
    assert {row.run_id for row in read_rows(uri)} == {newest, other}
    assert scored_pairs(uri) == ["rgb_vis"]


def test_run_read_back_keeps_what_the_table_needs(uri, finish, scores, provenance):
    run_id = finish(size="stages 1")
    [row] = read_rows(uri)
    assert (row.run_id, row.model, row.pair, row.size) == (run_id, "mst_plus_plus", "rgb_vis", "stages 1")
    assert row.metrics == scores
    assert row.evaluation == provenance.evaluation
    assert (row.image_count, row.parameter_count) == (6, 868)
    assert row.started_ms == MlflowClient(uri).get_run(run_id).info.start_time


def test_comparison_is_written_in_three_forms(uri, finish, tmp_path):
    finish()
    text = write_comparison(uri, tmp_path / "reports")
    assert (tmp_path / "reports" / "comparison.md").read_text() == text
    assert "0.1000 ± 0.0100" in text
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [
        "comparison.csv",
        "comparison.md",
        "comparison.tex",
    ]


# what is left of the skin

KEPT = {
    "fidelity/melanin_relative_error": 0.5,
    "fidelity/melanin_relative_error_std": 0.1,
    "fidelity/oxygenation_mae_pp": 9.04,
    "fidelity/oxygenation_constant_mae_pp": 7.0,
    "fidelity/melanin_r": 0.912,
}


def test_what_is_left_of_the_skin_is_a_table_of_its_own_with_fitting_digits():
    better = {**KEPT, "fidelity/melanin_relative_error": 0.25}
    text = to_markdown(make_tables([_row("hrnet", 0.1, **KEPT), _row("hscnn_plus", 0.2, **better)]))
    [heading, line, other] = [
        line for line in text.partition("What is left of the skin")[2].splitlines() if line.startswith("|")
    ][:1] + [line for line in text.partition("What is left of the skin")[2].splitlines() if line.startswith("| h")]
    assert "melanin off by" in heading
    assert "water" not in heading
    assert "0.500 ± 0.100" in line
    assert "9.0" in line
    assert "0.91" in line
    assert "**0.250 ± 0.100**" in other
    assert "would be off by 7.0 pp" in text
    assert "fidelity/melanin_relative_error" in to_csv(make_tables([_row("hrnet", 0.1, **KEPT)])).splitlines()[0]


def test_nothing_is_said_of_the_skin_where_it_was_not_examined():
    assert "skin" not in to_markdown(_small())
    assert "fidelity" not in to_csv(_small())


@pytest.mark.parametrize(("angle", "melanin", "is_told"), [(0.103, 0.8, True), (0.11, 0.8, False), (0.103, 0.6, False)])
def test_models_that_tie_by_angle_and_differ_in_melanin_are_named(angle, melanin, is_told):
    other = {**KEPT, "fidelity/melanin_relative_error": melanin}
    text = to_markdown(make_tables([_row("hscnn_plus", angle, **other), _row("hrnet", 0.1, **KEPT)]))
    said = "hrnet and hscnn_plus tie in masked SAM (0.1000, 0.1030) and differ in melanin: off by 0.500 and 0.800."
    assert (said in text) == is_told
