"""`train-all` with a profile: the recipes that a sweep found, in a file beside params.yaml."""

import logging

import pytest

from flows.train_all import train_all_units
from flows.units import TrainJob
from hyperskin.errors import MissingFileError, ParamsError
from hyperskin.params import FILE_NAME, with_own_recipes

TUNED = "params.tuned.yaml"


@pytest.fixture
def tuned(project):
    """The project with a profile in which one network has another recipe."""
    recipes = {"hrnet": {"rgb_vis": {"learning_rate": 6.3e-4}}}
    text = with_own_recipes((project.root / FILE_NAME).read_text(), recipes, origin=FILE_NAME)
    (project.root / TUNED).write_text(text)
    return project


def test_every_step_gets_the_profiles_parameters(tuned, caplog):
    caplog.set_level(logging.WARNING, "flows")
    train_all_units(tuned.root, models=["hrnet"], profile="tuned", command=tuned.command)

    assert sorted(tuned.trained()) == [f"hrnet.msi_nir.{TUNED}", f"hrnet.rgb_vis.{TUNED}"]
    assert (tuned.notes / f"prepare.{TUNED}.end").exists()
    assert not caplog.messages


def test_models_and_pairs_are_the_profiles(tuned):
    path = tuned.root / TUNED
    path.write_text(path.read_text().replace("pairs: [rgb_vis, msi_nir]", "pairs: [msi_nir]"))
    train_all_units(tuned.root, models=["hrnet"], profile="tuned", command=tuned.command)
    assert tuned.trained() == [f"hrnet.msi_nir.{TUNED}"]


def test_a_profile_of_another_params_file_is_warned_of(tuned, caplog):
    caplog.set_level(logging.WARNING, "flows")
    path = tuned.root / FILE_NAME
    path.write_text(path.read_text().replace("seconds: 75", "seconds: 80"))
    train_all_units(tuned.root, models=["hrnet"], pairs=["rgb_vis"], profile="tuned", command=tuned.command)
    assert "params.tuned.yaml differs from params.yaml in more than recipes by pair" in caplog.text


@pytest.mark.parametrize(
    ("profile", "error", "message"),
    [
        ("fast", MissingFileError, r"The profile 'fast' must be in params\.fast\.yaml; there is none: run .* sweep"),
        ("../x", ParamsError, "plain word"),
    ],
)
def test_a_profile_that_is_not_there_is_refused_before_anything_runs(tuned, profile, error, message):
    with pytest.raises(error, match=message):
        train_all_units(tuned.root, profile=profile, command=tuned.command)
    assert not list(tuned.notes.glob("prepare*"))


def test_workers_elsewhere_are_told_the_profile():
    job = TrainJob(("hrnet",), "rgb_vis", ("key",), TUNED)
    assert job.words()[-2:] == ["--params-file", TUNED]
    assert job.parameters() == {"models": ["hrnet"], "pair": "rgb_vis", "keys": ["key"], "params_file": TUNED}
    assert "params_file" not in TrainJob(("hrnet",), "rgb_vis", ("key",)).parameters()
