import dataclasses
import json
import math

import numpy as np
import pytest

from hyperskin.bands import VIS
from hyperskin.errors import DataError, EmptyMaskError, ShapeError
from hyperskin.metrics.pointwise import pointwise_errors
from hyperskin.metrics.published import published_sam, published_ssim
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim
from hyperskin.metrics.summary import METRICS_VERSION, CaptureScores, score_capture, summarise

REGION_KEYS = ("sam/{}", "ssim/{}", "rmse/{}", "psnr/{}", "mae/{}", "mrae/{}", "mrae_floored/{}")
PUBLISHED_KEYS = ("ssim/published_{}", "sam/published_{}")
VALID = np.ones((24, 32), dtype=bool)


def _score(phantom, *, mask="own", valid=VALID, capture="p001_smile_left", given=()):
    return score_capture(
        phantom.estimate,
        phantom.reference,
        capture=capture,
        subject="p001",
        expression="smile",
        direction="left",
        mask=phantom.mask if isinstance(mask, str) else mask,
        valid=valid,
        given=given,
    )


def _scores(rows, key="sam/masked"):
    """Return scores from (subject, capture, value) triples."""
    return [CaptureScores(capture, subject, "neutral", "front", {key: value}) for subject, capture, value in rows]


FOUR = _scores([("p1", "a", 0.1), ("p1", "b", 0.3), ("p1", "c", 0.2), ("p2", "d", 0.6)])

GOLDEN_VERSION = 2
GOLDEN = {
    "sam/masked": 0.0469347638171,
    "ssim/masked": 0.950224693039,
    "ssim/masked_inside": 0.96611972579,
    "rmse/masked": 0.0322924352567,
    "psnr/masked": 29.8179840494,
    "mae/masked": 0.0260415625357,
    "mrae/masked": 0.0563889119207,
    "mrae_floored/masked": 0.0,
    "sam/full": 0.0470358041752,
    "ssim/full": 0.970152228592,
    "rmse/full": 0.0323192228201,
    "psnr/full": 29.8107818249,
    "mae/full": 0.026067984988,
    "mrae/full": 0.0565036637868,
    "mrae_floored/full": 0.0,
    "ssim/published_masked": 0.988914889241,
    "ssim/published_full": 0.969011928093,
    "sam/published_masked": 0.0469348,
    "sam/published_full": 0.0470358,
}


# One capture


def test_a_number_that_moves_needs_a_new_metrics_version():
    """Waves in closed form, so the numbers are the same on every machine; who changes one raises METRICS_VERSION."""
    rows, columns, bands = np.meshgrid(np.arange(24), np.arange(32), np.arange(31), indexing="ij")
    reference = 0.4 + 0.2 * np.sin(0.7 * rows + 0.1 * bands) * np.cos(0.5 * columns) + 0.005 * bands
    estimate = 0.95 * reference + 0.03 * np.cos(1.3 * rows - 0.9 * columns + 0.4 * bands)
    mask = (rows[..., 0] - 12) ** 2 + (columns[..., 0] - 15) ** 2 < 64
    known = {"capture": "waves", "subject": "waves", "expression": None, "direction": None}
    values = score_capture(estimate, reference, **known, mask=mask, valid=VALID).values
    assert METRICS_VERSION == GOLDEN_VERSION
    for key, expected in GOLDEN.items():
        digits = 1e-5 if key.startswith("sam/published") else 1e-7 if "published" in key else 1e-10
        assert values[key] == pytest.approx(expected, rel=digits), key
    assert set(values) == set(GOLDEN)


def test_a_capture_has_exactly_the_keys_that_are_logged(phantom):
    masked, full = ({key.format(region) for key in REGION_KEYS + PUBLISHED_KEYS} for region in ("masked", "full"))
    scores = _score(phantom)
    assert set(scores.values) == masked | full | {"ssim/masked_inside"}
    assert set(scores.per_band) == {"ssim/masked", "ssim/full", "rmse/masked", "rmse/full"}
    assert set(scores.counts) == {"pixel_count", "left_out", "window_count", "lost_to_valid"}
    bare = _score(phantom, mask=None)
    assert set(bare.values) == full
    assert set(bare.per_band) == {"ssim/full", "rmse/full"}


def test_its_values_are_those_of_the_metrics(phantom):
    values = _score(phantom).values
    for region, mask in (("masked", phantom.mask), ("full", None)):
        arguments = (phantom.estimate, phantom.reference, mask)
        errors = pointwise_errors(*arguments)
        assert values[f"sam/{region}"] == sam(*arguments).value
        assert values[f"ssim/{region}"] == ssim(*arguments, data_range=1.0).value
        assert values[f"ssim/published_{region}"] == published_ssim(*arguments)
        assert values[f"sam/published_{region}"] == published_sam(*arguments)
        assert values[f"rmse/{region}"] == errors.rmse
        assert values[f"psnr/{region}"] == errors.psnr(1.0)
    inside = ssim(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0, centres="inside")
    assert values["ssim/masked_inside"] == inside.value


def test_bands_that_the_input_holds_are_left_out_a_second_time(phantom):
    values, all_bands = _score(phantom, given=(26,)).values, _score(phantom).values
    unseen = {f"{key}/{region}_unseen" for key in ("sam", "ssim", "rmse") for region in ("masked", "full")}
    assert set(values) - set(all_bands) == unseen
    assert {key: values[key] for key in all_bands} == all_bands
    others = [band for band in range(31) if band != 26]
    cut = (phantom.estimate[..., others], phantom.reference[..., others])
    for region, mask in (("masked", phantom.mask), ("full", None)):
        assert values[f"sam/{region}_unseen"] == pytest.approx(sam(*cut, mask).value, rel=1e-12)
        assert values[f"ssim/{region}_unseen"] == pytest.approx(ssim(*cut, mask, data_range=1.0).value, rel=1e-12)
        assert values[f"rmse/{region}_unseen"] == pytest.approx(pointwise_errors(*cut, mask).rmse, rel=1e-6)


def test_copying_a_given_band_changes_no_score_of_the_unseen(phantom):
    copied = phantom.estimate.copy()
    copied[..., 26] = phantom.reference[..., 26]
    better = phantom._replace(estimate=copied)
    values, gained = _score(phantom, given=(26,)).values, _score(better, given=(26,)).values
    assert gained["sam/masked"] < values["sam/masked"]
    assert {key: gained[key] for key in gained if "unseen" in key} == {
        key: values[key] for key in values if "unseen" in key
    }


def test_pixels_that_were_not_measured_are_left_out_and_counted(phantom):
    valid = VALID.copy()
    valid[:, 14:17] = False
    estimate, reference = phantom.estimate.copy(), phantom.reference.copy()
    estimate[~valid] = np.nan
    reference[~valid] = np.inf
    scores = _score(phantom._replace(estimate=estimate, reference=reference), valid=valid)
    assert scores.values == _score(phantom, valid=valid).values
    assert scores.counts["lost_to_valid"] == np.count_nonzero(phantom.mask[:, 14:17])
    assert scores.counts["pixel_count"] == np.count_nonzero(phantom.mask) - scores.counts["lost_to_valid"]
    assert _score(phantom, mask=None, valid=valid).counts["lost_to_valid"] == 3 * 24


def test_counts_are_of_the_masked_region(phantom):
    reference = phantom.reference.copy()
    reference[12, 15] = reference[0, 0] = 0
    scores = _score(phantom._replace(reference=reference))
    windows = ssim(phantom.estimate, phantom.reference, phantom.mask, data_range=1.0).window_count
    assert scores.counts == {
        "pixel_count": np.count_nonzero(phantom.mask) - 1,
        "left_out": 1,
        "window_count": windows,
        "lost_to_valid": 0,
    }
    assert _score(phantom, mask=None).counts["window_count"] == 14 * 22


def test_a_perfect_capture_has_no_psnr_and_no_infinity(phantom):
    perfect = phantom._replace(estimate=phantom.reference.copy())
    scores = _score(perfect)
    assert scores.values["sam/masked"] == 0.0
    assert scores.values["ssim/full"] == 1.0
    assert not any(key.startswith("psnr") for key in scores.values)
    json.dumps(scores.values, allow_nan=False)


def test_a_mask_that_selects_nothing_is_refused_by_name(phantom):
    with pytest.raises(EmptyMaskError, match=r"Capture p001_smile_left must have measured pixels.*'masked'"):
        _score(phantom, mask=np.zeros((24, 32), dtype=bool))
    with pytest.raises(EmptyMaskError, match=r"Capture p001_smile_left .*'masked'"):
        _score(phantom, valid=~phantom.mask)
    with pytest.raises(EmptyMaskError, match=r"Capture p001_smile_left .*'full'"):
        _score(phantom, mask=None, valid=~VALID)


def test_a_frame_without_a_window_is_refused_by_name(phantom):
    small = phantom._replace(estimate=phantom.estimate[:9], reference=phantom.reference[:9])
    with pytest.raises(EmptyMaskError, match=r"Capture p001_smile_left.*whole 11 x 11 px window"):
        _score(small, mask=None, valid=VALID[:9])


def test_rubbish_that_counts_is_refused_by_name(phantom):
    estimate = phantom.estimate.copy()
    estimate[12, 15, 3] = np.nan
    with pytest.raises(DataError, match=r"Capture p001_smile_left, region 'masked'.*finite"):
        _score(phantom._replace(estimate=estimate))
    with pytest.raises(DataError, match=r"Capture p001_smile_left, region 'masked'.*all are zero"):
        _score(phantom._replace(reference=0 * phantom.reference))


def test_masks_must_be_bool(phantom):
    with pytest.raises(ShapeError, match="`mask` must be bool"):
        _score(phantom, mask=phantom.mask.astype(np.float64))
    with pytest.raises(ShapeError, match=r"`valid` must have shape \(24, 32\)"):
        _score(phantom, valid=VALID.T)


# Many captures


def test_means_and_spreads():
    metrics = summarise(FOUR).metrics
    assert metrics["sam/masked"] == pytest.approx(0.3)
    assert metrics["sam/masked_std"] == pytest.approx(math.sqrt(0.14 / 4))
    assert metrics["sam/masked_std_sample"] == pytest.approx(math.sqrt(0.14 / 3))
    assert metrics["sam/masked_std_subjects"] == pytest.approx(0.2)
    assert (metrics["n_images"], metrics["n_images/masked"], metrics["n_subjects"]) == (4, 4, 2)
    assert "n_images/full" not in metrics


def test_spreads_are_those_of_numpy():
    values = np.random.default_rng(0).normal(0.1, 0.02, 24)
    metrics = summarise(_scores([(f"p{i // 6}", f"c{i:02}", value) for i, value in enumerate(values)])).metrics
    assert metrics["sam/masked"] == pytest.approx(values.mean(), rel=1e-14)
    assert metrics["sam/masked_std"] == pytest.approx(values.std(), rel=1e-13)
    assert metrics["sam/masked_std_sample"] == pytest.approx(values.std(ddof=1), rel=1e-13)
    assert metrics["sam/masked_std_sample"] / metrics["sam/masked_std"] == pytest.approx(1.0215, abs=5e-5)
    assert metrics["sam/masked_std_subjects"] == pytest.approx(values.reshape(4, 6).mean(axis=1).std(), rel=1e-13)


def test_one_capture_has_no_sample_spread():
    metrics = summarise(FOUR[:1]).metrics
    assert metrics["sam/masked_std"] == 0.0
    assert "sam/masked_std_sample" not in metrics
    assert "sam/masked_std_subjects" not in metrics


def test_the_order_of_captures_changes_nothing(phantom):
    scores = [_score(phantom, capture=name) for name in ("a", "b")]
    shaken = phantom._replace(estimate=phantom.estimate[::-1])
    scores.append(_score(shaken, capture="c"))
    assert summarise(scores[::-1]).metrics == summarise(scores).metrics
    assert summarise(scores[::-1]).per_image == summarise(scores).per_image
    assert summarise(scores[::-1]).per_band(VIS.wavelength_nm) == summarise(scores).per_band(VIS.wavelength_nm)


def test_captures_without_a_mask_do_not_enter_masked_means(phantom):
    scores = [_score(phantom, capture="face"), _score(phantom, capture="scene", mask=None)]
    summary = summarise(scores)
    assert summary.metrics["sam/masked"] == scores[0].values["sam/masked"]
    assert (summary.metrics["n_images/masked"], summary.metrics["n_images/full"]) == (1, 2)
    assert "sam/masked" not in summary.per_image[1]


def test_a_key_that_some_captures_lack_says_how_many_have_it(phantom):
    perfect = phantom._replace(estimate=phantom.reference.copy())
    metrics = summarise([_score(phantom, capture="a"), _score(perfect, capture="b")]).metrics
    assert metrics["psnr/masked_n"] == 1
    assert "sam/masked_n" not in metrics


def test_rows_hold_plain_values(phantom):
    known = _score(phantom, capture="a")
    unknown = dataclasses.replace(_score(phantom, capture="b"), subject="scene", expression=None, direction=None)
    summary = summarise([unknown, known])
    assert [row["image"] for row in summary.per_image] == ["a", "b"]
    assert next(iter(summary.per_image[0])) == "image"
    assert summary.per_image[0]["window_count"] == known.counts["window_count"]
    assert summary.per_image[1]["expression"] == ""
    assert [(row["subject"], row["n_images"]) for row in summary.per_subject] == [("p001", 1), ("scene", 1)]
    assert [row["expression"] for row in summary.per_expression] == ["smile"]
    assert [row["direction"] for row in summary.per_direction] == ["left"]
    tables = [summary.metrics, summary.per_image, summary.per_subject, summary.per_band(VIS.wavelength_nm)]
    assert json.loads(json.dumps(tables, allow_nan=False)) == tables


def test_subject_rows_are_means_over_their_captures():
    rows = summarise(FOUR).per_subject
    assert [row["subject"] for row in rows] == ["p1", "p2"]
    assert [row["sam/masked"] for row in rows] == pytest.approx([0.2, 0.6])
    assert [row["n_images"] for row in rows] == [3, 1]


def test_groups_say_how_many_captures_of_how_many_subjects_they_hold():
    known = [("front", "tan", 20.0), ("left", "tan", 11.0), ("front", None, None), ("front", "light", 50.0)]
    scores = [
        dataclasses.replace(score, direction=direction, skin_type=skin_type, ita_deg=angle)
        for score, (direction, skin_type, angle) in zip(FOUR, known, strict=True)
    ]
    summary = summarise(scores)
    values = {score.capture: score.values["sam/masked"] for score in FOUR}
    light, tan = summary.per_skin_type
    assert light == {"skin_type": "light", "n_images": 1, "n_subjects": 1, "ita_deg": 50.0, "sam/masked": values["d"]}
    assert tan == pytest.approx(
        {
            "skin_type": "tan",
            "n_images": 2,
            "n_subjects": 1,
            "ita_deg": 15.5,
            "sam/masked": (values["a"] + values["b"]) / 2,
        }
    )
    assert [(row["direction"], row["n_images"], row["n_subjects"]) for row in summary.per_direction] == [
        ("front", 3, 2),
        ("left", 1, 1),
    ]
    assert summary.per_image[0]["skin_type"] == "tan"
    assert (summary.per_image[2]["skin_type"], "ita_deg" in summary.per_image[2]) == ("", False)
    assert "n_subjects" not in summary.per_subject[0]


def test_the_types_stand_from_light_to_dark():
    types = {"dark": -50.0, "brown": 0.0, "very light": 60.0, "intermediate": 30.0}
    scores = [
        dataclasses.replace(score, skin_type=name, ita_deg=angle)
        for score, (name, angle) in zip(FOUR, types.items(), strict=True)
    ]
    order = [row["skin_type"] for row in summarise(scores).per_skin_type]
    assert order == ["very light", "intermediate", "brown", "dark"]
    assert summarise(FOUR).per_skin_type == []


def test_band_rows_are_means_over_captures(phantom):
    scores = [_score(phantom, capture="a"), _score(phantom._replace(estimate=phantom.reference), capture="b")]
    rows = summarise(scores).per_band(VIS.wavelength_nm)
    assert [row["wavelength_nm"] for row in rows] == list(VIS.wavelength_nm)
    assert list(rows[0]) == ["wavelength_nm", "ssim/masked", "rmse/masked", "ssim/full", "rmse/full"]
    expected = (scores[0].per_band["ssim/masked"] + 1) / 2
    assert [row["ssim/masked"] for row in rows] == pytest.approx(list(expected))
    with pytest.raises(ShapeError, match="must name 31 bands"):
        summarise(scores).per_band([400.0, 500.0])


def test_the_mean_over_bands_is_the_mean_over_captures(phantom):
    scores = [_score(phantom, capture="a"), _score(phantom._replace(estimate=phantom.reference), capture="b")]
    summary = summarise(scores)
    rows = summary.per_band(VIS.wavelength_nm)
    assert np.mean([row["ssim/masked"] for row in rows]) == pytest.approx(summary.metrics["ssim/masked"], rel=1e-13)


def test_no_capture_or_one_twice_is_refused(phantom):
    with pytest.raises(DataError, match="at least one capture"):
        summarise([])
    with pytest.raises(DataError, match="every capture once; got a more than once"):
        summarise([*FOUR, FOUR[0]])
