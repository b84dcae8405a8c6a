"""A prior as text comes back to the last bit; another text is refused in a sentence."""

import json

import numpy as np
import pytest

from hyperskin.bands import VIS
from hyperskin.errors import DataError
from hyperskin.skin.gain_prior_text import decode_prior, encode_prior
from hyperskin.skin.subject_gain import GainPrior


@pytest.fixture
def prior():
    stream = np.random.default_rng(0)
    return GainPrior(VIS, stream.normal(size=31), stream.normal(size=(31, 31)), stream.normal(size=(31, 31)), 9)


def test_a_prior_comes_back_as_it_was(prior):
    found = decode_prior(encode_prior(prior))
    assert (found.bands, found.subject_count) == (VIS, 9)
    for name in ("mean", "covariance", "reading_covariance"):
        assert np.array_equal(getattr(found, name), getattr(prior, name))


def changed(prior, **fields):
    return json.dumps(json.loads(encode_prior(prior)) | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"form": 2}, "must be of form 1; got 2"),
        ({"mean": [0.0] * 30}, r"The mean of a prior must be finite for its 31 bands; got \(30,\)"),
        (
            {"covariance": [[0.0] * 31] * 30},
            r"The covariance of a prior must be finite for its 31 bands; got \(30, 31\)",
        ),
        ({"mean": [float("nan")] * 31}, "The mean of a prior must be finite"),
        ({"mean": "no"}, "must be JSON that this version wrote"),
        ({"wavelength_nm": [500.0, 400.0]}, "strictly ascending"),
    ],
)
def test_what_is_no_prior_is_refused(prior, fields, message):
    with pytest.raises(DataError, match=message):
        decode_prior(changed(prior, **fields))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_another_text_is_refused(text):
    with pytest.raises(DataError, match="must be JSON that this version wrote"):
        decode_prior(text)
