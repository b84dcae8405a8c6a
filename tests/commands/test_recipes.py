"""The table of recipes says what their authors did, at any size, and every word of it can be followed."""

from pathlib import Path
from typing import Any, get_args

import pytest

from hyperskin.commands.choice import PROFILES, Choice
from hyperskin.commands.init import init
from hyperskin.commands.recipes import RECIPES, RecipeName
from hyperskin.data.manifest import Manifest
from hyperskin.params import NETWORKS, Params, TrainParams
from hyperskin.sources.phantom import CAPTURES
from hyperskin.steps.fit import make_recipe
from hyperskin.steps.unit import Unit
from hyperskin.training.recipe import Recipe

HELD_OUT = (("p001",), ("p002",))
NOTHING = Manifest(Path(), "phantom", {}, {}, "d")


def _text(recipe: str, profile: str = "paper", size_px: int | None = None) -> str:
    size = PROFILES[profile]
    chosen = Choice("phantom", profile, recipe, size.subjects, CAPTURES, size_px or size.size_px, 1)  # type: ignore[arg-type]  # parametrised over its values
    return chosen.fill(HELD_OUT)


def _train_params(recipe: str, profile: str = "paper") -> TrainParams:
    return Params.parse_text(_text(recipe, profile), "x").train


def _recipe(name: str, model: str, profile: str = "paper") -> Recipe:
    return make_recipe(Unit.of(model, "rgb_vis", Params.parse_text(_text(name, profile), "x"), NOTHING))


def test_the_names_are_those_of_the_option() -> None:
    assert tuple(RECIPES) == get_args(RecipeName)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_followed_at_every_size(name: str, profile: str) -> None:
    for model in NETWORKS:
        recipe = _recipe(name, model, profile)
        assert (recipe.epochs is None) == (profile != "paper")
        assert recipe.epoch_steps(36) >= 1


@pytest.mark.parametrize("model", NETWORKS)
def test_the_authors_code_is_done_as_it_was_run(model: str) -> None:
    recipe = _recipe("reference-2023", model)
    assert (recipe.epochs, recipe.seconds, recipe.batch_size, recipe.crop_px) == (10, None, 2, 128)
    assert recipe.crop_padding_px == 128  # RandomCrop(128, 128)
    assert (recipe.learning_rate, recipe.final_learning_rate, recipe.schedule) == (4e-4, 1e-6, "cosine_per_epoch")
    assert (recipe.loss, recipe.precision, recipe.augment, recipe.crop_stride_px) == ("l1", "fp32", False, 1)
    assert (recipe.input_scale, recipe.monitor, recipe.validate_every) == ("min_max", "val_mae/full", 1)
    assert recipe.epoch_steps(264) == 132  # as their log of 2025 counts


def test_the_papers_text_is_taken_at_its_numbers() -> None:
    recipe = _recipe("paper", "mst_plus_plus")
    assert (recipe.epochs, recipe.batch_size, recipe.crop_px, recipe.learning_rate) == (100, 2, 128, 4e-4)
    assert (recipe.precision, recipe.augment, recipe.crop_padding_px) == ("fp16", False, 0)
    assert (recipe.loss, recipe.schedule, recipe.epoch_steps(264)) == ("l1", "cosine", 132)


@pytest.mark.parametrize(("model", "rate"), [("hscnn_plus", 2e-4), ("hrnet", 1e-4), ("mst_plus_plus", 4e-4)])
def test_the_toolbox_gives_every_network_its_rate(model: str, rate: float) -> None:
    recipe = _recipe("toolbox", model)
    assert (recipe.learning_rate, recipe.batch_size, recipe.loss) == (rate, 20, "mrae")
    assert (recipe.epochs, recipe.steps_per_epoch) == (300, 1000)
    assert (recipe.crop_px, recipe.crop_stride_px, recipe.crop_padding_px, recipe.augment) == (128, 8, 0, True)
    assert (recipe.schedule, recipe.input_scale, recipe.monitor) == ("cosine", "min_max", "val_mrae/full")


def test_ours_is_what_the_profile_says_with_nothing_borrowed() -> None:
    assert _recipe("ours", "hscnn_plus", "demo") == Recipe(
        epochs=None, seconds=75.0, steps_per_epoch=100, crop_px=32, batch_size=2, learning_rate=1e-3, seed=1,
        channels_last=True,
    )  # fmt: skip
    full = _recipe("ours", "mst_plus_plus")
    assert (full.epochs, full.steps_per_epoch, full.learning_rate, full.augment) == (100, 132, 4e-4, True)


def test_a_recipe_changes_no_size_and_a_profile_no_way_of_training() -> None:
    sizes = ("pairs", "models", "seconds", "crop_px", "slots", "seed", "camera")
    ways = ("loss", "schedule", "input_scale", "monitor", "augment", "crop_stride_px")
    for name in RECIPES:
        for profile in PROFILES:
            mine, ours = _train_params(name, profile), _train_params("ours", profile)
            assert _only(mine, sizes) == _only(ours, sizes)
            assert _only(mine, ways) == _only(_train_params(name, "paper"), ways)


def _only(train: TrainParams, names: tuple[str, ...]) -> dict[str, Any]:
    values = train.model_dump(include=set(names))
    if "models" in values:
        values["models"] = {name: train.models[name].config() for name in train.models}
    return values


def test_the_padding_is_as_wide_as_the_crop_also_on_small_frames() -> None:
    train = Params.parse_text(_text("reference-2023", "demo", size_px=20), "x").train
    assert (train.crop_px, train.crop_padding_px) == (16, 16)


@pytest.mark.parametrize("name", RECIPES)
def test_params_yaml_names_its_recipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    init(recipe=name)  # type: ignore[arg-type]  # parametrised over its values
    text = Path("params.yaml").read_text()
    assert f"# recipe {name}: {RECIPES[name].explanation}\n" in text  # type: ignore[index]  # likewise
    assert f"--profile demo --recipe {name}`" in text
    section = text.partition("\ntrain:\n")[2].partition("\nsweep:")[0]
    assert max(map(len, section.splitlines())) <= 130


def test_the_help_tells_every_recipe_and_how_long_it_takes() -> None:
    told = " ".join((init.__doc__ or "").split()).partition("A recipe says")[2]
    for name, recipe in RECIPES.items():
        (line,) = (line for line in told.split(" - ") if line.startswith(f"{name}: "))
        assert name == "ours" or f"{recipe.full_epochs} epochs" in line


def test_another_recipe_that_nobody_edited_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    init(recipe="toolbox")
    init(recipe="reference-2023", profile="study")
    init()
    assert Params.read().train.monitor == "val_sam/masked"
