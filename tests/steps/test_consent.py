"""Whose pictures may be shown follows from who the source says they are."""

import pytest

from hyperskin.errors import UnknownNameError
from hyperskin.steps.consent import publishable_subjects

PEOPLE = ("p001", "p002")


def test_people_who_were_made_up_need_not_consent():
    assert publishable_subjects("phantom", PEOPLE, ()) == {"p001", "p002"}


@pytest.mark.parametrize("source", ["lumo", "cave"])
def test_real_people_of_the_same_names_do(source):
    assert publishable_subjects(source, PEOPLE, ()) == frozenset()
    assert publishable_subjects(source, PEOPLE, ("p002",)) == {"p002"}


def test_nobody_knows_the_people_of_an_unknown_source():
    with pytest.raises(UnknownNameError, match="`source` must be one of"):
        publishable_subjects("hearsay", PEOPLE, ())
