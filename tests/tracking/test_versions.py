"""The table of registered models tells the champion, how good a version is, and of which data and code it is."""

import re

import pytest
from mlflow import MlflowClient

from hyperskin.tracking import stored
from hyperskin.tracking.history import Change
from hyperskin.tracking.promotion import promote, promote_by_hand
from hyperskin.tracking.versions import RegisteredModel, Version, read_models, to_text

NAME = "hyperskin-rgb-vis"


def _version(number, *aliases, manifest="here", age_s=0, **tags):
    known = {"model": "hrnet", "size": "width 8", "camera": "all", "sam/masked": "0.123456", "git.commit": "0c6afd5aab"}
    return Version(number, aliases, known | {"manifest": manifest} | tags, 1000 * (10**9 - age_s))


def _lines(*versions, manifest="here", history=()):
    text = to_text([RegisteredModel(NAME, versions, tuple(history))], manifest=manifest, now_s=10**9)
    return [re.sub(" +", " ", line) for line in text.splitlines()]


def test_each_version_says_how_good_it_is_and_where_it_comes_from():
    champion = _version("2", "champion", "candidate", age_s=90, **{"git.dirty": "true"})
    lines = _lines(champion, _version("1", manifest="gone", age_s=200_000))
    assert lines[:6] == [
        "## hyperskin-rgb-vis",
        "",
        "| version | alias | model | size | camera | data | code | sam/masked | age |",
        "| ------- | ------------------- | ----- | ------- | ------ | ----- | ------------- | ---------: | ----: |",
        "| 2 | champion, candidate | hrnet | width 8 | all | now | 0c6afd5 dirty | 0.1235 | 1 min |",
        "| 1 | | hrnet | width 8 | all | other | 0c6afd5 | 0.1235 | 2 d |",
    ]


def test_without_data_nothing_is_said_of_them():
    assert "| 1 | champion | hrnet | width 8 | all | - | 0c6afd5 | 0.1235 | 0 s |" in _lines(
        _version("1", "champion"), manifest=None
    )


def test_it_says_how_the_champion_came_to_be():
    champion = _version("1", "champion")
    change = Change("1", "2025-01-31T12:00:00Z", "hand", "the new archive")
    assert _lines(champion, history=[change])[-1] == ("Champion: version 1, by hand on 2025-01-31 (the new archive).")
    assert _lines(champion)[-1] == "Champion: version 1, chosen in MLflow itself."
    assert _lines(_version("1"))[-1] == "There is no champion."


def test_a_champion_of_other_data_is_marked():
    assert _lines(_version("1", "champion", manifest="gone"))[-1].endswith(
        "It was trained on other data than those in data/ now."
    )


def test_a_network_trained_elsewhere_is_of_neither_data():
    champion = _version("2", "champion", pretrained="ntire.pth")
    lines = _lines(champion, _version("1", pretrained="old.pth", manifest="gone"))
    assert "| 2 | champion | hrnet | width 8 | - | pretrained | 0c6afd5 | 0.1235 | 0 s |" in lines
    assert "| 1 | | hrnet | width 8 | - | pretrained | 0c6afd5 | 0.1235 | 0 s |" in lines
    assert lines[-1].endswith("It was trained elsewhere, and came in ntire.pth.")


def test_nothing_registered_says_what_makes_it():
    assert "No registered model yet" in to_text([], manifest=None)


def test_what_is_registered_is_read_newest_first(uri, add_version, provenance, monkeypatch):
    monkeypatch.setattr(stored, "require_intact", lambda uri, version: None)
    promote(uri, NAME, add_version({"sam/masked": 0.1}))
    promote_by_hand(uri, NAME, add_version({"ssim/full": 0.9}, manifest="gone"), because="why not")
    MlflowClient(uri).create_registered_model("somebody else's")
    [model] = read_models(uri)
    assert model.name == NAME
    assert [(version.number, version.aliases) for version in model.versions] == [
        ("2", ("champion", "candidate")),
        ("1", ()),
    ]
    assert [change.by for change in model.history] == ["score", "hand"]
    text = to_text([model], manifest=provenance.manifest)
    assert re.search(r"\| 2 .*\| other \| .*\|          - \|", text)
    assert re.search(r"\| 1 .*\| now   \| .*\|     0.1000 \|", text)


@pytest.mark.parametrize(
    ("age_s", "said"), [(-5, "0 s"), (59, "59 s"), (3599, "59 min"), (86399, "23 h"), (86400, "1 d")]
)
def test_ages_are_in_the_largest_unit_that_they_fill(age_s, said):
    assert _lines(_version("1", age_s=age_s))[4].endswith(f"| {said} |")
