"""One unit of training: what it is, and the key under which its result is finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hyperskin
from hyperskin.data.manifest import Manifest
from hyperskin.errors import UnknownNameError
from hyperskin.pairs import Pair, find_pair
from hyperskin.params import FILE_NAME, Params, section_values
from hyperskin.steps.captures import code_version, make_key

CHECKPOINTS = Path("mlruns/checkpoints")

_PACKAGE = Path(hyperskin.__file__).parent
_CODE_FOLDERS = ("models", "training", "data", "metrics", "skin")
_CODE_STEPS = ("train_unit", "examine", "evaluate", "bare_skin", "fidelity", "fit")
_CODE_FILES = ("bands.py", "cube.py", "pairs.py", *(f"steps/{name}.py" for name in _CODE_STEPS))
_REGRESSION = "regression_"
_NO_INFLUENCE = ("pairs", "models", "slots")


@dataclass(frozen=True)
class Unit:
    """One model on one pair.

    Attributes:
        model: A network's name, or `regression_<kind>`.
        pair: The reconstruction task.
        config: The network's sizes; empty for a regression.
        recipe: All parameters that decide the result, as plain values.
        key: Hash of model, pair, parameters, manifest and code.
        code: Hash of the code alone.
        manifest: Digest of the data.
    """

    model: str
    pair: Pair
    config: dict[str, Any]
    recipe: dict[str, Any]
    key: str
    code: str
    manifest: str

    @property
    def regression_kind(self) -> str | None:
        """The kind of regression, or None for a network."""
        return self.model.removeprefix(_REGRESSION) if is_regression(self.model) else None

    @property
    def size(self) -> str:
        """How big the network is, such as "blocks 8", for people."""
        return ", ".join(f"{name} {value}" for name, value in self.config.items())

    @property
    def folder(self) -> Path:
        """Where its checkpoint lies while it is trained."""
        return CHECKPOINTS / self.key

    def facts(self) -> dict[str, str]:
        """Return all that makes up the key, as plain text by name, to tell what differs between two units."""
        made_with = {"model": self.model, "pair": self.pair.name, "data": self.manifest, "code": self.code}
        numbers = {**self.config, **self.recipe}
        return made_with | {
            name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in numbers.items()
        }

    @classmethod
    def of(cls, model: str, pair_name: str, params: Params, manifest: Manifest, **changes: Any) -> Unit:
        """Return the unit that params describe for this model and pair, with `changes` to its recipe.

        Raises:
            UnknownNameError: The params know no such model or pair.
        """
        pair = find_pair(pair_name)
        config, recipe = _recipe(model, pair_name, params)
        recipe |= changes
        code = training_code_version()
        key = make_key(model, pair.name, config, recipe, manifest.digest, code)
        return cls(model, pair, config, recipe, key, code, manifest.digest)


def params_units(root: Path, manifest: Manifest) -> list[Unit]:
    """Return every unit of params.yaml on these data, in its order."""
    params = Params.read(root / FILE_NAME)
    names = [(model, pair) for model in model_names(params) for pair in params.train.pairs]
    return [Unit.of(*name, params, manifest) for name in names]


def work_digest(root: Path) -> str:
    """Return one hash over all units of params.yaml and the data: what a table or a sheet of theirs was made from."""
    return make_key([unit.key for unit in params_units(root, Manifest.read(root / "data" / "manifest.json"))])


def training_code_version() -> str:
    """Return the hash over the sources that decide a trained model and its scores."""
    modules = [
        path.relative_to(_PACKAGE).as_posix() for folder in _CODE_FOLDERS for path in (_PACKAGE / folder).glob("*.py")
    ]
    return code_version(*modules, *_CODE_FILES)


def model_names(params: Params) -> list[str]:
    """Return every model of params: the regressions, which are the floor, and then the networks."""
    return [f"{_REGRESSION}{kind}" for kind in params.regression.kinds] + list(params.train.models)


def is_regression(model: str) -> bool:
    """Tell whether a model is fitted in closed form, and not trained."""
    return model.startswith(_REGRESSION)


def _recipe(model: str, pair: str, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    known = model_names(params)
    if model not in known:
        raise UnknownNameError(f"`model` must be one of {', '.join(known)}; got {model!r}.")
    if is_regression(model):
        camera = {"camera": params.train.camera, "transfer": params.render.transfer}
        return {}, {"ridge": params.regression.ridge, **camera}
    network = params.train.models[model]
    recipe = {key: value for key, value in section_values(params.train).items() if key not in _NO_INFLUENCE}
    return network.config(), recipe | network.own_recipe(pair)
