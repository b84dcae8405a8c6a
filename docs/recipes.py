"""Draw the learning rate of every recipe, step by step over a whole training of MST++ on 264 captures.

python docs/recipes.py docs/pictures/recipes.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperskin.commands.choice import bare_params
from hyperskin.commands.recipes import RECIPES, RecipeName
from hyperskin.data.manifest import Manifest
from hyperskin.params import Params
from hyperskin.pictures import save_figure
from hyperskin.steps.fit import make_recipe
from hyperskin.steps.unit import Unit
from hyperskin.training.recipe import Recipe
from hyperskin.training.schedule import find_rate

CAPTURES = 264  # for training in the released archive
_MOST_POINTS = 4000


def main() -> None:
    """Draw one panel a recipe, all on one scale of rates."""
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    panels = figure.subplots(1, len(RECIPES), sharey=True)
    for axes, name in zip(panels, RECIPES, strict=True):
        _draw(axes, name, _full_recipe(name))
    panels[0].set_ylabel("learning rate / 1e-4")
    figure.supxlabel("epochs", fontsize="medium")
    save_figure(figure, path=Path(sys.argv[1]))


def _full_recipe(name: RecipeName) -> Recipe:
    """Return a recipe as the profile paper has it."""
    params = Params.parse_text(bare_params("paper", name), name)
    return make_recipe(Unit.of("mst_plus_plus", "rgb_vis", params, Manifest(Path(), "hyperskin", {}, {}, "")))


def _draw(axes: Axes, name: str, recipe: Recipe) -> None:
    assert recipe.epochs is not None
    steps = recipe.epoch_steps(CAPTURES)
    shown = range(0, recipe.epochs * steps, max(1, recipe.epochs * steps // _MOST_POINTS))
    rates = [1e4 * find_rate(recipe, step=step, steps_per_epoch=steps) for step in shown]
    axes.plot([step / steps for step in shown], rates, linewidth=1.2)
    axes.set_title(f"{name}\n{recipe.epochs} epochs of {steps} steps", fontsize="medium")
    axes.set_ylim(0, None)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main()
