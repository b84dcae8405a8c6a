"""Who trains, who chooses the epoch, who is the examination."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hyperskin.data.split import SPLITS, assign_splits, check_no_leak, choose_held_out, read_split, write_split
from hyperskin.errors import DataError, LeakageError, MissingFileError

PEOPLE = [f"p{number:03d}" for number in range(1, 52)]


def draw(subjects, *, test=(), valid=(), test_fraction=0.1, valid_fraction=0.05, seed=1):
    return assign_splits(
        subjects, test=test, valid=valid, test_fraction=test_fraction, valid_fraction=valid_fraction, seed=seed
    )


def _reference_split(subject: str, test_fraction: float, valid_fraction: float, seed: int) -> str:
    """The rule in whole numbers: the first 53 bits of the hash against fractions of 2^53."""
    bits = f"{int(hashlib.sha256(f'{seed}/{subject}'.encode()).hexdigest(), 16):0256b}"[:53]
    number = int(bits, 2)
    if number < test_fraction * 2**53:
        return "test"
    return "valid" if number < (test_fraction + valid_fraction) * 2**53 else "train"


def test_named_subjects_go_where_they_are_named():
    split = draw(PEOPLE, test=["p016", "p002"], valid=["p009"])
    assert (split["p016"], split["p002"], split["p009"]) == ("test", "test", "valid")


def test_the_unnamed_follow_the_rule_written_in_whole_numbers():
    split = draw(PEOPLE, seed=7)
    assert split == {subject: _reference_split(subject, 0.1, 0.05, 7) for subject in PEOPLE}


def test_the_split_of_known_names_never_changes_between_releases():
    names = draw(PEOPLE, test_fraction=0.2, valid_fraction=0.1, seed=1)
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
    assert digest[:16] == "063c8f3f2a4a3bf2"


def test_without_fractions_all_the_unnamed_train():
    split = draw(PEOPLE, test=["p001"], valid=["p002"], test_fraction=0.0, valid_fraction=0.0)
    assert Counter(split.values()) == {"train": 49, "valid": 1, "test": 1}


@pytest.mark.parametrize("seed", range(5))
def test_a_subject_that_comes_or_goes_moves_no_other(seed):
    generator = np.random.default_rng(seed)
    everybody = draw(PEOPLE, seed=seed)
    some = [subject for subject in PEOPLE if generator.random() < 0.6]
    assert draw(some, seed=seed) == {subject: everybody[subject] for subject in some}


def test_naming_a_subject_moves_no_other():
    before = draw(PEOPLE)
    after = draw(PEOPLE, test=["p030"])
    assert {s: side for s, side in after.items() if s != "p030"} == {s: d for s, d in before.items() if s != "p030"}


def test_the_order_of_the_subjects_does_not_matter():
    shuffled = list(np.random.default_rng(3).permutation(PEOPLE))
    assert list(draw(shuffled).items()) == list(draw(PEOPLE).items())


@pytest.mark.parametrize("seed", range(4))
def test_the_fractions_are_approached_with_many_subjects(seed):
    count = Counter(draw([f"s{number}" for number in range(2000)], test_fraction=0.2, seed=seed).values())
    # four standard deviations of a binomial share
    assert count["test"] / 2000 == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / 2000))
    assert count["valid"] / 2000 == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))


def test_growing_the_test_fraction_keeps_those_who_were_tested():
    small, large = draw(PEOPLE, test_fraction=0.1), draw(PEOPLE, test_fraction=0.3)
    assert {s for s, side in small.items() if side == "test"} < {s for s, side in large.items() if side == "test"}


def test_another_seed_draws_another_split():
    assert draw(PEOPLE, test_fraction=0.3, seed=1) != draw(PEOPLE, test_fraction=0.3, seed=2)


def test_a_subject_named_for_both_sides_is_refused():
    with pytest.raises(LeakageError, match="`test` and `valid` both name p002: take it out of one"):
        draw(PEOPLE, test=["p001", "p002"], valid=["p002"])


@pytest.mark.parametrize("side", ["test", "valid"])
def test_a_named_subject_that_does_not_exist_is_refused(side):
    with pytest.raises(LeakageError, match=f"`{side}` must name subjects that exist; p01 is none of p001"):
        draw(PEOPLE, **{side: ["p01"]})


@pytest.mark.parametrize(("test", "valid"), [(0.6, 0.4), (-0.1, 0.2), (1.0, 0.0)])
def test_fractions_that_leave_nobody_to_train_are_refused(test, valid):
    with pytest.raises(DataError, match="must stay below 1 together"):
        draw(PEOPLE, test_fraction=test, valid_fraction=valid)


@pytest.mark.parametrize("count", [2, 3, 5, 12])
@pytest.mark.parametrize("seed", range(3))
def test_a_small_set_gets_one_subject_on_each_held_out_side(count, seed):
    subjects = PEOPLE[:count]
    valid, test = choose_held_out(subjects, seed)
    assert len(valid) == len(test) == 1
    assert set(valid).isdisjoint(test)
    assert set(valid + test) <= set(subjects)
    assert choose_held_out(reversed(subjects), seed) == (valid, test)


def test_the_chosen_are_those_that_the_hash_rule_would_take_first():
    valid, test = choose_held_out(PEOPLE[:6], 1)
    for share in np.linspace(0.01, 0.95, 95):
        split = draw(PEOPLE[:6], test_fraction=float(share), valid_fraction=0)
        drawn = {subject for subject, side in split.items() if side == "test"}
        assert len(drawn) == 0 or set(test) <= drawn
        assert len(drawn) < 2 or set(test + valid) <= drawn


def test_one_subject_cannot_be_held_out_twice():
    with pytest.raises(DataError, match="Two subjects must be there to hold out"):
        choose_held_out(["p001"], 1)


CAPTURES = {"p001_neutral_front": "p001", "p001_smile_front": "p001", "p002_neutral_front": "p002"}


def test_equal_content_on_two_sides_is_a_leak():
    hashes = {"p001_neutral_front": ["a", "b"], "p002_neutral_front": ["c", "b"]}
    with pytest.raises(LeakageError, match=r"p001_neutral_front \(train\) and p002_neutral_front \(test\) hold"):
        check_no_leak(CAPTURES, {"p001": "train", "p002": "test"}, hashes)


def test_equal_content_on_one_side_is_no_leak():
    hashes = {"p001_neutral_front": ["a"], "p001_smile_front": ["a"], "p002_neutral_front": ["a"]}
    check_no_leak(CAPTURES, {"p001": "train", "p002": "train"}, hashes)


def test_a_third_twin_on_another_side_is_found():
    captures = {"a": "a", "b": "b", "c": "c"}
    with pytest.raises(LeakageError, match=r"a \(train\) and c \(valid\)"):
        check_no_leak(captures, {"a": "train", "b": "train", "c": "valid"}, {name: ["x"] for name in captures})


def test_a_capture_whose_subject_is_in_no_split_is_refused():
    with pytest.raises(DataError, match="'p002' of the capture 'p002_neutral_front' does not"):
        check_no_leak(CAPTURES, {"p001": "train"}, {})


def test_a_split_comes_back_as_it_was_written(tmp_path: Path):
    split = draw(PEOPLE)
    write_split(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json") == split


def test_equal_splits_are_equal_bytes(tmp_path: Path):
    split = draw(PEOPLE)
    write_split(tmp_path / "a.json", split)
    write_split(tmp_path / "b.json", dict(reversed(split.items())))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"p001": "train", "p001": "test"}', LeakageError, "lists 'p001' twice"),
        ('{"p001": "training"}', DataError, "puts 'p001' into 'training'"),
        ('{"p001": ["test"]}', DataError, r"puts 'p001' into \['test'\]"),
        ('["p001"]', DataError, "got a list"),
        ('{"p001": ', DataError, "must be JSON"),
        ("[" * 100_000, DataError, "must be JSON"),
    ],
)
def test_a_split_that_was_edited_into_nonsense_is_refused(tmp_path, text, error, message):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_split(path)


def test_a_missing_split_says_what_to_run(tmp_path):
    with pytest.raises(MissingFileError, match="dvc repro"):
        read_split(tmp_path / "split.json")


def test_there_are_three_splits():
    assert SPLITS == ("train", "valid", "test")
