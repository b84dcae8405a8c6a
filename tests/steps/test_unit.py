"""A unit's key changes with what decides its result, and with nothing else."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hyperskin.commands.init import shipped_params
from hyperskin.data.manifest import Manifest
from hyperskin.errors import UnknownNameError
from hyperskin.params import Params
from hyperskin.steps.unit import Unit, model_names


def _params(**train: Any) -> Params:
    values = YAML(typ="safe", pure=True).load(shipped_params())
    values["train"].update(train)
    return Params.parse(values, "test")


def _manifest(digest: str = "d") -> Manifest:
    return Manifest(Path(), "cave", {}, {}, digest)


def _key(model: str = "hrnet", manifest: Manifest | None = None, **train: Any) -> str:
    return Unit.of(model, "rgb_vis", _params(**train), manifest or _manifest()).key


def test_equal_units_have_equal_keys() -> None:
    assert _key() == _key()


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"crop_px": 32}, {"loss": "mrae"}, {"seconds": 61.0}, {"models": {"hrnet": {"width": 32}}}],
)
def test_a_parameter_that_decides_changes_the_key(change: dict[str, Any]) -> None:
    assert _key(**change) != _key()


@pytest.mark.parametrize(
    "change",
    [
        {"slots": 7},
        {"pairs": ["rgb_vis", "msi_nir"]},
        {"models": {"hrnet": {"width": 16}, "mst_plus_plus": {"stages": 3}}},
    ],
)
def test_a_parameter_of_others_does_not(change: dict[str, Any]) -> None:
    assert _key(**change) == _key()


def test_other_data_or_another_model_is_another_unit() -> None:
    assert _key(manifest=_manifest("e")) != _key()
    assert _key("mst_plus_plus") != _key()


def test_a_regression_does_not_depend_on_how_networks_are_trained() -> None:
    assert _key("regression_linear", seed=5) == _key("regression_linear")
    assert Unit.of("regression_linear", "rgb_vis", _params(), _manifest()).regression_kind == "linear"


def test_a_models_own_rate_wins() -> None:
    params = _params(models={"hrnet": {"width": 16, "learning_rate": 5e-4}})
    unit = Unit.of("hrnet", "rgb_vis", params, _manifest())
    assert unit.recipe["learning_rate"] == 5e-4
    assert unit.config == {"width": 16}


def test_the_regressions_come_first() -> None:
    assert model_names(_params())[:2] == ["regression_mean", "regression_linear"]
    assert model_names(_params())[-3:] == ["hscnn_plus", "hrnet", "mst_plus_plus"]


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"`model` must be one of regression_mean, .*got 'unet'"):
        Unit.of("unet", "rgb_vis", _params(), _manifest())
