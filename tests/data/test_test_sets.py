"""A published test set's name may stand on its own subjects alone, and on all of their captures."""

import pytest

from hyperskin.data.test_sets import NAMES, OWN, TEST_SETS, find_test_set, name_test_set, require_test_set
from hyperskin.errors import DataError, LeakageError, UnknownNameError

T24 = dict.fromkeys(("p002", "p035", "p036", "p039"), 6)
T54 = dict.fromkeys(("p001", "p002", "p003", "p012", "p016", "p030", "p035", "p036", "p039"), 6)


def test_the_table_holds_what_was_published():
    assert NAMES == ("own", "T24", "T54", "T30")
    assert {name: (one.capture_count, one.subject_count) for name, one in TEST_SETS.items()} == {
        "T24": (24, 4),
        "T54": (54, 9),
        "T30": (30, 5),
    }
    assert set(TEST_SETS["T24"].subjects) < set(TEST_SETS["T54"].subjects)
    assert TEST_SETS["T24"].valid == ("p016",)


@pytest.mark.parametrize(("counts", "name"), [(T24, "T24"), (T54, "T54"), ({"p005": 30}, OWN), ({}, OWN)])
def test_a_set_is_named_by_its_subjects(counts, name):
    assert name_test_set(counts) == name
    require_test_set(name, counts)


@pytest.mark.parametrize(
    "counts", [{**T24, "p002": 5}, {**T24, "p002": 7}, {**T24, "p001": 6}, {name: 6 for name in list(T24)[1:]}]
)
def test_fewer_and_more_are_one_of_their_own(counts):
    assert name_test_set(counts) == OWN


def test_others_under_a_published_name_are_a_leak():
    with pytest.raises(LeakageError, match=r"T24 must be p002, p035, p036, p039; `split` tests on p002, p007: call it"):
        require_test_set("T24", {"p002": 6, "p007": 6})


def test_a_part_of_the_captures_is_refused():
    with pytest.raises(DataError, match="T54 must be 54 captures of 9 subjects; the data hold 53: complete them"):
        require_test_set("T54", {**T54, "p001": 5})


def test_a_set_that_nobody_published_says_so_and_what_to_do():
    with pytest.raises(
        DataError, match=r"T30 .* is p005 and 4 subjects that nobody published.*take T24 or T54, or.*own with all 5 named"
    ):
        find_test_set("T30")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UnknownNameError, match="must be one of own, T24, T54, T30; got 'T99'"):
        find_test_set("T99")
