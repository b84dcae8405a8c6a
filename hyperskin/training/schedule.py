"""The learning rate of every step: where on its cosine a training is, and what the rate is there."""

from __future__ import annotations

import math

from hyperskin.training.recipe import Recipe


def find_rate(recipe: Recipe, *, step: int, steps_per_epoch: int, elapsed_s: float = 0.0) -> float:
    """Return the learning rate of the step to come.

    Args:
        recipe: How the network is trained.
        step: Steps done.
        steps_per_epoch: Steps of an epoch.
        elapsed_s: Seconds spent; they count where the recipe limits them.

    Source:
        Loshchilov & Hutter, SGDR: Stochastic gradient descent with warm restarts, ICLR 2017, eq. 5.
    """
    first, last = recipe.learning_rate, recipe.final_learning_rate
    position = _find_position(recipe, step, steps_per_epoch, elapsed_s)
    return last + (first - last) * (1 + math.cos(math.pi * position)) / 2


def _find_position(recipe: Recipe, step: int, steps_per_epoch: int, elapsed_s: float) -> float:
    """Return where on the cosine the training is: 0 to 1 by the limit that is nearer, or counted in epochs.

    Beyond 1 the cosine goes back up, and beyond 2 down again.
    """
    if recipe.schedule == "cosine_per_epoch":
        return step / steps_per_epoch
    fractions = [0.0]
    if recipe.epochs is not None:
        fractions.append(step / (recipe.epochs * steps_per_epoch))
    if recipe.seconds is not None:
        fractions.append(elapsed_s / recipe.seconds)
    return min(1.0, max(fractions))
