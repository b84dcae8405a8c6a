"""The state of a training: everything that moves from step to step, and the steps."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from hyperskin.data.patches import Batch
from hyperskin.errors import UnknownNameError
from hyperskin.training.checkpoint import Checkpoint, State, random_states, restore_random_states
from hyperskin.training.device import DTYPES, refuse_short_memory
from hyperskin.training.divergence import (
    LossTally,
    require_few_skipped,
    require_finite_weights,
    require_no_explosion,
)
from hyperskin.training.losses import find_loss
from hyperskin.training.recipe import DivergedError, Epoch, Recipe, Stopped, Trained
from hyperskin.training.schedule import find_rate

BETAS = (0.9, 0.999)

_log = logging.getLogger(__name__)

Validate = Callable[[nn.Module], Mapping[str, float]]


class InterruptedTrainingError(KeyboardInterrupt):
    """A training was asked to stop, and its state is one that it can go on from."""


@dataclass
class UnderWay:
    """How far an epoch is.

    Attributes:
        steps: Steps taken.
        loss_sum: Sum of their losses.
        learning_rate: Rate of the latest.
        skipped_count: How many of them were left out because half-precision gradients overflowed.
        steps_s: Seconds they took.
        seconds: Seconds spent on the epoch, an interrupted validation included.
    """

    steps: int = 0
    loss_sum: float = 0.0
    learning_rate: float = 0.0
    skipped_count: int = 0
    steps_s: float = 0.0
    seconds: float = 0.0


class Trainer:
    """The state of a training: everything that moves from step to step."""

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device, *, steps_per_epoch: int) -> None:
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # stubs lack it
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.device = device
        self.loss = find_loss(recipe.loss, mrae_floor=recipe.mrae_floor)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=recipe.learning_rate, betas=BETAS, fused=device.type == "cuda"
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.step = 0
        self.skipped_count = 0
        self.best: State | None = None
        self.best_epoch = 0
        self.best_value = math.inf
        self.history: list[Epoch] = []
        self.under_way = UnderWay()
        self._earlier_s = 0.0
        self._began_s = time.monotonic()
        self._epoch_began_s = self._began_s

    @property
    def elapsed_s(self) -> float:
        """Seconds spent so far, over all attempts."""
        return self._earlier_s + time.monotonic() - self._began_s

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    def stopped(self) -> Stopped | None:
        """Return which limit is reached, None while there is none or an epoch is under way."""
        return None if self.under_way.steps else self._limit(self.epoch)

    def run_epoch(
        self,
        batches: Iterator[Batch],
        validate: Validate,
        progress: Callable[..., Iterable[int]],
        should_stop: Callable[[], bool],
    ) -> Epoch:
        """Train one epoch or the rest of it, or what time allows of it, and validate it if it is due.

        Raises:
            InterruptedTrainingError: Asked to stop, after a step or while validating; `checkpoint` says how far it is.
        """
        number = self.epoch + 1
        self._epoch_began_s = time.monotonic() - self.under_way.seconds
        self._run_steps(batches, progress, should_stop)
        done = self.under_way
        require_few_skipped(done.skipped_count, done.steps, epoch=number)
        metrics = {"train/loss": done.loss_sum / done.steps, "train/learning_rate": done.learning_rate}
        if self.scaler.is_enabled():
            metrics["train/skipped_count"] = float(self.skipped_count)
        if not self.recipe.crop_padding_px:  # a few crops of zeros alone have a loss that no later epoch comes near
            require_no_explosion([*(epoch.metrics["train/loss"] for epoch in self.history), metrics["train/loss"]])
        if number % self.recipe.validate_every == 0 or self._limit(number) is not None:
            metrics |= self._validate(validate)
        crops_per_second = done.steps * self.recipe.batch_size / max(done.steps_s, 1e-9)
        steps_s = done.steps_s + (self.history[-1].steps_s if self.history else 0.0)
        seconds = time.monotonic() - self._epoch_began_s
        epoch = Epoch(number, metrics, seconds, crops_per_second, self.step, steps_s)
        self.history.append(epoch)
        self.under_way = UnderWay()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        _log.info("epoch %d: %s; %.1f crops/s, %.1f s", number, shown, crops_per_second, epoch.seconds)
        return epoch

    def checkpoint(self, unit_key: str, made_with: Mapping[str, str]) -> Checkpoint:
        """Return everything that `restore` needs."""
        under_way = replace(self.under_way, seconds=time.monotonic() - self._epoch_began_s)
        return Checkpoint(
            unit_key=unit_key,
            made_with=dict(made_with),
            epoch=self.epoch,
            under_way=asdict(under_way) if under_way.steps else {},
            step=self.step,
            elapsed_s=self.elapsed_s,
            skipped_count=self.skipped_count,
            network=dict(self.network.state_dict()),
            optimiser=self.optimiser.state_dict(),
            scaler=self.scaler.state_dict(),
            best=self.best,
            best_epoch=self.best_epoch,
            best_value=self.best_value,
            history=[asdict(epoch) for epoch in self.history],
            random=random_states(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where `checkpoint` was taken."""
        self.network.load_state_dict(checkpoint.network)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.scaler.load_state_dict(checkpoint.scaler)
        self.under_way = UnderWay(**checkpoint.under_way)
        self.step = checkpoint.step
        self.skipped_count = checkpoint.skipped_count
        self.best = checkpoint.best
        self.best_epoch = checkpoint.best_epoch
        self.best_value = checkpoint.best_value
        self.history = [Epoch(**row) for row in checkpoint.history]
        self._earlier_s = checkpoint.elapsed_s
        restore_random_states(checkpoint.random)

    def result(self) -> Trained:
        """Put the best weights into the network."""
        stopped = self.stopped()
        assert stopped is not None
        if self.best is None:
            raise DivergedError(
                f"A validated epoch must give a finite {self.recipe.monitor!r}; none of {self.epoch} did: "
                "lower `train.learning_rate` or look at the network's estimates."
            )
        self.network.load_state_dict(self.best)
        self.network.eval()
        return Trained(
            network=self.network,
            best_epoch=self.best_epoch,
            best_value=self.best_value,
            history=tuple(self.history),
            stopped=stopped,
            elapsed_s=self.elapsed_s,
            skipped_count=self.skipped_count,
        )

    def _run_steps(
        self, batches: Iterator[Batch], progress: Callable[..., Iterable[int]], should_stop: Callable[[], bool]
    ) -> None:
        """Take the steps of an epoch that are left, as far as time allows; at least one is taken in all."""
        self.network.train()
        done = self.under_way
        number = self.epoch + 1
        losses = LossTally(number, count=done.steps, total=done.loss_sum)
        began_s = time.monotonic() - done.steps_s
        is_asked = False
        steps = progress(
            range(done.steps, self.steps_per_epoch),
            desc=f"epoch {number}",
            unit=" crops",
            unit_scale=self.recipe.batch_size,
        )
        for _ in steps:
            if done.steps and self._is_out_of_time():
                break
            done.learning_rate = self._set_learning_rate()
            losses.add(self._take_step(next(batches)))
            done.steps += 1
            self.step += 1
            if is_asked := should_stop():
                break
        done.loss_sum = losses.total()
        done.steps_s = time.monotonic() - began_s
        require_finite_weights(self.network, epoch=number)
        if is_asked:
            raise InterruptedTrainingError

    def _take_step(self, batch: Batch) -> torch.Tensor:
        """Do one step of Adam; return its loss, still on the device."""
        inputs, reference, valid = (part.to(self.device, non_blocking=True) for part in batch)
        dtype = DTYPES[self.recipe.precision]
        with refuse_short_memory(self.device, "lower `train.batch_size`, `train.crop_px` or the network's size"):
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                estimate = self.network(inputs)
            loss = self.loss(estimate.float(), reference, valid)
            self.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(self.scaler.scale(loss))
            self._update()
        return loss.detach()

    def _update(self) -> None:
        """Move the weights, unless half-precision gradients overflowed."""
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.scaler.get_scale() < scale:
            self.skipped_count += 1
            self.under_way.skipped_count += 1
            _log.debug("step %d skipped: gradients overflowed at scale %g", self.step, scale)

    def _set_learning_rate(self) -> float:
        """Set and return the rate of the step to come."""
        rate = find_rate(self.recipe, step=self.step, steps_per_epoch=self.steps_per_epoch, elapsed_s=self.elapsed_s)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def _limit(self, epochs: int) -> Stopped | None:
        """Return which limit is reached after so many epochs."""
        if self.recipe.epochs is not None and epochs >= self.recipe.epochs:
            return "epochs"
        return "seconds" if self._is_out_of_time() else None

    def _is_out_of_time(self) -> bool:
        return self.recipe.seconds is not None and self.elapsed_s >= self.recipe.seconds

    def _validate(self, validate: Validate) -> dict[str, float]:
        self.network.eval()
        before = random_states()
        try:
            metrics = {name: float(value) for name, value in validate(self.network).items()}
        except KeyboardInterrupt as interrupt:
            restore_random_states(before)  # for it begins anew
            raise InterruptedTrainingError(*interrupt.args) from interrupt
        value = _monitored(metrics, self.recipe.monitor)
        if value < self.best_value:  # a NaN is never better
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
            self.best_epoch, self.best_value = self.epoch + 1, value
        return metrics


def _monitored(metrics: Mapping[str, Any], monitor: str) -> float:
    """Return the metric that chooses the best epoch."""
    for name in (monitor, monitor.replace("/masked", "/full")):
        if name in metrics:
            return float(metrics[name])
    raise UnknownNameError(f"`train.monitor` must be one of {', '.join(metrics) or 'no metric'}; got {monitor!r}.")
