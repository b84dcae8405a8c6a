"""Weights leave the registry for a new file, and those of people only by somebody's word."""

import pytest
import torch

from hyperskin.errors import ConsentError, DataError, UnknownNameError, VersionError
from hyperskin.tracking import export
from hyperskin.tracking.export import export_weights
from hyperskin.tracking.runs import RunLog

NAME = "hyperskin-rgb-vis"


@pytest.fixture(autouse=True)
def weights(monkeypatch):
    """Versions of these tests have no file; what one would hold, by name."""
    held = {"conv_out.weight": torch.arange(6.0).reshape(2, 3)}
    monkeypatch.setattr(export, "read_weights", lambda uri, version: held)
    return held


@pytest.fixture
def of_people(monkeypatch):
    """Let the runs of a test be trained on the captures of a recorder."""
    make = RunLog.__init__
    monkeypatch.setattr(
        RunLog, "__init__", lambda self, *given, **named: make(self, *given, **named | {"data_name": "lumo"})
    )


def test_the_named_version_or_the_champion_is_written_under_the_networks_own_names(uri, add_version, weights, tmp_path):
    add_version({"sam/masked": 0.1})
    with pytest.raises(VersionError, match=rf"{NAME} has none: `--version NUMBER`\."):
        export_weights(uri, NAME, "", tmp_path / "out.pt")
    said = export_weights(uri, NAME, "1", tmp_path / "out.pt")
    assert said.startswith(f"Version 1 of {NAME} written to ")
    assert "--model mst_plus_plus --pair rgb_vis` reads it" in said
    written = torch.load(tmp_path / "out.pt", weights_only=True)
    assert written.keys() == weights.keys()
    assert torch.equal(written["conv_out.weight"], weights["conv_out.weight"])


def test_a_file_that_is_there_is_not_written_over(uri, add_version, tmp_path):
    add_version({"sam/masked": 0.1})
    (tmp_path / "out.pt").write_text("mine")
    with pytest.raises(DataError, match=r"must go to a file that is not there yet; .*out\.pt is: choose another name"):
        export_weights(uri, NAME, "1", tmp_path / "out.pt")
    assert (tmp_path / "out.pt").read_text() == "mine"


def test_an_unknown_version_lists_the_known(uri, add_version, tmp_path):
    add_version({"sam/masked": 0.1})
    with pytest.raises(UnknownNameError, match=r"`version` must be one of hyperskin-rgb-vis's, 1; got '7'"):
        export_weights(uri, NAME, "7", tmp_path / "out.pt")


def test_what_was_learned_from_people_leaves_by_somebodys_word_alone(uri, of_people, add_version, tmp_path):
    add_version({"sam/masked": 0.1})
    with pytest.raises(ConsentError, match=r"version 1 was trained on lumo: say `--may-pass-on` if they do"):
        export_weights(uri, NAME, "1", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
    export_weights(uri, NAME, "1", tmp_path / "out.pt", may_pass_on=True)
    assert (tmp_path / "out.pt").is_file()
