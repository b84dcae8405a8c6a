"""Each word of a recipe does what it says, and a training under it can be interrupted anywhere."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from hyperskin.data.frames import read_frame
from hyperskin.data.patches import draw_crops
from hyperskin.errors import ParamsError
from hyperskin.pairs import find_pair
from hyperskin.training.recipe import Recipe
from tests.training.job import RECIPE, Job, assert_equal, make_network, weights_of

Fresh = Callable[[], Job]

REFERENCE = replace(
    RECIPE,
    steps_per_epoch=4,
    schedule="cosine_per_epoch",
    crop_padding_px=16,
    augment=False,
    input_scale="min_max",
)
TOOLBOX = replace(RECIPE, loss="mrae", crop_stride_px=8, batch_size=4, input_scale="min_max")
ONE_CROP_EACH = replace(REFERENCE, steps_per_epoch=None, batch_size=1)


# One crop of every capture


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 2), (2, 1), (3, 1)])
def test_an_epoch_without_a_length_is_one_crop_of_every_capture(job: Job, batch_size: int, steps: int) -> None:
    counted = []
    job.run(
        replace(RECIPE, epochs=2, steps_per_epoch=None, batch_size=batch_size),
        progress=lambda steps, **_: counted.append(len(steps)) or steps,
    )
    assert counted == [steps, steps]


@pytest.mark.parametrize(("captures", "batch_size", "steps"), [(264, 2, 132), (5, 2, 2), (1, 2, 1), (36, 20, 1)])
def test_a_batch_that_is_not_full_is_dropped(captures: int, batch_size: int, steps: int) -> None:
    recipe = replace(RECIPE, steps_per_epoch=None, batch_size=batch_size)
    assert recipe.epoch_steps(captures) == steps
    assert replace(recipe, steps_per_epoch=7).epoch_steps(captures) == 7


# Zeros around the frame


def test_zeros_around_the_frame_count_in_the_loss(job: Job) -> None:
    """With a network that answers a constant, the loss is the mean distance to what the crops hold, zeros included."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.tensor(0.25))

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self.level.expand(batch.shape[0], 31, *batch.shape[2:])

    job.files = job.files[:1]
    recipe = replace(RECIPE, epochs=1, steps_per_epoch=1, batch_size=8, crop_padding_px=16, augment=False)
    loss = job.run(recipe, Constant()).history[0].metrics["train/loss"]
    reference = read_frame(job.files[0], find_pair("rgb_vis"), camera="cie").reference
    padded = np.pad(reference, ((16, 16), (16, 16), (0, 0)))
    crops = draw_crops([(24, 32)], 8, crop_px=16, augment=False, seed=recipe.seed, epoch=1, padding_px=16)
    parts = [padded[crop.top + 16 : crop.top + 32, crop.left + 16 : crop.left + 32] for crop in crops]
    assert loss == pytest.approx(float(np.abs(0.25 - np.stack(parts)).mean()), rel=1e-5)
    assert any((part == 0).all(axis=2).any() for part in parts)


def test_crops_of_little_but_zeros_do_not_pass_for_an_explosion_later(job: Job) -> None:
    """A network that answers 0 is right on zeros; with one crop an epoch, losses differ by what happens to be in it."""
    job.files = job.files[:1]
    network = nn.Conv2d(3, 31, 1, bias=False)
    nn.init.zeros_(network.weight)
    recipe = replace(
        RECIPE, epochs=30, steps_per_epoch=None, batch_size=1, crop_padding_px=15, learning_rate=1e-6, seed=3
    )
    trained = job.run(recipe, network, validate=lambda _: {"val_sam/masked": 1.0})
    losses = [epoch.metrics["train/loss"] for epoch in trained.history]
    assert any(min(losses[i - 3 : i]) > 10 * min(losses[:i]) > 0 for i in range(4, 31))  # else this would be no test


# Stretched pictures


def test_a_network_learns_from_stretched_pictures(fresh: Fresh) -> None:
    """What light fell on a face cannot be learnt then: half the light in every picture gives the same weights."""
    one, other = fresh(), fresh()
    for file in one.files:
        with h5py.File(file.inputs, "r+") as opened:
            opened["rgb/cie"][...] = opened["rgb/cie"][...] // 2 * 2  # even, so that halves are exact
    recipe = replace(RECIPE, epochs=1, input_scale="min_max")
    bright = one.run(recipe)
    for file in one.files:
        with h5py.File(file.inputs, "r+") as opened:
            opened["rgb/cie"][...] = opened["rgb/cie"][...] // 2 + 16
    dark = other.run(recipe)
    for name, weights in weights_of(bright.network).items():
        torch.testing.assert_close(weights, weights_of(dark.network)[name], rtol=0, atol=1e-5)


# Going on in the middle


@pytest.mark.parametrize("recipe", [REFERENCE, TOOLBOX, ONE_CROP_EACH], ids=["reference", "toolbox", "one crop each"])
def test_equal_recipes_give_equal_weights(fresh: Fresh, recipe: Recipe) -> None:
    one, other = fresh().run(recipe), fresh().run(recipe)
    assert_equal(weights_of(one.network), weights_of(other.network))
    assert [epoch.metrics for epoch in one.history] == [epoch.metrics for epoch in other.history]


@pytest.mark.parametrize("at", [2, 3, 4, 6, 7, 9, 12, 15])
@pytest.mark.parametrize("recipe", [REFERENCE, ONE_CROP_EACH], ids=["reference", "one crop each"])
def test_stopped_within_an_epoch_whose_rate_goes_up_or_down_it_ends_as_the_whole(
    fresh: Fresh, recipe: Recipe, at: int
) -> None:
    whole, job = fresh().run(recipe), fresh()
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == at

    try:
        resumed = job.run(recipe, should_stop=should_stop)
    except KeyboardInterrupt:
        resumed = job.run(recipe, make_network(seed=99) if job.checkpoint.exists() else None)
    assert_equal(weights_of(resumed.network), weights_of(whole.network))
    assert [epoch.metrics for epoch in resumed.history] == [epoch.metrics for epoch in whole.history]


@pytest.mark.parametrize("at", [3, 5])
def test_stopped_within_an_epoch_its_other_light_is_that_of_the_whole(fresh: Fresh, at: int) -> None:
    recipe = replace(RECIPE, exposure_jitter=0.7)
    whole, job = fresh().run(recipe), fresh()
    asked = iter(range(1, at + 1))
    with pytest.raises(KeyboardInterrupt):
        job.run(recipe, should_stop=lambda: next(asked) == at)
    assert_equal(weights_of(job.run(recipe, make_network(seed=99)).network), weights_of(whole.network))
    with pytest.raises(AssertionError):
        assert_equal(weights_of(whole.network), weights_of(fresh().run(RECIPE).network))


# Slips


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "step"}, "`train.schedule` must be one of cosine, cosine_per_epoch; got 'step'"),
        ({"input_scale": "z"}, "`train.input_scale` must be one of fixed, min_max; got 'z'"),
        ({"exposure_jitter": 1.5}, "`train.exposure_jitter` must lie between 0 and 1; got 1.5"),
        ({"exposure_jitter": 0.7, "input_scale": "min_max"}, "must be 0 where `train.input_scale` is min_max.*got 0.7"),
        ({"crop_padding_px": -1}, "`train.crop_padding_px` must be at least 0; got -1"),
        ({"crop_stride_px": 0}, "`train.crop_stride_px` must be at least 1; got 0"),
        ({"steps_per_epoch": 0}, "`train.steps_per_epoch` must be at least 1; got 0"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        replace(RECIPE, **change)
