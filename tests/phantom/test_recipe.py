"""Who is made up: skin types by quota, who is held out, and random streams that do not depend on each other."""

from collections import Counter

import numpy as np
import pytest

from hyperskin.errors import DataError, UnknownNameError
from hyperskin.phantom.recipe import SKIN_TYPES, Recipe, held_out, plan_subjects, random_stream
from hyperskin.skin import optics

QUOTA = {"I": 4, "II": 9, "III": 14, "IV": 13, "V": 7, "VI": 4}


def test_fifty_one_subjects_fill_the_quota():
    assert Counter(plan_subjects(51).values()) == QUOTA


def test_the_first_twelve_hold_every_type_twice():
    assert Counter(plan_subjects(12).values()) == dict.fromkeys(SKIN_TYPES, 2)


def test_a_subject_keeps_its_type_when_others_join():
    everyone = list(plan_subjects(120).items())
    for count in (1, 2, 11, 12, 13, 51, 52, 119):
        assert list(plan_subjects(count).items()) == everyone[:count]


def test_whoever_joins_has_the_type_that_is_furthest_behind():
    types = list(plan_subjects(200).values())
    for number in range(12, 200):
        taken = Counter(types[:number])
        filled = {name: (taken[name] + 0.5) / QUOTA[name] for name in SKIN_TYPES}
        assert filled[types[number]] == min(filled.values())


def test_many_subjects_come_in_the_shares_of_the_quota():
    taken = Counter(plan_subjects(510).values())
    assert all(abs(taken[name] - 10 * count) <= 2 for name, count in QUOTA.items())


@pytest.mark.parametrize("count", [0, 1000])
def test_too_few_and_too_many_subjects_are_refused(count):
    with pytest.raises(DataError, match=f"1 to 999 subjects; got {count}"):
        plan_subjects(count)


@pytest.mark.parametrize(
    ("count", "test", "valid"),
    [
        (2, (), ()),
        (3, ("p001",), ("p002",)),
        (6, ("p001",), ("p002",)),
        (8, ("p001", "p002"), ("p003", "p004")),
        (12, ("p001", "p002", "p003"), ("p004", "p005", "p006")),
        (19, ("p001", "p002", "p003"), ("p004", "p005", "p006")),
        (24, tuple(f"p00{number}" for number in range(1, 7)), ("p018", "p019", "p020")),
        (40, ("p001", "p002", "p003", "p013"), ("p004", "p005", "p006")),
        (51, ("p001", "p002", "p003", "p013"), ("p004", "p005", "p006")),
    ],
)
def test_the_first_subjects_are_held_out(count, test, valid):
    assert held_out(list(plan_subjects(count))) == (test, valid)


@pytest.mark.parametrize("count", [12, 20, 24, 39, 51])
def test_those_held_out_are_of_every_type_and_the_others_too(count):
    plan = plan_subjects(count)
    test, valid = held_out(list(plan))
    assert not set(test) & set(valid)
    assert {plan[name] for name in (*test, *valid)} == set(SKIN_TYPES)
    assert {plan[name] for name in plan if name not in (*test, *valid)} == set(SKIN_TYPES)
    for group in (test, valid):
        places = [list(SKIN_TYPES).index(plan[name]) for name in group]
        assert min(places) <= 2
        assert max(places) >= 4


def test_someone_is_always_left_to_train_on():
    for count in range(1, 60):
        names = list(plan_subjects(count))
        test, valid = held_out(names[::-1])
        assert len(test) + len(valid) < count
        assert set(test) | set(valid) <= set(names)


def test_a_stream_is_the_same_whatever_was_drawn_before():
    expected = random_stream(1, "p001", "hair").standard_normal(5)
    random_stream(1, "p002", "hair").standard_normal(100)
    np.random.default_rng(0).standard_normal(3)
    np.testing.assert_array_equal(random_stream(1, "p001", "hair").standard_normal(5), expected)


def test_every_seed_and_every_word_has_a_stream_of_its_own():
    names = [(seed, *words) for seed in (0, 1, 11) for words in (("p001",), ("p001", "hair"), ("1", "p001"), ("p002",))]
    draws = {random_stream(*name).integers(1 << 62) for name in names}
    assert len(draws) == len(names)


def test_streams_are_not_correlated():
    draws = np.stack([random_stream(1, f"p{number:03d}", "shape").standard_normal(4000) for number in range(8)])
    assert np.abs(np.corrcoef(draws) - np.eye(8)).max() < 5 / np.sqrt(4000)


def test_a_skin_type_that_is_none_is_refused():
    with pytest.raises(UnknownNameError, match="one of I, II, III, IV, V, VI; got 'VII'"):
        Recipe(1, "VII", 24, 32)


@pytest.mark.parametrize(
    "wrong",
    [{"height_px": 15}, {"width_px": 15}, {"reference_lines": 1}, {"noise": -0.1}],
    ids=lambda wrong: str(wrong),
)
def test_a_frame_that_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(DataError, match="16 x 16 px or more, 2 reference lines or more and no negative noise"):
        Recipe(**{"seed": 1, "skin_type": "I", "height_px": 24, "width_px": 32, **wrong})


def test_types_are_listed_once_from_light_to_dark():
    assert list(SKIN_TYPES) == ["I", "II", "III", "IV", "V", "VI"]
    assert list(SKIN_TYPES.values()) == sorted(SKIN_TYPES.values())
    assert not hasattr(optics, "SKIN_TYPES")
