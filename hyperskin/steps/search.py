"""One search: which network on which pair of which data, among which recipes; everything but a trial's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperskin.data.manifest import Manifest
from hyperskin.params import Params
from hyperskin.steps.captures import make_key
from hyperskin.steps.unit import Unit
from hyperskin.tuning.space import SEARCHED, SPACES, Space, find_space

if TYPE_CHECKING:
    from hyperskin.tuning.study import Search

_DIGITS = 10
_EXAMINED = ("test_cameras", "test_exposures")  # no trial is examined


@dataclass(frozen=True)
class Plan:
    """What is searched.

    Attributes:
        name: Model, pair and a hash of all that makes values comparable: data, code, what every trial shares, the
            space and the budget. Another hash is another search.
        unit: The unit that params.yaml describes, whose recipe is tried first.
        space: Between which values.
        budget: `epochs` and `seconds` of one trial.
        params: What the units of trials are made of; and
        manifest: the data.
    """

    name: str
    unit: Unit
    space: Space
    budget: dict[str, float | None]
    params: Params
    manifest: Manifest

    @classmethod
    def of(cls, model: str, pair: str, params: Params, manifest: Manifest) -> Plan:
        """Return what params.yaml asks to search for this network and pair, on the first training of `train.cameras`.

        Raises:
            UnknownNameError: The params know no such model or pair, or it is a regression, which has no recipe.
        """
        unit = Unit.of(model, pair, params, manifest)
        space = find_space(model, unit.recipe)
        budget = {"epochs": params.sweep.epochs, "seconds": params.sweep.seconds}
        shared = {name: value for name, value in unit.recipe.items() if name not in (*SEARCHED, *budget, *_EXAMINED)}
        key = make_key(unit.config, shared, budget, space.describe(), unit.manifest, unit.code)
        return cls(f"{model}-{pair}-{key[:_DIGITS]}", unit, space, budget, params, manifest)

    @property
    def shared(self) -> dict[str, Any]:
        """What all trials have in common."""
        values = self.unit.recipe | self.budget
        return {name: value for name, value in values.items() if name not in (*SEARCHED, *_EXAMINED)}

    def trial_unit(self, number: int, recipe: Mapping[str, Any]) -> Unit:
        """Return the unit of one trial: a key of its own, the same whoever tries it again.

        It is no unit of params.yaml even where its recipe is, so that no search touches a training's checkpoint.
        """
        changes = {**recipe, **self.budget, "study": self.name, "trial": number}
        return Unit.of(self.unit.model, self.unit.pair.name, self.params, self.manifest, **changes)

    def open(self, root: Path) -> Search:
        """Return the search as it stands in the database."""
        from hyperskin.tuning.study import Search

        return Search.open(root, self.name, space=self.space, default=self.unit.recipe)


def plans(params: Params, manifest: Manifest) -> list[Plan]:
    """Return every search that params.yaml describes: each network with a space, on each pair."""
    networks = [model for model in params.train.models if model in SPACES]
    return [Plan.of(model, pair, params, manifest) for model in networks for pair in params.train.pairs]


def worker_key(name: str, worker: int, total: int) -> str:
    """Return what a worker of a search is called in the ledger."""
    return f"{name}/{total}/{worker}"
