"""Every change of champion is kept as long as it fits, and who was before whom follows from it."""

import json

import pytest
from mlflow import MlflowClient

from hyperskin.errors import DataError
from hyperskin.tracking.history import HISTORY, Change, find_predecessors, read_history, remember

NAME = "hyperskin-rgb-vis"


@pytest.fixture
def client(uri):
    client = MlflowClient(uri)
    client.create_registered_model(NAME)
    return client


def test_changes_are_read_back_in_order_with_their_time(client):
    assert read_history(client, NAME) == []
    remember(client, NAME, "1", by="score", reason="there was none")
    remember(client, NAME, "2", by="hand", reason="ü" * 300)
    first, second = read_history(client, NAME)
    assert (first.version, first.by, first.reason) == ("1", "score", "there was none")
    assert second.when >= first.when > "2025-01-01T00:00:00Z"
    assert second.reason == "ü" * 197 + "..."


def test_when_the_tag_is_full_the_oldest_go(client):
    for number in range(60):
        remember(client, NAME, str(number), by="score", reason="r" * 200)
    written = client.get_registered_model(NAME).tags[HISTORY]
    assert 4500 < len(written) <= 5000, "PostgreSQL keeps 5000 characters"
    kept = [int(change["version"]) for change in json.loads(written)]
    assert kept == list(range(kept[0], 60))


@pytest.mark.parametrize("written", ["no json", '[{"version": "1"}]', "7", '["1"]'])
def test_a_tag_that_holds_something_else_is_refused(client, written):
    client.set_registered_model_tag(NAME, HISTORY, written)
    with pytest.raises(DataError, match=r"must be the list that hyperskin keeps there"):
        read_history(client, NAME)


def _changes(text):
    """Return changes from their versions; a minus is a rollback."""
    return [
        Change(word.strip("-"), "2025-01-01T00:00:00Z", "rollback" if word.startswith("-") else "score", "")
        for word in text.split()
    ]


@pytest.mark.parametrize(
    ("changes", "champion", "before"),
    [
        ("", "", []),
        ("1", "1", []),
        ("1 2 3", "3", ["2", "1"]),
        ("1 2 3 -2", "2", ["1"]),
        ("1 2 3 -2 -1", "1", []),
        ("1 2 3 -2 4", "4", ["2", "1"]),
        ("1 2 1", "1", ["2"]),
        ("1 2 1 2", "2", ["1"]),
        ("1 2", "5", ["2", "1"]),  # chosen in MLflow itself
        ("1 2 3", "2", ["1"]),  # so too
        ("1 2", "", ["2", "1"]),
        ("-4 5", "5", ["4"]),  # what it goes back to is forgotten
    ],
)
def test_predecessors_are_those_that_were_not_taken_back(changes, champion, before):
    assert find_predecessors(_changes(changes), champion) == before
