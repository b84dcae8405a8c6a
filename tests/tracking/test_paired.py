"""Challenger and champion are held against each other by what each subject scored."""

import json
from unittest.mock import Mock

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hyperskin.tracking.paired import Comparison, compare_subjects

NAME = "hyperskin-rgb-vis"
KEY = "sam/masked"
SUBJECTS = {"p001": 0.1, "p002": 0.2}


@pytest.fixture
def compare(uri, add_version):
    """Compare a second version with a first, by what their subjects scored."""
    client = MlflowClient(uri)

    def make(ours, theirs=SUBJECTS, **fields):
        first, second = add_version({KEY: 0.3}, theirs), add_version({KEY: 0.3}, ours, **fields)
        return compare_subjects(client, *(client.get_model_version(NAME, version) for version in (second, first)), KEY)

    return make


def test_differences_are_taken_by_subject_whatever_their_order(compare):
    found = compare({"p002": 0.3, "p001": 0.05})
    assert found.against == "1"
    assert (found.test.subject_count, found.test.better_count, found.test.p) == (2, 1, 1)
    assert found.test.mean_difference == pytest.approx(0.025)


def test_with_few_subjects_it_says_how_low_p_can_be(compare):
    assert compare({"p001": 0, "p002": 0}).say() == (
        "better on 2 of 2 subjects, p 0.5; with 2 subjects p cannot be below 0.5"
    )
    assert compare({"p1": 0}, {"p1": 1}).say().endswith("with 1 subject p cannot be below 1")
    many = {f"p{number}": number / 10 for number in range(1, 9)}
    assert compare({name: angle / 2 for name, angle in many.items()}, many).say() == (
        "better on 8 of 8 subjects, p 0.0078"
    )


@pytest.mark.parametrize(
    ("ours", "why"),
    [
        (None, "the run of version 2 has no per_subject.json"),
        ({"p001": 0.1}, "they were scored on different subjects"),
        ({"p001": float("nan")}, "per_subject.json of version 2 holds no sam/masked by subject"),
    ],
)
def test_without_the_same_subjects_there_is_no_test_but_a_reason(compare, ours, why):
    found = compare(ours)
    assert found == Comparison("1", None, why)
    assert found.say() == f"not tested: {why}"
    assert found.tags() == {"paired.against": "1", "paired.result": f"not tested: {why}"}


def test_other_test_sets_are_not_compared(compare):
    assert compare(SUBJECTS, evaluation="test-set-b").why_not == "they were scored on different test sets"


def test_a_run_that_was_deleted_for_good_is_a_reason(uri, compare):
    compare(SUBJECTS)
    client = MlflowClient(uri)
    second, first = (client.get_model_version(NAME, version) for version in "21")
    second._run_id = "f" * 32
    assert compare_subjects(client, second, first, KEY).why_not == "the run of version 2 has no per_subject.json"


def test_a_store_that_is_away_is_none(uri, compare, monkeypatch):
    compare(SUBJECTS)
    client = MlflowClient(uri)
    versions = [client.get_model_version(NAME, version) for version in "21"]
    monkeypatch.setattr(client, "list_artifacts", Mock(side_effect=MlflowException("away")))
    with pytest.raises(MlflowException, match="away"):
        compare_subjects(client, *versions, KEY)


@pytest.mark.parametrize("written", ["no json", "[]", "{}", '{"columns": ["subject", "sam/masked"], "data": [["p1"]]}'])
def test_a_table_that_is_none_is_a_reason_too(uri, root, compare, written):
    compare(SUBJECTS)
    for path in (root / "mlruns" / "artifacts").rglob("per_subject.json"):
        path.write_text(written)
    client = MlflowClient(uri)
    versions = [client.get_model_version(NAME, version) for version in "21"]
    assert "holds no sam/masked by subject" in compare_subjects(client, *versions, KEY).why_not


def test_the_table_is_the_one_that_runs_write(uri, root, add_version):
    add_version({KEY: 0.3}, SUBJECTS)
    [path] = (root / "mlruns" / "artifacts").rglob("per_subject.json")
    assert json.loads(path.read_text()) == {
        "columns": ["subject", "sam/masked", "n_images"],
        "data": [["p001", 0.1, 6], ["p002", 0.2, 6]],
    }
