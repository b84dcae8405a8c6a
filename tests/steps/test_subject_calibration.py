"""What one measured capture of a person does for the others: on discs of skin whose model misses the person."""

from dataclasses import replace

import numpy as np
import pytest

from hyperskin.data.capture import CaptureId
from hyperskin.data.frames import Frame, PairFiles, Truth
from hyperskin.metrics.intervals import clustered_mean
from hyperskin.metrics.sam import sam
from hyperskin.pairs import PAIRS
from hyperskin.skin.optics import Skin, skin_reflectance
from hyperskin.skin.subject_gain import GainPrior
from hyperskin.steps.bare_skin import find_bare_skin
from hyperskin.steps.evaluate import evaluate
from hyperskin.steps.fidelity import FidelityCheck
from hyperskin.steps.gain_prior import learn_prior, prior_captures
from hyperskin.steps.subject_calibration import ANGLE, READING_COUNTS, CalibrationCheck, thin

PAIR = PAIRS["rgb_vis"]
SIDE = 40
TILT = np.linspace(-1, 1, 31)
PRIOR = GainPrior(PAIR.target, np.zeros(31), 0.04 * np.outer(TILT, TILT) + 1e-4 * np.eye(31), 0.01 * np.eye(31), 9)


def make_capture(name, *, own=0.15, blood=0.012, noise=0.02):
    """Return a frame of a disc of skin that a person's own tilt bends, its truth, and an estimate without the tilt."""
    down, across = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    skin = Skin(
        melanin_fraction=0.05 * np.exp(0.3 * (across - 0.5)).ravel(),
        blood_fraction=blood * np.exp(0.5 * (down - 0.5)).ravel(),
        oxygenation=np.full(SIDE**2, 0.7),
        water_fraction=np.full(SIDE**2, 0.65),
    )
    plain = skin_reflectance(skin, PAIR.target.centres_nm()).reshape(SIDE, SIDE, -1) * (0.6 + 0.3 * across[..., None])
    cube = plain * np.exp(own * TILT)
    seen = cube * np.random.default_rng(len(name)).lognormal(0, noise, cube.shape)
    disc = (down - 0.5) ** 2 + (across - 0.5) ** 2 < 0.2
    frame = Frame(
        CaptureId.parse(name), np.zeros((SIDE, SIDE, 3), np.float32), seen.astype(np.float32), disc, np.ones_like(disc)
    )
    return frame, Truth(cube.astype(np.float32), disc, {}), plain.astype(np.float32)


def add(check, frame, truth, estimate):
    skin = find_bare_skin(frame, PAIR.target, frame.reference)
    check.add(frame, estimate, skin, truth)
    return skin


def run(*captures, prior=PRIOR):
    check = CalibrationCheck(PAIR, prior)
    for capture in captures:
        add(check, *capture)
    return check.result()


def scores(found, key=ANGLE):
    return {(row["image"], row["k"]): row[key] for row in found.rows}


def test_a_person_measured_once_is_reconstructed_better_elsewhere():
    found = scores(
        run(make_capture("p001_neutral_front"), make_capture("p001_smile_front", blood=0.02)), ANGLE + "_truth"
    )
    assert list(found) == [("p001_smile_front", count) for count in READING_COUNTS]
    assert found["p001_smile_front", 25] < 0.2 * found["p001_smile_front", 0]
    assert found["p001_smile_front", 5] < 0.4 * found["p001_smile_front", 0]


def test_without_readings_the_scores_are_those_of_the_estimate_and_with_them_those_of_its_product():
    """The second formulation is whole frames: the evaluation's own checks, on the estimate times the gain."""
    check = CalibrationCheck(PAIR, PRIOR)
    add(check, *make_capture("p001_neutral_front"))
    gains = check._measured["p001"].gains
    frame, truth, estimate = make_capture("p001_smile_front", blood=0.02)
    skin = add(check, frame, truth, estimate)
    assert np.array_equal(gains[0], np.ones(31))
    for row in check.result().rows:
        product = (estimate * gains[row["k"]]).astype(np.float32)
        told = FidelityCheck(PAIR).add(frame, skin.regions, product, truth)
        assert row[ANGLE] == pytest.approx(sam(product, frame.reference, skin.regions.skin).value, rel=1e-4)
        assert row[f"{ANGLE}_truth"] == pytest.approx(sam(product, truth.reference, skin.regions.skin).value, rel=1e-4)
        for key in ("melanin", "blood"):
            for suffix in ("", "_truth"):
                name = f"fidelity/{key}_relative_error{suffix}"
                assert row[name] == pytest.approx(told[name], rel=1e-3)


def test_a_capture_gives_nothing_to_its_own_calibration():
    """Whatever stands in the captures that are scored, the gains are those of the first; and so are their scores."""
    first, second, third = (make_capture(f"p001_{name}") for name in ("neutral_front", "neutral_left", "smile_left"))
    other = replace(second[0], reference=second[0].reference[::-1] ** 2)
    gains = []
    for captures in ((first, second), (first, (other, second[1], 0.5 * second[2]))):
        check = CalibrationCheck(PAIR, PRIOR)
        for capture in captures:
            add(check, *capture)
        gains.append(check._measured["p001"].gains)
    assert all(np.array_equal(gains[0][count], gains[1][count]) for count in READING_COUNTS)
    plain, changed = run(first, second, third), run(first, (other, second[1], second[2]), third)
    own = [
        [value for (image, _), value in scores(each).items() if image == "p001_smile_left"] for each in (plain, changed)
    ]
    assert own[0] == own[1]


def test_people_calibrate_only_themselves():
    """The second person's tilt is the other way: whoever mixed them would do worse than nothing."""
    names = ("p001_neutral_front", "p002_neutral_front", "p001_smile_left", "p002_smile_left")
    found = run(*(make_capture(name, own=0.2 if name < "p002" else -0.2) for name in names))
    assert {(row["subject"], row["measured"]) for row in found.rows} == {
        ("p001", "p001_neutral_front"),
        ("p002", "p002_neutral_front"),
    }
    told = scores(found)
    for name in names[2:]:
        assert told[name, 25] < 0.5 * told[name, 0]


def test_a_subject_with_one_capture_is_not_asked():
    found = run(make_capture("p001_neutral_front"))
    assert (found.rows, found.summary, found.metrics) == ([], [], {})


def test_readings_that_there_are_not_are_not_counted():
    frame, truth, estimate = make_capture("p001_neutral_front")
    few = np.zeros_like(frame.mask)
    few[18:22, 18:22] = True
    skin = find_bare_skin(frame, PAIR.target, frame.reference)
    few_skin = replace(skin, regions=replace(skin.regions, skin=few))
    check = CalibrationCheck(PAIR, PRIOR)
    check.add(frame, estimate, few_skin, truth)
    add(check, *make_capture("p001_smile_left"))
    assert [row["k"] for row in check.result().rows] == [0, 1, 5]


def test_the_summary_is_over_captures_and_its_intervals_over_subjects():
    names = [f"p00{who}_{what}" for who in (1, 2, 3) for what in ("neutral_front", "neutral_left", "smile_left")]
    found = run(*(make_capture(name, own=0.1 * int(name[3])) for name in names))
    told = scores(found)
    row = next(row for row in found.summary if (row["score"], row["k"]) == (ANGLE, 25))
    images = {image for image, _ in told}
    changes = {
        who: [told[i, 25] - told[i, 0] for i in sorted(images) if i.startswith(who)] for who in ("p001", "p002", "p003")
    }
    interval = clustered_mean(changes)
    assert (row["n_images"], row["n_subjects"], row["better"]) == (6, 3, 3)
    assert row["mean"] == pytest.approx(np.mean([told[image, 25] for image in images]))
    assert (row["change"], row["low"], row["high"]) == (interval.mean, interval.low, interval.high)
    assert found.metrics["calibrated_sam_bare_skin/k25"] == row["mean"]
    assert found.metrics["n_images/calibrated"] == 6
    assert {"calibrated_blood_relative_error/k0", "calibrated_melanin_relative_error_truth/k5"} <= set(found.metrics)
    none = next(row for row in found.summary if (row["score"], row["k"]) == (ANGLE, 0))
    assert "change" not in none


def test_much_skin_is_thinned_evenly():
    rows, columns = thin(np.ones((300, 400), dtype=np.bool_))
    assert 15_000 < len(rows) <= 20_000
    assert (rows.mean(), columns.mean()) == pytest.approx((149.5, 199.5), abs=2)
    assert len(thin(np.zeros((3, 4), dtype=np.bool_))[0]) == 0


class _Manifest:
    """What the choice of captures asks of a manifest."""

    def __init__(self, **splits):
        self._splits = splits

    def of_split(self, split):
        return self._splits.get(split, [])

    def pair_files(self, split, pair):
        return [PairFiles(CaptureId.parse(name), None, None, None) for name in self._splits[split]]


def test_the_prior_takes_one_capture_of_everybody_but_test_subjects():
    manifest = _Manifest(
        train=["p004_neutral_left", "p004_smile_left", "p005_smile_left"],
        valid=["p003_neutral_front"],
        test=["p001_smile_left"],
    )
    names = [files.capture.name for files in prior_captures(manifest, PAIR)]
    assert names == ["p004_neutral_left", "p005_smile_left", "p003_neutral_front"]
    assert [files.capture.name for files in prior_captures(_Manifest(train=["a_b"]), PAIR)] == ["a_b"]


def test_an_evaluation_with_a_prior_scores_the_others_and_without_one_says_nothing(write_capture):
    files = [
        write_capture(f"p00{who}_{what}", seed=who) for who in (1, 2, 3) for what in ("neutral_front", "smile_left")
    ]
    flat = lambda given: np.repeat(given.mean(axis=2, keepdims=True), 31, axis=2)  # noqa: E731 - one line
    prior = learn_prior(flat, files[2::2], PAIR, camera="cie")
    assert prior.subject_count == 2
    found = evaluate(flat, files[:2], PAIR, camera="cie", prior=prior)
    assert {row["image"] for row in found.calibration.rows} == {"p001_smile_left"}
    assert found.metrics["calibrated_sam_bare_skin/k25"] < found.metrics["calibrated_sam_bare_skin/k0"]
    assert evaluate(flat, files[:2], PAIR, camera="cie").calibration is None


def test_a_model_that_sees_black_skin_is_not_calibrated(write_capture):
    files = [write_capture(f"p00{who}_neutral_front", seed=who) for who in (1, 2)]
    black = lambda given: np.full((*given.shape[:2], 31), -0.1, dtype=np.float32)  # noqa: E731 - one line
    assert learn_prior(black, files, PAIR, camera="cie") is None
    first, second = (make_capture(f"p001_{name}") for name in ("neutral_front", "smile_left"))
    assert run((*first[:2], -first[2]), second).rows == []


def test_nobody_or_one_person_gives_no_prior(write_capture):
    flat = lambda given: np.ones((*given.shape[:2], 31), dtype=np.float32)  # noqa: E731 - one line
    scene = write_capture("scene", mask=False)
    assert learn_prior(flat, [scene, write_capture()], PAIR, camera="cie") is None
