"""Whether a training can begin: what would refuse it in its first moments, asked before anything of it is written."""

from __future__ import annotations

import torch

from hyperskin.data.manifest import Manifest
from hyperskin.data.patches import StoredCaptures, require_room
from hyperskin.errors import ParamsError
from hyperskin.models.baselines import build
from hyperskin.steps.fit import make_recipe
from hyperskin.steps.unit import Unit
from hyperskin.training.device import find_device, survives_on_cpu
from hyperskin.training.recipe import Recipe


def require_trainable(unit: Unit, manifest: Manifest) -> None:
    """Refuse a unit whose training would be refused before its first step.

    The network is built without memory for its weights, and no pixel is read.

    Raises:
        UnknownNameError: There is no such network, or it has no such size.
        ParamsError: The network cannot have that size, the recipe cannot be followed, or not on this device.
        DataError: A training capture lacks what the pair or the camera needs.
        ShapeError: A crop does not fit into every training capture.
    """
    recipe = None if unit.regression_kind is not None else _require_network(unit)
    with StoredCaptures(manifest.pair_files("train", unit.pair), unit.pair, cameras=unit.cameras) as captures:
        if recipe is not None:
            require_room(captures, recipe.crop_px, padding_px=recipe.crop_padding_px)


def _require_network(unit: Unit) -> Recipe:
    """Return the recipe of a network that can be built and trained on this device."""
    with torch.device("meta"):
        build(unit.model, in_channels=unit.pair.in_channels, out_channels=unit.pair.out_channels, **unit.config)
    recipe = make_recipe(unit)
    if find_device().type == "cpu" and not survives_on_cpu(recipe.precision):
        raise ParamsError(
            f"`train.precision` must be one this CPU can compute; it dies of {recipe.precision}: use fp32."
        )
    return recipe
