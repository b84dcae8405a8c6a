"""Who is better than whom: what people say of it, what seeds say, and the smallest p that few people allow."""

import pytest

from hyperskin.metrics.intervals import clustered_mean
from hyperskin.metrics.paired import sign_flip_test
from hyperskin.reporting.document import Line, text_of
from hyperskin.reporting.study.rivals import find_rivals, references, rival_blocks

NAMES = [f"p{number:03d}" for number in range(1, 13)]
TWELVE = {who: 0.1 + 0.01 * place for place, who in enumerate(NAMES)}
WORSE = {who: angle + 0.02 for who, angle in TWELVE.items()}
MUCH_WORSE = {who: angle + 0.5 for who, angle in TWELVE.items()}


def _texts(pool):
    return [" ".join(map(text_of, block.parts)) for block in rival_blocks(pool) if isinstance(block, Line)]


def _rivals(pool, why):
    other = dict(references(pool))[why]
    return {rival.group.mean.row.model: rival for rival in find_rivals(pool, other, pool.exam.deciding)}


def test_a_constant_gap_over_seeds_is_solved_by_hand(pool):
    found = _rivals(pool({"regression_linear": [WORSE], "basal": [TWELVE, MUCH_WORSE]}), "the best regression")
    each = found["basal"].difference
    middle = 0.25 - 0.02
    assert (each.interval.mean, each.interval.low, each.interval.high) == pytest.approx((middle,) * 3)
    assert each.p == pytest.approx(2 / 2**12)
    assert found["basal"].seed_width == pytest.approx(0.5)
    assert found["basal"].is_within_seeds, "clear over people, and another draw of the seeds could undo it"


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_copies_of_a_seed_change_no_p_and_no_interval(pool, copies):
    gaps = [0.05 if place % 3 else -0.03 for place in range(12)]
    jumps = {who: TWELVE[who] + gap for who, gap in zip(NAMES, gaps, strict=True)}
    each = _rivals(pool({"regression_linear": [TWELVE], "basal": [jumps] * copies}), "the best regression")["basal"]
    slow = clustered_mean({who: [gap] for who, gap in zip(NAMES, gaps, strict=True)})
    assert each.difference.p == sign_flip_test(gaps).p
    assert (each.difference.interval.low, each.difference.interval.high) == pytest.approx((slow.low, slow.high))


def test_p_values_are_corrected_for_all_rows_of_a_table(pool):
    alone = _rivals(pool({"regression_linear": [TWELVE], "a": [WORSE]}), "the best regression")
    many = _rivals(
        pool({"regression_linear": [TWELVE], "a": [WORSE], "b": [WORSE], "c": [WORSE]}), "the best regression"
    )
    assert many["a"].difference.p == pytest.approx(3 * alone["a"].difference.p)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"regression_linear": [WORSE], "basal": [MUCH_WORSE], "a": [TWELVE]},
         [("the best regression", "regression_linear"), ("basal", "basal")]),
        ({"regression_linear": [WORSE], "a": [TWELVE]},
         [("the best regression", "regression_linear"), ("the best model", "a")]),
        ({"regression_linear": [TWELVE], "a": [WORSE]}, [("the best regression", "regression_linear")]),
        ({"a": [WORSE], "b": [TWELVE]}, [("the best model", "b")]),
    ],
)  # fmt: skip
def test_what_others_are_held_against(pool, models, expected):
    assert [(why, group.mean.label) for why, group in references(pool(models))] == expected


def test_what_is_more_than_chance_is_said_and_what_is_not(pool):
    jumps = {who: angle + (0.05 if place % 2 else -0.04) for place, (who, angle) in enumerate(TWELVE.items())}
    said = _texts(pool({"regression_linear": [WORSE], "good": [TWELVE], "bad": [MUCH_WORSE] * 2, "like": [jumps]}))
    first = said[: said.index("By SAM masked worse than good: regression_linear; bad.")]
    assert first[:3] == [
        "By SAM masked better than regression_linear: good.",
        "By SAM masked worse than regression_linear: bad.",
        "By SAM masked not significantly different from regression_linear: like.",
    ]
    assert first[3] == "With 12 subjects p cannot come below 0.00049, and the lowest p* of 3 rows not below 0.0015."
    assert first[4] == "Trained with one seed, so that nobody knows what another would give: good; like."


def test_seeds_that_lie_further_apart_than_models_are_told(pool):
    said = _texts(pool({"regression_linear": [WORSE], "basal": [TWELVE, MUCH_WORSE]}))
    assert "The difference from regression_linear is smaller than the spread of seeds: basal." in said
    assert "The difference from basal is smaller than the spread of seeds: regression_linear." in said


def test_with_three_people_nothing_can_be_significant_and_it_is_said(pool):
    few = dict.fromkeys(NAMES[:3], 0.1)
    said = _texts(pool({"regression_linear": [few], "basal": [dict.fromkeys(few, 0.5)]}))
    assert said[1] == "With 3 subjects p cannot come below 0.25: nothing here can be significant."


def test_one_model_alone_is_held_against_nobody(pool):
    assert list(rival_blocks(pool({"a": [TWELVE]}))) == []
