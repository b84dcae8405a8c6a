"""Paired differences and what few subjects allow to say."""

import pytest

from hyperskin.reporting.document import Grid, Line, text_of
from hyperskin.reporting.subjects import differences, subjects_section
from hyperskin.tracking.compare import OURS

SSIM, SAM = OURS[2], OURS[3]
TWELVE = {f"p{number:03d}": 0.1 + 0.01 * number for number in range(12)}


def _texts(section):
    return [" ".join(map(text_of, block.parts)) for block in section.blocks if isinstance(block, Line)]


def test_a_constant_gap_is_the_difference_and_its_interval(make_result):
    ours = make_result("a", {who: angle + 0.02 for who, angle in TWELVE.items()})
    [found] = differences([ours], make_result("b", TWELVE), SAM)
    assert (found.interval.mean, found.interval.low, found.interval.high) == pytest.approx((0.02, 0.02, 0.02))
    assert found.better_count == 0
    assert found.test.p == pytest.approx(2 / 2**12)
    assert found.is_clear


def test_which_way_is_better_depends_on_the_score(make_result):
    ours = make_result("a", {who: angle - 0.02 for who, angle in TWELVE.items()})
    for column, sign in ((SAM, -1), (SSIM, 1)):
        [found] = differences([ours], make_result("b", TWELVE), column)
        assert found.interval.mean == pytest.approx(sign * 0.02)
        assert found.better_count == 12


def test_many_models_make_a_difference_less_clear(make_result):
    other = make_result("b", {"p001": 0.1, "p002": 0.1, "p003": 0.1, "p004": 0.1, "p005": 0.1, "p006": 0.1})
    ours = [make_result("a", {f"p00{k}": 0.2 for k in range(1, 7)}) for _ in range(3)]
    assert differences(ours[:1], other, SAM)[0].is_clear, "p is 2 / 2^6"
    assert [each.is_clear for each in differences(ours, other, SAM)] == [False] * 3, "three times that is not"


def test_runs_on_other_captures_are_not_compared(make_result):
    other = make_result("b")
    assert differences([make_result("a", captures=("neutral_front",))], other, SAM) == []
    assert differences([make_result("a", tables={})], other, SAM) == []


def test_three_subjects_are_said_to_be_few_and_nothing_to_be_significant(make_result, examine):
    exam = examine(make_result("regression_linear"), make_result("hrnet", {"p001": 0.3, "p002": 0.4, "p003": 0.5}))
    said = _texts(subjects_section(exam))
    assert said[0].startswith("Only 3 test subjects.")
    assert "10 ways" in said[0]
    assert "p = 0.25" in said[0]
    assert said[1] == (
        "By SAM masked not significantly different from regression_linear: hrnet. With 3 subjects none can be: "
        "p cannot come below 0.25."
    )


def test_clear_differences_are_bold(make_result, examine):
    exam = examine(make_result("regression_linear", TWELVE), make_result("hrnet", dict.fromkeys(TWELVE, 0.5)))
    section = subjects_section(exam)
    grid = [block for block in section.blocks if isinstance(block, Grid)][-1]
    [row] = grid.rows
    assert (row[1].text, row[1].style) == ("+0.3450", "strong")
    assert "all of these differ from regression_linear beyond chance" in _texts(section)[-1]


def test_a_single_subject_has_no_interval_and_the_page_says_so(make_result, examine):
    exam = examine(make_result("regression_linear", {"p001": 0.1}), make_result("hrnet", {"p001": 0.2}))
    section = subjects_section(exam)
    assert _texts(section)[0].startswith("One test subject.")
    intervals = next(block for block in section.blocks if isinstance(block, Grid))
    assert "none" in intervals.rows[0]


def test_one_model_alone_is_compared_with_nobody(make_result, examine):
    assert _texts(subjects_section(examine(make_result("hrnet"))))[-1].startswith("One model alone")


def test_without_tables_the_section_says_so(make_result, examine):
    [said] = _texts(subjects_section(examine(make_result("hrnet", tables={}))))
    assert said.startswith("No run has a table of its captures")


def test_many_subjects_go_below_each_other(make_result, examine):
    exam = examine(make_result("hrnet", {f"p{number:03d}": 0.1 for number in range(1, 15)}))
    by_subject = [block for block in subjects_section(exam).blocks if isinstance(block, Grid)][1:]
    assert [len(grid.heading) - 1 for grid in by_subject] == [9, 5, 9, 5]
    assert by_subject[1].caption.endswith("continued.")
