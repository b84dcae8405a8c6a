"""A model's prior goes with its run and comes back for its version, if it is the one that was registered."""

import numpy as np
import pytest
from mlflow import MlflowClient

from hyperskin.errors import MissingFileError, VersionError
from hyperskin.pairs import find_pair
from hyperskin.skin.subject_gain import GainPrior
from hyperskin.tracking.gain_prior import log_prior, read_prior

PAIR = find_pair("rgb_vis")
PRIOR = GainPrior(PAIR.target, np.linspace(0, 1, 31), np.eye(31), 0.1 * np.eye(31), 9)


@pytest.fixture
def version(uri, add_version, start, monkeypatch):
    """Return a registered version whose run brought a prior."""
    log_summary = type(start()).log_summary

    def with_prior(run, metrics):
        log_prior(run, PRIOR)
        log_summary(run, metrics)

    monkeypatch.setattr(type(start()), "log_summary", with_prior)
    return add_version({"sam/masked": 0.1})


def test_a_prior_travels_with_its_version(uri, version):
    found = read_prior(uri, PAIR, version)
    assert np.array_equal(found.mean, PRIOR.mean)
    assert (found.subject_count, found.bands) == (9, PAIR.target)


def test_another_file_in_its_place_is_refused_and_so_is_none(uri, root, version):
    [path] = root.rglob("calibration/prior.json")
    text = path.read_text()
    path.write_text(text.replace("0.1", "0.2"))
    with pytest.raises(VersionError, match="must have the prior that was registered"):
        read_prior(uri, PAIR, version)
    path.unlink()
    with pytest.raises(MissingFileError, match="must have its prior in the store; it cannot be had"):
        read_prior(uri, PAIR, version)


def test_a_version_without_one_says_so(uri, add_version):
    version = add_version({"sam/masked": 0.1})
    with pytest.raises(
        MissingFileError, match=r"Version 1 of hyperskin-rgb-vis must bring a prior .* it has none: train"
    ):
        read_prior(uri, PAIR, version)
    assert "gain_prior.sha256" not in MlflowClient(uri).get_model_version(PAIR.registered_name, version).tags
