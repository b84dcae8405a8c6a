"""The rate follows torch's cosine step by step, within a training and beyond the end of an epoch's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from hyperskin.training.recipe import Recipe
from hyperskin.training.schedule import find_rate
from tests.training.job import RECIPE, Job

PER_EPOCH = replace(RECIPE, schedule="cosine_per_epoch")


def _torch_rates(recipe: Recipe, *, period: int, count: int) -> list[float]:
    """Rates of torch's own cosine, stepped after every batch, perhaps far beyond its end."""
    optimiser = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, period, eta_min=recipe.final_learning_rate)
    rates = []
    for _ in range(count):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cosine.step()
    return rates


@pytest.mark.parametrize("steps", [1, 2, 5, 18, 132])
def test_the_rate_goes_on_as_torchs_cosine_does_beyond_its_end(steps: int) -> None:
    count = 10 * steps + 3
    rates = [find_rate(PER_EPOCH, step=step, steps_per_epoch=steps) for step in range(count)]
    assert rates == pytest.approx(_torch_rates(PER_EPOCH, period=steps, count=count), rel=1e-9)


@pytest.mark.parametrize("epochs", [1, 3, 100])
def test_the_rate_falls_over_the_whole_training_as_torchs_does(epochs: int) -> None:
    recipe = replace(RECIPE, epochs=epochs)
    rates = [find_rate(recipe, step=step, steps_per_epoch=7) for step in range(7 * epochs)]
    assert rates == pytest.approx(_torch_rates(recipe, period=7 * epochs, count=7 * epochs), rel=1e-9)


def test_the_rate_by_hand() -> None:
    recipe = replace(PER_EPOCH, learning_rate=3e-3, final_learning_rate=1e-3)
    rates = [find_rate(recipe, step=step, steps_per_epoch=2) for step in range(9)]
    assert rates == pytest.approx([3e-3, 2e-3, 1e-3, 2e-3, 3e-3, 2e-3, 1e-3, 2e-3, 3e-3], rel=1e-12)


def test_time_moves_one_cosine_and_not_those_of_epochs() -> None:
    late = {"step": 0, "steps_per_epoch": 5, "elapsed_s": 30.0}
    limited = replace(RECIPE, seconds=60.0, learning_rate=3e-3, final_learning_rate=1e-3)
    assert find_rate(limited, **late) == pytest.approx(2e-3)
    assert find_rate(replace(limited, schedule="cosine_per_epoch"), **late) == 3e-3


@pytest.mark.parametrize("steps", [1, 3])
def test_every_step_is_taken_at_its_rate(job: Job, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    original: Callable[..., Any] = torch.optim.Adam.step

    def step(self: torch.optim.Adam, *arguments: Any, **named: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return original(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    trained = job.run(replace(PER_EPOCH, epochs=4, steps_per_epoch=steps))
    assert rates == [find_rate(PER_EPOCH, step=number, steps_per_epoch=steps) for number in range(4 * steps)]
    told = [epoch.metrics["train/learning_rate"] for epoch in trained.history]
    assert told == rates[steps - 1 :: steps]
