"""What is searched: the table, its bounds, and the recipe as it is always among it."""

import random
from typing import Any

import pytest

from hyperskin.errors import UnknownNameError
from hyperskin.models.baselines import NAMES
from hyperskin.training.losses import find_loss
from hyperskin.tuning.space import SEARCHED, SPACES, find_space

RECIPE = {"learning_rate": 1e-3, "final_learning_rate": 1e-6, "batch_size": 2, "loss": "l1", "epochs": 3}


class Chooses:
    """Chooses at the ends, or somewhere, and keeps what it was asked."""

    def __init__(self, choose: str) -> None:
        self.choose = choose
        self.asked: dict[str, Any] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        self.asked[name] = (low, high, log)
        ends = {"low": low, "high": high}
        return ends.get(self.choose) or low * (high / low) ** random.Random(self.choose).random()

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.asked[name] = choices
        return choices[0] if self.choose == "low" else choices[-1]


def test_every_network_has_a_space_and_nothing_else_has():
    assert set(SPACES) == set(NAMES)


@pytest.mark.parametrize("model", SPACES)
def test_every_choice_is_a_recipe_that_may_be_written_to_params(model):
    for choose in ("low", "high", "a", "b"):
        recipe = find_space(model, RECIPE).suggest(Chooses(choose))
        assert tuple(recipe) == SEARCHED
        assert recipe["learning_rate"] >= RECIPE["final_learning_rate"]
        find_loss(recipe["loss"])
        assert recipe["batch_size"] >= 1


def test_the_rate_is_chosen_by_magnitude_and_has_three_digits():
    trial = Chooses("somewhere")
    rate = find_space("hrnet", RECIPE).suggest(trial)["learning_rate"]
    assert trial.asked["learning_rate"] == (*SPACES["hrnet"].learning_rate, True)
    assert rate == float(f"{rate:.3g}")


def test_a_rounded_rate_stays_in_its_range():
    space = find_space("hrnet", RECIPE | {"learning_rate": 0.0126789})
    assert space.suggest(Chooses("high"))["learning_rate"] == 0.0126789


def test_the_recipe_as_it_is_lies_in_the_space():
    space = find_space("hscnn_plus", RECIPE | {"learning_rate": 9e-3, "batch_size": 3, "loss": "l1"})
    assert space.learning_rate == (SPACES["hscnn_plus"].learning_rate[0], 9e-3)
    assert space.batch_size == (1, 2, 3, 4, 8)
    assert space.loss == ("l1", "mrae")


def test_no_rate_falls_below_the_final_rate():
    space = find_space("hrnet", RECIPE | {"final_learning_rate": 5e-4})
    assert space.suggest(Chooses("low"))["learning_rate"] == 5e-4


def test_an_unknown_network_lists_the_known():
    with pytest.raises(UnknownNameError, match=r"hscnn_plus, hrnet, mst_plus_plus, basal; got 'unet'"):
        find_space("unet", RECIPE)
