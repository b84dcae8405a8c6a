"""Who is drawn: the same person in every capture, within what people are."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from hyperskin.phantom.head import AXES
from hyperskin.phantom.person import Person
from hyperskin.phantom.recipe import SKIN_TYPES, Recipe

RECIPE = Recipe(seed=1, skin_type="III", height_px=24, width_px=32)
PLACES = np.random.default_rng(0).uniform(-0.6, 0.6, (50, 3)).astype(np.float32)


def draw(subject="p001", skin_type="III", **changes):
    return Person.draw(subject, replace(RECIPE, skin_type=skin_type, **changes))


@pytest.fixture(scope="module")
def crowd():
    """Sixteen persons of every type."""
    return {kind: [draw(f"p{number:03d}", kind) for number in range(1, 17)] for kind in SKIN_TYPES}


def appearance(person):
    spots = [person.moles(PLACES), person.papules(PLACES), person.vessels(PLACES)]
    fields = [person.fields[name](PLACES) for name in sorted(person.fields)]
    return astuple(person.shape), person.hair, person.tissue, person.iris, np.stack([*spots, *fields]).tobytes()


def test_a_person_is_the_same_whoever_was_drawn_before_and_in_whatever_frame():
    expected = appearance(draw())
    draw("p002")
    assert appearance(draw()) == expected
    assert appearance(draw(height_px=128, width_px=64, reference_lines=3, noise=0.0)) == expected


@pytest.mark.parametrize("change", [{"subject": "p002"}, {"seed": 2}])
def test_another_name_or_seed_is_another_person(change):
    for own, other in zip(appearance(draw()), appearance(draw(**change)), strict=True):
        assert own != other


def test_optics_change_the_tissue_alone_and_basic_optics_hold_the_extended_constant():
    extended, basic = draw(), draw(extended_optics=False)
    assert (basic.shape, basic.hair, basic.iris) == (extended.shape, extended.hair, extended.iris)
    for name in ("melanin_fraction", "blood_fraction", "oxygenation", "water_fraction", "scattering_amplitude"):
        assert getattr(basic.tissue, name) == getattr(extended.tissue, name)
    tissue = basic.tissue
    assert (tissue.melanin_exponent, tissue.bloodless_factor, tissue.vessel_radius_cm) == (3.5, 1.0, 1e-3)
    assert (tissue.carotenoid, tissue.lipid_fraction) == (0.0, 0.0)


@pytest.mark.parametrize("skin_type", SKIN_TYPES)
def test_melanin_scatters_around_that_of_the_type(crowd, skin_type):
    share = np.array([person.tissue.melanin_fraction for person in crowd[skin_type]]) / SKIN_TYPES[skin_type]
    assert np.median(share) == pytest.approx(1, abs=0.12)
    assert 0.1 < np.log(share).std() < 0.26
    assert np.abs(np.log(share)).max() <= 2.5 * 0.18 + 1e-9


def test_every_tissue_is_one_that_skin_can_have(crowd):
    for person in (person for people in crowd.values() for person in people):
        tissue = person.tissue
        assert 0.004 < tissue.blood_fraction < 0.03
        assert 0.5 < tissue.oxygenation < 0.85
        assert 0.5 < tissue.water_fraction < 0.8
        assert 0.02 < tissue.surface_reflectance < 0.07
        assert 2.9 < tissue.melanin_exponent < 4.1
        assert 0 <= tissue.lipid_fraction < 0.25
        assert 0 <= tissue.carotenoid < 2


def test_hair_and_eyes_are_dark_where_skin_is_dark(crowd):
    for kind in ("III", "IV", "V", "VI"):
        assert all(person.iris[1] < 0.1 and person.iris[0] > 1 for person in crowd[kind])
    for kind in ("I", "II"):
        assert 0.5 < np.mean([person.iris[1] >= 0.5 for person in crowd[kind]]) < 0.9
    assert max(person.hair.eumelanin for person in crowd["I"]) < 2.3
    assert min(person.hair.eumelanin for person in crowd["VI"]) > 4.9
    assert all(person.tissue.freckles <= 0.05 for kind in ("III", "IV", "V", "VI") for person in crowd[kind])


def test_a_beard_or_stubble_comes_with_short_hair_and_never_both(crowd):
    people = [person.hair for kind in SKIN_TYPES for person in crowd[kind]]
    assert not [hair for hair in people if hair.style == "long" and (hair.beard > 0 or hair.stubble > 0)]
    assert not [hair for hair in people if hair.beard > 0 and hair.stubble > 0]
    assert 0.15 < np.mean([hair.beard > 0 for hair in people]) < 0.4
    assert {hair.style for hair in people} >= {"short", "curly", "long"}
    assert all((hair.thickness == 0) == (hair.style == "bald") for hair in people)


def test_moles_lie_on_the_head(crowd):
    for person in crowd["II"][:10]:
        for spots in (person.moles, person.papules, person.vessels):
            if len(spots._centres):
                np.testing.assert_allclose(np.square(spots._centres / AXES).sum(axis=1), 1, atol=1e-5)
                assert (spots._centres[:, 2] > 0).all()
