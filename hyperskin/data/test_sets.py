"""The archive's published test sets by name: who is in each, as far as anybody published it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hyperskin.errors import DataError, LeakageError, UnknownNameError

OWN = "own"
"""A test set that nobody published: whoever is held out here."""

_CAPTURES_OF_A_SUBJECT = 6


@dataclass(frozen=True)
class TestSet:
    """One published test set.

    Attributes:
        name: Its size in captures, after a T.
        subjects: Those who are known to be in it.
        subject_count: How many are in it.
        valid: Those who are known to have chosen the epoch beside it.
        used_for: What was scored on it.
    """

    __test__ = False  # pytest takes a class of this name for tests

    name: str
    subjects: tuple[str, ...]
    subject_count: int
    valid: tuple[str, ...]
    used_for: str

    @property
    def capture_count(self) -> int:
        """Number of captures, six of each subject."""
        return _CAPTURES_OF_A_SUBJECT * self.subject_count


# Sources: T24, the subjects that the notebooks of the repository's 2025 branch print, and its README (264, 18 and 24
# captures); T54, the README of the ICASSP 2024 challenge; T30, the evaluation notebooks of 2023, which print 30
# captures and name the first subject alone.
TEST_SETS = {
    published.name: published
    for published in (
        TestSet("T24", ("p002", "p035", "p036", "p039"), 4, ("p016",), "the archive as it is handed out since 2025"),
        TestSet(
            "T54",
            ("p001", "p002", "p003", "p012", "p016", "p030", "p035", "p036", "p039"),
            9,
            (),
            "the ICASSP 2024 challenge",
        ),
        TestSet("T30", ("p005",), 5, (), "Tables 3 and 4 of the Hyper-Skin paper"),
    )
}
NAMES = (OWN, *TEST_SETS)


def find_test_set(name: str) -> TestSet:
    """Return the published test set called `name`, whose subjects are all known.

    Raises:
        UnknownNameError: There is none.
        DataError: Its subjects were never published.
    """
    if name not in TEST_SETS:
        raise UnknownNameError(f"`test_set` must be one of {', '.join(NAMES)}; got {name!r}.")
    published = TEST_SETS[name]
    if len(published.subjects) < published.subject_count:
        raise DataError(
            f"{name} ({published.used_for}) is {', '.join(published.subjects)} and "
            f"{published.subject_count - len(published.subjects)} subjects that nobody published, so nobody can be "
            f"examined on it: take T24 or T54, or, if you know them, {OWN} with all {published.subject_count} named."
        )
    return published


def name_test_set(capture_counts: Mapping[str, int]) -> str:
    """Return the name of the published test set that has these subjects and all their captures; else "own"."""
    for name in TEST_SETS:
        try:
            require_test_set(name, capture_counts)
        except DataError:
            continue
        return name
    return OWN


def require_test_set(name: str, capture_counts: Mapping[str, int]) -> None:
    """Refuse a published name on other subjects, or on a part of their captures.

    Args:
        name: What the test set is called; "own" may be anybody.
        capture_counts: Number of test captures by subject.

    Raises:
        LeakageError: The subjects are others: scores would bear a name that is not theirs.
        DataError: There are fewer or more captures; or the subjects of that set were never published.
        UnknownNameError: No set has that name.
    """
    if name == OWN:
        return
    published = find_test_set(name)
    if set(capture_counts) != set(published.subjects):
        raise LeakageError(
            f"The test set {name} must be {', '.join(published.subjects)}; `split` tests on "
            f"{', '.join(sorted(capture_counts)) or 'nobody'}: call it `{OWN}`, or name those."
        )
    count = sum(capture_counts.values())
    if count != published.capture_count:
        raise DataError(
            f"The test set {name} must be {published.capture_count} captures of {published.subject_count} subjects; "
            f"the data hold {count}: complete them and run `hyperskin init --rescan`, or call it `{OWN}`."
        )
