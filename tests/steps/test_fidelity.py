"""What a reconstruction keeps of the skin, on a head of smooth skin whose making is known."""

import dataclasses

import numpy as np
import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.data.frames import Frame, Truth
from hyperskin.pairs import PAIRS
from hyperskin.skin.optics import Skin, skin_reflectance
from hyperskin.steps.bare_skin import find_bare_skin
from hyperskin.steps.fidelity import FidelityCheck

PAIR = PAIRS["rgb_vis"]
SIDE = 64


@pytest.fixture
def capture():
    """Return frame and truth of a disc of skin with melanin from left to right, blood from top to bottom."""

    def make(*, melanin=0.05, noise=0.0, name="p001_neutral_front"):
        down, across = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
        maps = {
            "melanin_fraction": melanin * np.exp(0.6 * (across - 0.5)),
            "blood_fraction": 0.012 * np.exp(0.8 * (down - 0.5)),
            "oxygenation": 0.6 + 0.2 * across * down,
            "water_fraction": np.full((SIDE, SIDE), 0.65),
        }
        skin = Skin(**{field: values.ravel() for field, values in maps.items()})
        cube = skin_reflectance(skin, PAIR.target.centres_nm()).reshape(SIDE, SIDE, -1) * (
            0.6 + 0.3 * across[..., None]
        )
        noisy = cube + noise * np.random.default_rng(0).standard_normal(cube.shape)
        disc = (down - 0.5) ** 2 + (across - 0.5) ** 2 < 0.2
        frame = Frame(
            capture=CaptureId.parse(name),
            input=np.zeros((SIDE, SIDE, 3), dtype=np.float32),
            reference=noisy.astype(np.float32),
            mask=disc,
            valid=np.ones((SIDE, SIDE), dtype=np.bool_),
        )
        truth = Truth(cube.astype(np.float32), disc, {key: values.astype(np.float32) for key, values in maps.items()})
        return frame, truth

    return make


def keep(frame, estimate, truth, check=None):
    """Return what a check says of one capture."""
    skin = find_bare_skin(frame, PAIR.target, frame.reference)
    return (check or FidelityCheck(PAIR)).add(frame, skin.regions, estimate, truth)


def test_the_truth_itself_keeps_everything_as_far_as_the_method_reads_it(capture):
    frame, truth = capture()
    found = keep(frame, truth.reference, truth)
    assert found["fidelity/melanin_relative_error"] < 1e-4
    assert found["fidelity/melanin_relative_error_truth"] < 0.2
    assert found["fidelity/blood_relative_error_truth"] < 0.2
    assert found["fidelity/melanin_r_within_truth"] > 0.95
    assert found["fidelity/blood_r_within_truth"] > 0.98


def test_grey_in_place_of_skin_keeps_nothing_and_brightness_alone_loses_nothing(capture):
    frame, truth = capture()
    darker = keep(frame, 0.5 * frame.reference, truth)
    assert darker["fidelity/melanin_relative_error"] < 1e-3
    assert darker["fidelity/oxygenation_mae_pp"] < 0.1
    assert darker["fidelity/ita_deg"] > 5  # which does tell how bright it is
    grey = keep(frame, np.full_like(frame.reference, 0.4), truth)
    assert grey["fidelity/blood_relative_error"] > 0.3
    assert "fidelity/melanin_r_within" not in grey


def test_noise_of_the_measurement_is_told_as_the_floor(capture):
    clean, noisy = FidelityCheck(PAIR), FidelityCheck(PAIR)
    for check, noise in ((clean, 0.0), (noisy, 0.01)):
        frame, truth = capture(noise=noise)
        keep(frame, truth.reference, truth, check)
    floors = [check.result().metrics for check in (clean, noisy)]
    for key in ("melanin_relative_error_floor", "blood_relative_error_floor"):
        assert floors[0][f"fidelity/{key}"] < floors[1][f"fidelity/{key}"]
    assert floors[0]["fidelity/melanin_r_floor"] > floors[1]["fidelity/melanin_r_floor"]


def test_several_people_are_told_by_region_and_pooled(capture):
    check = FidelityCheck(PAIR)
    for number, melanin in enumerate((0.028, 0.085, 0.36), start=1):
        frame, truth = capture(melanin=melanin, name=f"p00{number}_neutral_front")
        keep(frame, frame.reference, truth, check)
    result = check.result()
    assert result.per_region
    assert result.metrics["fidelity/melanin_r"] == pytest.approx(1.0)
    assert result.metrics["fidelity/melanin_r_truth"] > 0.99
    assert 2 < result.metrics["fidelity/oxygenation_constant_mae_pp_truth"] < 10


def test_without_a_capture_nothing_is_said_and_without_a_truth_nothing_of_it(capture):
    check = FidelityCheck(PAIR)
    assert dataclasses.astuple(check.result()) == ({}, [])
    frame, _ = capture()
    found = keep(frame, frame.reference, None, check)
    assert found
    assert not [key for key in (*found, *check.result().metrics) if "truth" in key or "floor" in key]
