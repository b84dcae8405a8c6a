"""What a search may change in the recipe of each network, and between which values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hyperskin.errors import UnknownNameError

SEARCHED = ("learning_rate", "batch_size", "loss")
_DIGITS = 3


class Suggests(Protocol):
    """What chooses values: a trial of Optuna."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float: ...  # noqa: D102 - says its name
    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...  # noqa: D102 - says its name


@dataclass(frozen=True)
class Space:
    """The recipes that a search chooses among.

    Attributes:
        learning_rate: Lowest and highest first rate of Adam; in between all magnitudes are equally likely.
        batch_size: Crops per step.
        loss: Names of losses.
    """

    learning_rate: tuple[float, float]
    batch_size: tuple[int, ...] = (1, 2, 4, 8)
    loss: tuple[str, ...] = ("l1", "mrae")

    def including(self, recipe: Mapping[str, Any]) -> Space:
        """Return the space widened so that it holds `recipe`, which no rate may fall below the final rate of."""
        rate, (low, high) = recipe["learning_rate"], self.learning_rate
        return dataclasses.replace(
            self,
            learning_rate=(max(min(low, rate), recipe["final_learning_rate"]), max(high, rate)),
            batch_size=tuple(sorted({*self.batch_size, recipe["batch_size"]})),
            loss=tuple(dict.fromkeys((*self.loss, recipe["loss"]))),
        )

    def describe(self) -> dict[str, str]:
        """Return what is searched, by name, for people."""
        low, high = self.learning_rate
        return {
            "learning_rate": f"{low:g} to {high:g}, logarithmic",
            "batch_size": ", ".join(map(str, self.batch_size)),
            "loss": ", ".join(self.loss),
        }

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """Return the values that `trial` chooses; the rate has three digits, so that what is written is what ran."""
        low, high = self.learning_rate
        rate = float(f"{trial.suggest_float('learning_rate', low, high, log=True):.{_DIGITS}g}")
        return {
            "learning_rate": min(max(rate, low), high),
            "batch_size": trial.suggest_categorical("batch_size", self.batch_size),
            "loss": trial.suggest_categorical("loss", self.loss),
        }


# Downwards the rates enclose what was published: 2e-4 for HSCNN+, 1e-4 for HRNet and 4e-4 for MST++ on the challenge of
# 2022 (Cai et al., MST++, CVPRW 2022, with batches of 20), 4e-4 with batches of 2 (Ng et al., Hyper-Skin, 2023).
# Upwards they end where networks of the profile demo were seen to stop learning on the phantom: HRNet's loss explodes
# with 5e-3 and MST++'s with 7e-3; HSCNN+ with 8e-3 (12 blocks) ends behind where it ends with 4e-3.
SPACES = {
    "hscnn_plus": Space(learning_rate=(1e-4, 4e-3)),
    "hrnet": Space(learning_rate=(1e-4, 4e-3)),
    "mst_plus_plus": Space(learning_rate=(1e-4, 5e-3)),
    "basal": Space(learning_rate=(4e-4, 1e-2)),
}


def find_space(model: str, recipe: Mapping[str, Any]) -> Space:
    """Return what is searched for a network, widened so that its own `recipe` is in it.

    Raises:
        UnknownNameError: The table has no such network.
    """
    if model not in SPACES:
        raise UnknownNameError(f"`model` must be a network with a space to search, {', '.join(SPACES)}; got {model!r}.")
    return SPACES[model].including(recipe)
