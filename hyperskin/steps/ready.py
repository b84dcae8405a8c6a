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


def require_trainable(unit: Unit, manifest: Manifest) -> None:
    """Refuse a unit whose training would be refused before its first step.

    The network is built without memory for its weights, and no pixel is read.

    Raises:
        UnknownNameError: There is no such network, or it has no such size.
        ParamsError: The network cannot have that size, the recipe cannot be followed, or not on this device.
        DataError: A training capture lacks what the pair or the camera needs.
        ShapeError: A crop does not fit into every training capture.
    """
    if unit.regression_kind is None:
        with torch.device("meta"):
            build(unit.model, in_channels=unit.pair.in_channels, out_channels=unit.pair.out_channels, **unit.config)
        precision = make_recipe(unit).precision
        if find_device().type == "cpu" and not survives_on_cpu(precision):
            raise ParamsError(f"`train.precision` must be one this CPU can compute; it dies of {precision}: use fp32.")
    with StoredCaptures(manifest.pair_files("train", unit.pair), unit.pair, camera=unit.recipe["camera"]) as captures:
        if unit.regression_kind is None:
            require_room(captures, unit.recipe["crop_px"])
