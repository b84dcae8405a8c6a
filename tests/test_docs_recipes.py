"""The page on recipes says of every recipe what the table of recipes holds."""

import re
import runpy
from pathlib import Path

import pytest

from hyperskin.commands.recipes import RECIPES, TrainingRecipe

DOCS = Path(__file__).parent.parent / "docs"


def _told(row: str) -> list[str]:
    """Return the cells of a row of the page's first table."""
    found = re.search(rf"^\| {re.escape(row)} \|(.*)\|$", (DOCS / "recipes.md").read_text(), re.MULTILINE)
    assert found is not None, row
    return [cell.strip() for cell in found[1].split("|")]


@pytest.mark.parametrize(
    ("row", "say"),
    [
        ("loss", lambda recipe: recipe.loss.upper()),
        ("batch", lambda recipe: recipe.batch_size or "2"),
        ("flips and turns", lambda recipe: "yes" if recipe.augment == "true" else "no"),
        ("epochs, profile `paper`", lambda recipe: recipe.full_epochs),
    ],
)
def test_the_table_says_what_is_done(row: str, say: object) -> None:
    assert callable(say)
    assert _told(row) == [say(recipe) for recipe in RECIPES.values()]


@pytest.mark.parametrize(
    ("row", "word", "does"),
    [
        ("its way to 1e-6", "up in the next", lambda recipe: recipe.schedule == "cosine_per_epoch"),
        ("crops lie", "zeros around", lambda recipe: recipe.padded),
        ("crops lie", "8 px apart", lambda recipe: recipe.crop_stride_px == "8"),
        ("picture of `rgb_vis`", "stretched", lambda recipe: recipe.input_scale == "min_max"),
        ("best epoch by", "masked SAM", lambda recipe: recipe.monitor == "val_sam/masked"),
        ("precision", "fp32", lambda recipe: recipe.precision == "fp32"),
    ],
)
def test_the_table_tells_apart_what_differs(row: str, word: str, does: object) -> None:
    assert callable(does)
    recipes: list[TrainingRecipe] = list(RECIPES.values())
    assert [word in cell for cell in _told(row)] == [does(recipe) for recipe in recipes]


def test_the_rates_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["recipes.py", str(tmp_path / "recipes.png")])
    runpy.run_path(str(DOCS / "recipes.py"), run_name="__main__")
    assert (tmp_path / "recipes.png").stat().st_size > 10_000
