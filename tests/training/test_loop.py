"""A training learns, stops by itself, and refuses what leads nowhere."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hyperskin.data.frames import PairFiles, read_frame
from hyperskin.errors import DataError, ParamsError, ShapeError, UnknownNameError
from hyperskin.pairs import find_pair
from hyperskin.training import loop
from hyperskin.training.checkpoint import load_checkpoint
from hyperskin.training.device import DTYPES, survives_on_cpu
from hyperskin.training.recipe import DivergedError, Recipe
from hyperskin.training.reconstruct import reconstruct
from tests.training.job import RECIPE, Job, assert_equal, make_network, slow_network, weights_of

WriteCapture = Callable[..., PairFiles]


# Learning


def test_the_loss_falls_and_the_estimate_improves(job: Job) -> None:
    trained = job.run(replace(RECIPE, epochs=8, steps_per_epoch=20))
    first, last = trained.history[0].metrics, trained.history[-1].metrics
    assert last["train/loss"] < 0.5 * first["train/loss"]
    assert last["val_sam/masked"] < 0.7 * first["val_sam/masked"]


def test_every_epoch_is_told_with_its_numbers(job: Job) -> None:
    trained = job.run()
    assert [epoch.number for epoch in job.epochs] == [1, 2, 3, 4]
    assert trained.history == tuple(job.epochs)
    assert trained.stopped == "epochs"
    assert set(job.epochs[0].metrics) == {"train/loss", "train/learning_rate", "val_sam/masked"}
    assert all(epoch.crops_per_second > 0 and epoch.seconds > 0 for epoch in job.epochs)


def test_one_step_is_a_step_of_adam_on_the_loss(job: Job) -> None:
    network = nn.Conv2d(3, 31, 1, bias=False)
    before = network.weight.detach().clone()
    job.run(replace(RECIPE, epochs=1, steps_per_epoch=1), network)
    moved = network.weight.detach() - before
    # The first step of Adam is the rate times the gradient's sign; the gradient of |e - r| is never 0 here.
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, RECIPE.learning_rate), rtol=1e-3, atol=0)


def test_invalid_pixels_teach_nothing(job: Job, write_capture: WriteCapture) -> None:
    job.files = [write_capture("p003_neutral_front", invalid=(slice(None), slice(None)))]
    network = make_network()
    before = weights_of(network)
    job.run(network=network)
    assert_equal(weights_of(network), before)


def test_the_progress_bar_is_called_as_tqdm_is(job: Job) -> None:
    calls = []

    def progress(steps: range, **description: object) -> range:
        calls.append((len(steps), description))
        return steps

    job.run(replace(RECIPE, epochs=2), progress=progress)
    assert calls == [
        (5, {"desc": "epoch 1", "unit": " crops", "unit_scale": 2}),
        (5, {"desc": "epoch 2", "unit": " crops", "unit_scale": 2}),
    ]


def test_an_epoch_is_one_line_in_the_log(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hyperskin.training"):
        job.run(replace(RECIPE, epochs=2))
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("epoch 2: train/loss 0.")
    assert "crops/s" in caplog.messages[1]


# The learning rate


def _reference_rates(recipe: Recipe, steps: int) -> list[float]:
    """Rates of torch's own cosine."""
    optimiser = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=recipe.final_learning_rate)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cosine.step()
    return rates


def test_the_rate_follows_one_cosine_over_the_whole_training(job: Job) -> None:
    recipe = replace(RECIPE, steps_per_epoch=1, epochs=20)
    rates = [epoch.metrics["train/learning_rate"] for epoch in job.run(recipe).history]
    assert rates == pytest.approx(_reference_rates(recipe, 20), rel=1e-6)
    assert rates[0] == recipe.learning_rate
    assert rates == sorted(rates, reverse=True)


def test_a_training_that_ends_by_time_ends_with_the_low_rate(job: Job, clock: list[float]) -> None:
    recipe = replace(RECIPE, epochs=1000, seconds=50.0)
    trained = job.run(recipe, slow_network(clock, 1.0))
    rates = [epoch.metrics["train/learning_rate"] for epoch in trained.history]
    assert trained.stopped == "seconds"
    assert len(trained.history) == 10
    assert rates[-1] < 0.01 * recipe.learning_rate
    assert rates == sorted(rates, reverse=True)


def test_the_nearer_limit_leads_the_rate(job: Job, clock: list[float]) -> None:
    recipe = replace(RECIPE, epochs=4, seconds=1000.0)
    with_both = job.run(recipe, slow_network(clock, 1.0)).history
    assert [epoch.metrics["train/learning_rate"] for epoch in with_both][-1] == pytest.approx(
        _reference_rates(recipe, 20)[-1], rel=1e-6
    )


# Stopping


def test_time_cuts_an_epoch_short_and_still_validates_it(job: Job, clock: list[float]) -> None:
    recipe = replace(RECIPE, epochs=None, seconds=7.5, validate_every=100)
    trained = job.run(recipe, slow_network(clock, 1.0))
    assert trained.stopped == "seconds"
    assert [epoch.number for epoch in trained.history] == [1, 2]
    assert "val_sam/masked" in trained.history[1].metrics
    assert trained.history[1].seconds == pytest.approx(3.0)
    assert trained.elapsed_s == pytest.approx(8.0)


def test_at_least_one_step_is_taken(job: Job, clock: list[float]) -> None:
    trained = job.run(replace(RECIPE, epochs=None, seconds=0.001), slow_network(clock, 1.0))
    assert len(trained.history) == 1


def test_crops_per_second_leave_validation_out(job: Job, clock: list[float]) -> None:
    def validate(network: nn.Module) -> dict[str, float]:
        clock[0] += 100
        return job.validate(network)

    trained = job.run(replace(RECIPE, epochs=1), slow_network(clock, 2.0), validate=validate)
    assert trained.history[0].crops_per_second == pytest.approx(1.0)  # 10 crops in 10 s
    assert trained.history[0].seconds == pytest.approx(110)


def test_steps_and_their_seconds_add_up_over_epochs_without_validation(job: Job, clock: list[float]) -> None:
    def validate(network: nn.Module) -> dict[str, float]:
        clock[0] += 100
        return job.validate(network)

    recipe = replace(RECIPE, epochs=None, seconds=115)
    history = job.run(recipe, slow_network(clock, 2.0), validate=validate).history
    assert [epoch.steps for epoch in history] == [5, 8]
    assert [epoch.steps_s for epoch in history] == pytest.approx([10.0, 16.0])


def test_validation_comes_as_often_as_asked_and_at_the_end(job: Job) -> None:
    trained = job.run(replace(RECIPE, epochs=5, validate_every=2))
    assert job.validated == [2, 4, 5]
    assert ["val_sam/masked" in epoch.metrics for epoch in trained.history] == [False, True, False, True, True]


# The best epoch


def _scores(*values: float, name: str = "val_sam/masked") -> Callable[[nn.Module], dict[str, float]]:
    remaining = iter(values)
    return lambda network: {name: next(remaining)}


def test_the_best_epochs_weights_come_back(job: Job) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def validate(network: nn.Module) -> dict[str, float]:
        assert not network.training
        seen.append(weights_of(network))
        return {"val_sam/masked": [0.5, 0.1, 0.3, 0.2][len(seen) - 1]}

    trained = job.run(validate=validate)
    assert (trained.best_epoch, trained.best_value) == (2, 0.1)
    assert_equal(weights_of(trained.network), seen[1])
    assert not trained.network.training


def test_of_equal_epochs_the_first_is_best(job: Job) -> None:
    assert job.run(validate=_scores(0.5, 0.1, 0.1, 0.1)).best_epoch == 2


def test_a_training_without_masks_goes_by_the_whole_frame(job: Job) -> None:
    assert job.run(validate=_scores(0.5, 0.4, 0.1, 0.2, name="val_sam/full")).best_epoch == 3


def test_a_monitor_that_nobody_measures_is_refused(job: Job) -> None:
    with pytest.raises(UnknownNameError, match=r"`train.monitor` must be one of val_psnr/full; got 'val_sam/masked'"):
        job.run(validate=_scores(1.0, name="val_psnr/full"))


def test_an_epoch_that_cannot_be_measured_is_never_best(job: Job) -> None:
    assert job.run(validate=_scores(math.nan, 0.3, math.nan, 0.4)).best_epoch == 2
    with pytest.raises(DivergedError, match=r"must give a finite 'val_sam/masked'; none of 4 did"):
        job.run(validate=_scores(*[math.nan] * 4), checkpoint=job.checkpoint.parent / "other" / "last.pt")


# Determinism


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_same_seed_twice_gives_the_same_weights(
    fresh: Callable[[], Job], channels_last: bool, cache_bytes: int
) -> None:
    recipe = replace(RECIPE, channels_last=channels_last)
    one, other = (fresh().run(recipe, cache_bytes=cache_bytes) for _ in range(2))
    assert_equal(weights_of(one.network), weights_of(other.network))
    assert [epoch.metrics for epoch in one.history] == [epoch.metrics for epoch in other.history]


def test_cached_and_stored_captures_give_the_same_weights(fresh: Callable[[], Job]) -> None:
    cached, stored = fresh().run(cache_bytes=1 << 30), fresh().run(cache_bytes=0)
    assert_equal(weights_of(cached.network), weights_of(stored.network))


def test_another_seed_gives_other_weights(fresh: Callable[[], Job]) -> None:
    one, other = fresh().run(), fresh().run(replace(RECIPE, seed=8))
    assert not torch.equal(next(one.network.parameters()), next(other.network.parameters()))


def test_the_layout_of_tensors_changes_the_weights_by_rounding_only(fresh: Callable[[], Job]) -> None:
    def network() -> nn.Module:  # a dropout would draw in the order of memory
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 31, 3, padding=1))

    plain, turned = fresh().run(network=network()), fresh().run(replace(RECIPE, channels_last=True), network())
    for name, weights in weights_of(plain.network).items():
        torch.testing.assert_close(weights, weights_of(turned.network)[name], rtol=0, atol=1e-3)


# Divergence


class Exploding(nn.Conv2d):
    """Answers with `value` from pass number `first_bad` of training on."""

    def __init__(self, first_bad: int, value: float) -> None:
        super().__init__(3, 31, 1)
        self.passes = 0
        self.first_bad = first_bad
        self.value = value

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.passes += self.training
        estimate = super().forward(batch)
        return estimate * self.value if self.training and self.passes >= self.first_bad else estimate


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("first_bad", [6, 8, 10])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    job: Job, first_bad: int, value: float
) -> None:
    message = rf"The loss must stay finite; it became (nan|inf) in step {first_bad - 5} of epoch 2"
    with pytest.raises(DivergedError, match=message):
        job.run(network=Exploding(first_bad, value))
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert kept.epoch == 1
    assert all(torch.isfinite(weights).all() for weights in kept.network.values())
    assert [epoch.number for epoch in job.epochs] == [1]


def test_weights_that_are_no_numbers_are_never_saved(job: Job) -> None:
    class Poisoned(nn.Conv2d):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            estimate = super().forward(batch)
            if self.training:
                estimate.register_hook(lambda gradient: gradient * math.nan)
            return estimate

    with pytest.raises(DivergedError, match=r"Weights must stay finite; weight does not after epoch 1"):
        job.run(replace(RECIPE, steps_per_epoch=1), Poisoned(3, 31, 1))
    assert not job.checkpoint.exists()


def test_a_loss_that_stays_exploded_stops(job: Job) -> None:
    with pytest.raises(DivergedError, match=r"10 times above its best of .*it did for 3 epochs up to 5"):
        job.run(replace(RECIPE, epochs=10), Exploding(11, 1e6))
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert kept.epoch == 4


# Half precision


def test_half_precision_is_refused_where_the_cpu_would_die(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "survives_on_cpu", lambda precision: precision == "fp32")
    with pytest.raises(ParamsError, match=r"`train.precision` must be one this CPU can compute; it dies of bf16"):
        job.run(replace(RECIPE, precision="bf16"))
    job.run()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_where_the_cpu_allows_it(fresh: Callable[[], Job], precision: Any) -> None:
    if not survives_on_cpu(precision):
        pytest.skip(f"this CPU dies of {precision}")
    recipe = replace(RECIPE, epochs=3, steps_per_epoch=20)
    half, full = fresh().run(replace(recipe, precision=precision)), fresh().run(recipe)
    assert half.history[-1].metrics["train/loss"] == pytest.approx(full.history[-1].metrics["train/loss"], rel=0.1)
    assert all(weights.dtype == torch.float32 for weights in half.network.state_dict().values())


class Overflowing(nn.Conv2d):
    """Its gradients overflow half precision until the scale has come down, or always."""

    def __init__(self, largest_scale: float) -> None:
        super().__init__(3, 31, 1)
        self.largest_scale = largest_scale

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        estimate = super().forward(batch)
        if self.training:
            count = estimate.numel()

            def overflow(gradient: torch.Tensor) -> torch.Tensor:
                return gradient * math.inf if gradient.abs().max() * count > self.largest_scale else gradient

            estimate.register_hook(overflow)
        return estimate


@pytest.fixture
def half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scale gradients as fp16 needs it, and compute in fp32: what is tested here is the scaling."""
    monkeypatch.setattr(loop, "survives_on_cpu", lambda precision: True)
    monkeypatch.setitem(DTYPES, "fp16", torch.float32)


@pytest.mark.usefixtures("half_precision")
def test_overflowing_steps_are_skipped_and_counted(job: Job) -> None:
    trained = job.run(replace(RECIPE, precision="fp16"), Overflowing(largest_scale=2.0**15))
    assert trained.skipped_count == 1
    assert [epoch.metrics["train/skipped_count"] for epoch in trained.history] == [1, 1, 1, 1]  # so far
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    assert kept.skipped_count == 1
    assert kept.scaler["scale"] == 2.0**15


@pytest.mark.usefixtures("half_precision")
def test_a_training_of_skipped_steps_stops(job: Job) -> None:
    with pytest.raises(DivergedError, match=r"at least every other step; 5 of 5 steps of epoch 2 overflowed"):
        job.run(replace(RECIPE, precision="fp16"), Overflowing(largest_scale=0.0))


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": None}, "A training must end: set `train.epochs`, `train.seconds` or both"),
        ({"epochs": 0}, "`train.epochs` must be at least 1; got 0"),
        ({"batch_size": 0}, "`train.batch_size` must be at least 1"),
        ({"crop_px": 0}, "`train.crop_px` must be at least 1"),
        ({"seconds": math.nan}, "`train.seconds` must be a number above 0; got nan"),
        ({"learning_rate": -1.0}, "`train.learning_rate` must be a number above 0"),
        ({"final_learning_rate": 1.0}, "between 0 and `train.learning_rate` = 0.005; got 1"),
        ({"precision": "fp8"}, "`train.precision` must be one of fp32, bf16, fp16; got 'fp8'"),
        ({"seed": -1}, "`train.seed` must be at least 0"),
        ({"seed": 2**63}, r"`train.seed` must be .* below 2\^63; got 9223372036854775808"),
        ({"mrae_floor": 0.0}, "`train.mrae_floor` must be a number above 0"),
        ({"validate_every": 0}, "`train.validate_every` must be at least 1"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        replace(RECIPE, **change)


def test_an_unknown_loss_is_refused_with_the_recipe() -> None:
    with pytest.raises(UnknownNameError, match=r"`train.loss` must be one of l1, mrae; got 'l3'"):
        replace(RECIPE, loss="l3")


def test_a_frame_smaller_than_the_crop_is_refused(job: Job) -> None:
    with pytest.raises(ShapeError, match=r"got 25 px, but p001_neutral_front has 24 x 32 px"):
        job.run(replace(RECIPE, crop_px=25))


def test_a_training_without_captures_is_refused(job: Job) -> None:
    with pytest.raises(DataError, match=r"needs at least one capture"):
        job.run(files=[])


# CUDA


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("cache_bytes", "workers"), [(1 << 30, 0), (0, 0), (0, 2)])
def test_a_gpu_learns_what_the_cpu_learns(
    fresh: Callable[[], Job], precision: Any, cache_bytes: int, workers: int
) -> None:
    recipe = replace(RECIPE, epochs=3, steps_per_epoch=20, channels_last=True)
    cuda = torch.device("cuda", 0)
    job = fresh()

    def validate(network: nn.Module) -> dict[str, float]:
        frame = read_frame(job.files[0], find_pair("rgb_vis"), camera="cie")
        estimate = reconstruct(network, frame.input, device=cuda)
        return {"val_sam/masked": float(np.abs(estimate - frame.reference).mean())}

    on_gpu = job.run(
        replace(recipe, precision=precision),
        device=cuda,
        validate=validate,
        cache_bytes=cache_bytes,
        workers=workers,
    )
    on_cpu = fresh().run(recipe)
    assert on_gpu.history[-1].metrics["train/loss"] == pytest.approx(on_cpu.history[-1].metrics["train/loss"], rel=0.2)
    assert next(on_gpu.network.parameters()).device == cuda
    assert ("train/skipped_count" in on_gpu.history[0].metrics) == (precision == "fp16")


_ON_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("where", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=_ON_CUDA)])
def test_steps_whose_half_precision_gradients_overflow_are_skipped_and_told(job: Job, where: str) -> None:
    """The scale begins at 65536 and halves with every step left out, until the gradients of this loss fit."""
    if where == "cpu" and not survives_on_cpu("fp16"):
        pytest.skip("this CPU dies of fp16")
    recipe = replace(RECIPE, epochs=3, steps_per_epoch=20, precision="fp16")
    network = Overflowing(largest_scale=1.5 * 2.0**13)  # 2**14 is too much, with room for rounding
    trained = job.run(recipe, network, device=torch.device(where), validate=lambda _: {"val_sam/masked": 1.0})
    assert trained.skipped_count == 3
    assert [epoch.metrics["train/skipped_count"] for epoch in trained.history] == [3, 3, 3]
    assert trained.history[-1].metrics["train/loss"] < trained.history[0].metrics["train/loss"]
    assert all(weights.dtype == torch.float32 for weights in trained.network.state_dict().values())
