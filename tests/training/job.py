"""A small training on small captures, and what it told on the way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hyperskin.data.frames import PairFiles, read_frame
from hyperskin.pairs import find_pair
from hyperskin.training.loop import train
from hyperskin.training.recipe import Epoch, Recipe, Trained
from hyperskin.training.reconstruct import reconstruct

CPU = torch.device("cpu")
RECIPE = Recipe(
    epochs=4, seconds=None, steps_per_epoch=5, crop_px=16, batch_size=2, learning_rate=5e-3, loss="l1", seed=7
)


class KillError(Exception):
    """Stands for a kill at that point."""


def make_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(12, 31, 1),  # the dropout draws globally
    )


class Job:
    """Arguments of `train`, and what it told on the way."""

    def __init__(self, folder: Path, files: list[PairFiles]) -> None:
        self.files = files
        self.checkpoint = folder / "last.pt"
        self.epochs: list[Epoch] = []
        self.validated: list[int] = []

    def validate(self, network: nn.Module, should_stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        self.validated.append(len(self.epochs) + 1)
        found = []
        for file in self.files:
            if should_stop():
                raise KeyboardInterrupt
            frame = read_frame(file, find_pair("rgb_vis"), camera="cie")
            found.append(np.abs(reconstruct(network, frame.input, device=CPU) - frame.reference).mean())
        return {"val_sam/masked": float(np.mean(found))}

    def run(self, recipe: Recipe = RECIPE, network: nn.Module | None = None, **changes: Any) -> Trained:
        arguments: dict[str, Any] = {
            "files": self.files,
            "pair": find_pair("rgb_vis"),
            "cameras": ["cie"],
            "recipe": recipe,
            "device": CPU,
            "validate": self.validate,
            "checkpoint": self.checkpoint,
            "unit_key": "unit",
            "on_epoch": self.epochs.append,
            **changes,
        }
        return train(network if network is not None else make_network(), **arguments)


def slow_network(clock: list[float], seconds: float) -> nn.Module:
    """Return a network whose every pass in training takes `seconds`."""

    class Slow(nn.Conv2d):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if self.training:
                clock[0] += seconds
            return super().forward(batch)

    torch.manual_seed(0)
    return Slow(3, 31, 1)


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(other)
    for name in one:
        assert torch.equal(one[name], other[name]), name
