"""Columns stand below each other: words begin together, numbers end together."""

from hyperskin.tracking.grid import align_table


def test_words_are_on_the_left_and_numbers_on_the_right():
    text = align_table([["model", "kind", "n"], ["hrnet", "a", "120"], ["x", "long one", "7"]], left=2)
    assert text.splitlines() == [
        "| model | kind     |   n |",
        "| ----- | -------- | --: |",
        "| hrnet | a        | 120 |",
        "| x     | long one |   7 |",
    ]


def test_a_narrow_column_still_has_its_rule():
    assert align_table([["a", "n"], ["b", "1"]]).splitlines()[1] == "| -- | -: |"
