"""How far maps are from those they should be: by hand, by what must hold for all, and pixel by pixel."""

import math

import numpy as np
import pytest

from hyperskin.errors import ShapeError
from hyperskin.skin.fidelity import TRUTH, compare_maps, per_region, pool


@pytest.fixture
def draw():
    """Return plausible maps of a frame, others for another seed."""

    def make(seed, shape=(20, 30)):
        rng = np.random.default_rng(seed)
        return {
            "melanin_fraction": rng.uniform(0.02, 0.06, shape).astype(np.float32),
            "blood_fraction": rng.uniform(0.005, 0.03, shape).astype(np.float32),
            "oxygenation": rng.uniform(0.5, 0.9, shape).astype(np.float32),
            "melanin_index": rng.uniform(1, 9, shape).astype(np.float32),
            "typology_angle": rng.uniform(10, 40, shape).astype(np.float32),
        }

    return make


@pytest.fixture
def skin():
    """All but a frame of one pixel."""
    chosen = np.zeros((20, 30), dtype=np.bool_)
    chosen[1:-1, 1:-1] = True
    return chosen


def test_by_hand(skin):
    reference = {
        "melanin_fraction": np.full(skin.shape, 0.05),
        "oxygenation": np.full(skin.shape, 0.7),
        "typology_angle": np.full(skin.shape, 30.0),
    }
    estimate = {
        "melanin_fraction": np.full(skin.shape, 0.06),
        "oxygenation": np.where(np.arange(30) % 2, 0.6, 0.75) * np.ones(skin.shape),
        "typology_angle": np.full(skin.shape, 27.0),
    }
    found = compare_maps(estimate, reference, skin)
    assert found.values == pytest.approx(
        {
            "fidelity/melanin_relative_error": 0.2,
            "fidelity/oxygenation_mae_pp": (10 + 5) / 2,
            "fidelity/ita_deg": 3.0,
            "fidelity/unreadable": 0.0,
        }
    )
    assert found.regions == [
        pytest.approx(
            {"region": "skin", "melanin_relative_error": 0.2, "oxygenation_error_pp": 2.5, "ita_deg": 3.0}, abs=1e-9
        )
    ]


def test_a_perfect_reconstruction_loses_nothing(draw, skin):
    maps = draw(1)
    found = compare_maps(maps, maps, skin)
    pooled = pool([found])
    for key, value in (found.values | pooled).items():
        if "constant" not in key:
            assert value == pytest.approx(1.0 if "_r" in key.replace("_relative", "") else 0.0, abs=1e-6), key


def test_no_pixel_outside_the_skin_counts(draw, skin):
    reference, estimate = draw(1), draw(2)
    changed = {name: np.where(skin, values, 7.0) for name, values in estimate.items()}
    assert compare_maps(changed, reference, skin).values == compare_maps(estimate, reference, skin).values


def test_pixel_by_pixel_it_is_the_same(draw, skin):
    reference, estimate = draw(1), draw(2)
    found = compare_maps(estimate, reference, skin).values
    errors, logs, points = [], [], []
    for row, column in np.argwhere(skin):
        told, kept = float(reference["blood_fraction"][row, column]), float(estimate["blood_fraction"][row, column])
        errors.append(abs(kept - told) / told)
        logs.append((math.log(told), math.log(kept)))
        points.append(abs(float(estimate["oxygenation"][row, column]) - float(reference["oxygenation"][row, column])))
    assert found["fidelity/blood_relative_error"] == pytest.approx(sorted(errors)[len(errors) // 2], rel=1e-2)
    assert found["fidelity/blood_relative_error"] == pytest.approx(float(np.median(errors)), rel=1e-6)
    assert found["fidelity/blood_r_within"] == pytest.approx(np.corrcoef(np.array(logs).T)[0, 1], abs=1e-9)
    assert found["fidelity/oxygenation_mae_pp"] == pytest.approx(100 * sum(points) / len(points), rel=1e-6)


def test_pooled_a_persons_level_counts_and_within_a_face_it_does_not(skin):
    rng = np.random.default_rng(0)
    captures = []
    for level in (0.012, 0.05, 0.3):
        told = level * np.exp(rng.normal(0, 0.1, skin.shape))
        kept = level * np.exp(rng.normal(0, 0.1, skin.shape))  # the level is right, what differs within is not
        captures.append(compare_maps({"melanin_fraction": kept}, {"melanin_fraction": told}, skin))
    assert all(abs(one.values["fidelity/melanin_r_within"]) < 0.2 for one in captures)
    assert pool(captures)["fidelity/melanin_r"] > 0.98


def test_the_constant_predictor_is_as_far_off_as_the_reference_spreads(skin):
    told = np.where(np.arange(30) % 2, 0.6, 0.8) * np.ones(skin.shape)
    one = compare_maps({"oxygenation": told}, {"oxygenation": told}, skin, suffix=TRUTH)
    assert pool([one])["fidelity/oxygenation_constant_mae_pp_truth"] == pytest.approx(10.0, abs=1e-4)
    assert "fidelity/oxygenation_r_truth" in pool([one])


def test_what_cannot_be_read_is_counted_and_spoils_nothing(draw, skin):
    reference, estimate = draw(1), draw(2)
    for name in ("melanin_fraction", "blood_fraction", "oxygenation"):
        estimate[name][:10] = np.nan
    found = compare_maps(estimate, reference, skin).values
    assert found["fidelity/unreadable"] == pytest.approx(0.5)
    lower = skin.copy()
    lower[:10] = False
    below = compare_maps(estimate, reference, lower).values
    for key in ("fidelity/melanin_relative_error", "fidelity/oxygenation_mae_pp"):
        assert found[key] == below[key]
    assert below["fidelity/unreadable"] == 0.0


def test_a_face_without_a_readable_pixel_says_nothing_and_spoils_nothing(draw, skin):
    maps = draw(1)
    empty = compare_maps(maps, maps, np.zeros_like(skin))
    blind = compare_maps({name: np.full_like(values, np.nan) for name, values in maps.items()}, maps, skin)
    assert (empty.values, empty.regions, empty.pixels) == ({}, [], {})
    assert blind.values == {"fidelity/unreadable": 1.0}
    good = compare_maps(maps, maps, skin)
    assert pool([empty, blind, good]) == pool([good])
    assert pool([empty]) == {}


def test_a_constant_side_has_no_correlation(draw, skin):
    reference, estimate = draw(1), draw(2)
    estimate["blood_fraction"] = np.full(skin.shape, 0.01, dtype=np.float32) * np.float32(1 + 1e-7)
    found = compare_maps(estimate, reference, skin).values
    assert "fidelity/blood_r_within" not in found
    assert "fidelity/blood_relative_error" in found


def test_regions_are_compared_by_their_medians_and_indices_over_all_of_them(draw, skin):
    reference, estimate = draw(1), draw(2)
    left, right, tiny = (np.zeros_like(skin) for _ in range(3))
    left[2:18, 2:12], right[2:18, 15:28], tiny[5, 5] = True, True, True
    found = compare_maps(estimate, reference, skin, regions={"left": left, "right": right, "tiny": tiny})
    assert [row["region"] for row in found.regions] == ["left", "right"]

    def off(name, where):
        return abs(float(np.median(estimate[name][where])) - float(np.median(reference[name][where])))

    assert found.regions[0]["melanin_index"] == pytest.approx(off("melanin_index", left))
    both = (off("typology_angle", left) + off("typology_angle", right)) / 2
    assert found.values["fidelity/ita_deg"] == pytest.approx(both)


def test_a_table_has_a_row_for_each_region_with_means(skin):
    def capture(level, factor):
        told = np.full(skin.shape, level)
        return compare_maps({"melanin_fraction": told * factor}, {"melanin_fraction": told}, skin)

    captures = [capture(0.3, 1.1), capture(0.012, 1.2), capture(0.011, 1.4)]
    [row] = per_region(captures)
    assert (row["region"], row["n_images"]) == ("skin", 3)
    assert row["melanin_relative_error"] == pytest.approx((0.1 + 0.2 + 0.4) / 3)


def test_maps_of_another_shape_are_refused(draw, skin):
    with pytest.raises(ShapeError, match=r"must be \(20, 30\) like `skin`; got melanin_fraction \(10, 30\)"):
        compare_maps(draw(1, (10, 30)), draw(2), skin)
