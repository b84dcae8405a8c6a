"""The two ways to a reconstruction: a regression in closed form, or a network trained step by step."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from hyperskin.data.frames import Frame, PairFiles, read_frame, read_views
from hyperskin.data.manifest import Manifest
from hyperskin.data.tensors import cube_to_tensor, tensor_to_cube
from hyperskin.metrics.pointwise import mae, mrae
from hyperskin.metrics.sam import sam
from hyperskin.metrics.ssim import ssim
from hyperskin.models.baselines import build, parameter_count
from hyperskin.models.regression import RegressionSums
from hyperskin.models.stretched import Stretched, stretch
from hyperskin.pairs import Pair
from hyperskin.steps.evaluate import Reconstruct
from hyperskin.steps.unit import Unit
from hyperskin.training.loop import train
from hyperskin.training.recipe import Epoch, Recipe
from hyperskin.training.reconstruct import reconstruct

_DATA_RANGE = 1.0
_ERRORS = {"val_mae/full": mae, "val_mrae/full": mrae}  # validated where they choose the best epoch
Capture = TypeVar("Capture")


@runtime_checkable
class StartsFromCaptures(Protocol):
    """A network that has weights to begin a training with from what it is to be trained on."""

    def start(self, frames: Iterable[Frame]) -> None:
        """Take such weights; the captures come once, as each camera saw them."""


@dataclass(frozen=True)
class Fitted:
    """A way to reconstruct, and what is known of how it came about.

    Attributes:
        reconstruct: Input to cube.
        parameter_count: Numbers that were fitted.
        network: The network, with the scaling of its input; None for a regression.
        metrics: Numbers for the run, such as the best epoch.
    """

    reconstruct: Reconstruct
    parameter_count: int
    network: nn.Module | None
    metrics: dict[str, float]


def fit_regression(unit: Unit, manifest: Manifest, should_stop: Callable[[], bool]) -> Fitted:
    """Fit a regression to every valid pixel of the training captures as each camera saw it, a capture at a time.

    It is held against the validation captures as the networks are, who need that to choose an epoch: their learning
    curves say when, if ever, they pass it.
    """
    assert unit.regression_kind is not None
    sums = RegressionSums(
        unit.regression_kind, unit.pair.in_channels, unit.pair.out_channels, transfer=unit.recipe["transfer"]
    )
    for frame in _read_training(unit, manifest, should_stop):
        sums.add(frame.input[frame.valid], frame.reference[frame.valid])
    regression = sums.solve(ridge=unit.recipe["ridge"])
    files = manifest.pair_files("valid", unit.pair) if manifest.of_split("valid") else []  # it chooses nothing by them
    found = validate(regression.reconstruct, until_stopped(files, should_stop), unit.pair, cameras=unit.cameras)
    metrics = {"train/pixels": float(sums.count), **found}
    return Fitted(regression.reconstruct, regression.parameter_count, None, metrics)


def fit_network(
    unit: Unit,
    manifest: Manifest,
    *,
    device: torch.device,
    checkpoint: Path,
    on_epoch: Callable[[Epoch], None],
    should_stop: Callable[[], bool],
) -> Fitted:
    """Train a network, choosing the epoch by `train.monitor` on the validation captures.

    Args:
        unit: What to train on what.
        manifest: The data.
        device: Where to train.
        checkpoint: Written after every epoch and when asked to stop; continued from where it exists.
        on_epoch: Called with every epoch once it is saved, those of earlier attempts included.
        should_stop: Asked after every step and every validated capture.

    Raises:
        KeyboardInterrupt: `should_stop` said so.
    """
    torch.manual_seed(unit.recipe["seed"])
    network = build(
        unit.model, in_channels=unit.pair.in_channels, out_channels=unit.pair.out_channels, **unit.config
    ).to(device)
    validation = manifest.pair_files("valid", unit.pair)
    recipe = make_recipe(unit)
    whole_frames = Stretched if recipe.stretches(unit.pair) else _as_it_is

    def start() -> None:
        if isinstance(network, StartsFromCaptures):
            frames = _read_training(unit, manifest, should_stop)
            network.start(map(_stretch_frame, frames) if recipe.stretches(unit.pair) else frames)

    trained = train(
        network,
        files=manifest.pair_files("train", unit.pair),
        pair=unit.pair,
        cameras=unit.cameras,
        recipe=recipe,
        device=device,
        validate=lambda candidate: validate(
            lambda given: reconstruct(whole_frames(candidate), given, device=device),
            until_stopped(validation, should_stop),
            unit.pair,
            cameras=unit.cameras,
            monitor=recipe.monitor,
        ),
        checkpoint=checkpoint,
        unit_key=unit.key,
        made_with=unit.facts(),
        start=start,
        on_epoch=on_epoch,
        should_stop=should_stop,
        progress=_bar,
    )
    result = whole_frames(trained.network)
    return Fitted(
        reconstruct=lambda given: reconstruct(result, given, device=device),
        parameter_count=parameter_count(result),
        network=result,
        metrics={"train/best_epoch": float(trained.best_epoch), "train/best_val": trained.best_value},
    )


def until_stopped(captures: Iterable[Capture], should_stop: Callable[[], bool]) -> Iterator[Capture]:
    """Give captures until asked to stop, and stop then as Ctrl-C does."""
    for capture in captures:
        if should_stop():
            raise KeyboardInterrupt
        yield capture


def make_recipe(unit: Unit) -> Recipe:
    """Return the recipe of a network's unit; convolution networks run channels last."""
    known = {field.name for field in fields(Recipe)}
    values = {name: value for name, value in unit.recipe.items() if name in known}
    return Recipe(**values, channels_last=is_channels_last(unit.model))


def is_channels_last(model: str) -> bool:
    """Tell how a network's tensors lie, where it is trained as where it is examined: the last digits depend on it."""
    return model != "mst_plus_plus"


def validate(
    reconstruct_frame: Reconstruct, files: Iterable[PairFiles], pair: Pair, *, cameras: Sequence[str], monitor: str = ""
) -> dict[str, float]:
    """Return means over the validation captures: angle and similarity, masked and full, and the error `monitor` names.

    Args:
        reconstruct_frame: Input to cube.
        files: The captures.
        pair: The reconstruction task.
        cameras: Whose RGB goes in; several take turns, a capture each, so that they cost no more than one.
        monitor: The metric that chooses the best epoch; empty where there are none.
    """
    found: dict[str, list[float]] = {}
    for file, camera in zip(files, itertools.cycle(cameras), strict=False):  # files first: none is taken for nothing
        frame = read_frame(file, pair, camera=camera)
        estimate = reconstruct_frame(frame.input)
        regions = {"full": frame.valid}
        if frame.mask is not None:
            regions["masked"] = frame.valid & frame.mask
        for region, chosen in regions.items():
            angle = sam(estimate, frame.reference, chosen).value
            similarity = ssim(estimate, frame.reference, chosen, data_range=_DATA_RANGE).value
            found.setdefault(f"val_sam/{region}", []).append(angle)
            found.setdefault(f"val_ssim/{region}", []).append(similarity)
        if monitor in _ERRORS:
            found.setdefault(monitor, []).append(_ERRORS[monitor](estimate, frame.reference, frame.valid))
    return {key: float(np.mean(values)) for key, values in found.items()}


def _read_training(unit: Unit, manifest: Manifest, should_stop: Callable[[], bool]) -> Iterator[Frame]:
    """Give the training captures as each camera saw them, one at a time."""
    files = manifest.pair_files("train", unit.pair)
    for file in until_stopped(tqdm(files, desc=f"fit {unit.model}", unit="capture", disable=None), should_stop):
        yield from read_views(file, unit.pair, cameras=unit.cameras)


def _stretch_frame(frame: Frame) -> Frame:
    """Return a frame whose picture is stretched as `Stretched` does before its network."""
    stretched = stretch(cube_to_tensor(frame.input)[None])[0]
    return replace(frame, input=tensor_to_cube(stretched))


def _as_it_is(network: nn.Module) -> nn.Module:
    return network


def _bar(steps: Iterable[int], **description: Any) -> Iterable[int]:
    return tqdm(steps, disable=None, leave=False, file=sys.stderr, **description)
