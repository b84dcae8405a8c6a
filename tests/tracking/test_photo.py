"""A photo gets the champion, on whichever test set it was examined, and is told whose pictures it knows."""

import numpy as np
import pytest

from hyperskin.errors import MissingFileError
from hyperskin.pairs import find_pair
from hyperskin.tracking import champion as champion_module
from hyperskin.tracking.photo import load_photo_model
from hyperskin.tracking.promotion import promote
from hyperskin.tracking.registry import register

PAIR = find_pair("rgb_vis")


def test_without_a_champion_it_says_how_to_get_one(uri):
    with pytest.raises(MissingFileError, match="there is none: train one with `hyperskin train --model"):
        load_photo_model(uri, PAIR)


def test_the_champion_is_taken_whatever_it_was_examined_on(uri, add_version, monkeypatch):
    monkeypatch.setattr(champion_module, "open_version", lambda uri, version: None)
    older = add_version({"sam/masked": 0.3}, evaluation="older test set")
    promote(uri, PAIR.registered_name, older)
    add_version({"sam/masked": 0.1}, evaluation="another test set")
    found = load_photo_model(uri, PAIR)
    assert found.champion.version == older
    assert found.camera == "unknown", "this run says none"


def test_it_reconstructs_and_names_its_camera(uri, finish, provenance, small_network):
    network = small_network(PAIR.in_channels, PAIR.out_channels)
    run_id = finish(params={"camera": "nikon_5100_npl"})
    version = register(
        uri, network, run_id=run_id, pair=PAIR, manifest=provenance.manifest, parameter_count=1, size_multiple=1
    )
    promote(uri, PAIR.registered_name, version)
    found = load_photo_model(uri, PAIR)
    assert (found.champion.version, found.camera) == (version, "nikon_5100_npl")
    assert found.champion.reconstruct(np.ones((26, 37, 3), dtype=np.float32)).shape == (26, 37, 31)
