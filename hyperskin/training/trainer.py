"""The state of a training: everything that moves from step to step, and the steps."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
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

BETAS = (0.9, 0.999)

_log = logging.getLogger(__name__)

Validate = Callable[[nn.Module], Mapping[str, float]]


class Trainer:
    """The state of a training: everything that moves from step to step."""

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device) -> None:
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        self.network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # stubs lack it
        self.recipe = recipe
        self.device = device
        self.loss = find_loss(recipe.loss, mrae_floor=recipe.mrae_floor)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=recipe.learning_rate, betas=BETAS, fused=device.type == "cuda"
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.epoch = 0
        self.step = 0
        self.skipped_count = 0
        self.best: State | None = None
        self.best_epoch = 0
        self.best_value = math.inf
        self.history: list[Epoch] = []
        self._earlier_s = 0.0
        self._began_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds spent so far, over all attempts."""
        return self._earlier_s + time.monotonic() - self._began_s

    def stopped(self) -> Stopped | None:
        """Return which limit is reached, None while there is none."""
        if self.recipe.epochs is not None and self.epoch >= self.recipe.epochs:
            return "epochs"
        return "seconds" if self._is_out_of_time() else None

    def run_epoch(self, batches: Iterator[Batch], validate: Validate, progress: Callable[..., Iterable[int]]) -> Epoch:
        """Train one epoch, or what time allows of it, and validate it if it is due."""
        began_s = time.monotonic()
        self.epoch += 1
        metrics, step_count = self._run_steps(batches, progress)
        crops_per_second = step_count * self.recipe.batch_size / max(time.monotonic() - began_s, 1e-9)
        require_finite_weights(self.network, epoch=self.epoch)
        if self.epoch % self.recipe.validate_every == 0 or self.stopped() is not None:
            metrics |= self._validate(validate)
        epoch = Epoch(self.epoch, metrics, time.monotonic() - began_s, crops_per_second)
        self.history.append(epoch)
        require_no_explosion([each.metrics["train/loss"] for each in self.history])
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        _log.info("epoch %d: %s; %.1f crops/s, %.1f s", epoch.number, shown, crops_per_second, epoch.seconds)
        return epoch

    def checkpoint(self, unit_key: str) -> Checkpoint:
        """Return everything that `restore` needs."""
        return Checkpoint(
            unit_key=unit_key,
            epoch=self.epoch,
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
        self.epoch = checkpoint.epoch
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
        self, batches: Iterator[Batch], progress: Callable[..., Iterable[int]]
    ) -> tuple[dict[str, float], int]:
        self.network.train()
        losses = LossTally(self.epoch)
        skipped_before = self.skipped_count
        rate = self.recipe.learning_rate
        steps = progress(
            range(self.recipe.steps_per_epoch),
            desc=f"epoch {self.epoch}",
            unit=" crops",
            unit_scale=self.recipe.batch_size,
        )
        for _ in steps:
            rate = self._set_learning_rate()
            losses.add(self._take_step(next(batches)))
            self.step += 1
            if self._is_out_of_time():
                break
        mean = losses.mean()
        require_few_skipped(self.skipped_count - skipped_before, losses.count, epoch=self.epoch)
        return {"train/loss": mean, "train/learning_rate": rate}, losses.count

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
            _log.debug("step %d skipped: gradients overflowed at scale %g", self.step, scale)

    def _set_learning_rate(self) -> float:
        """Set and return the rate of the step to come."""
        first, last = self.recipe.learning_rate, self.recipe.final_learning_rate
        rate = last + (first - last) * (1 + math.cos(math.pi * self._position())) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def _position(self) -> float:
        """Return how much of the training lies behind, 0 to 1, by the limit that is nearer."""
        fractions = [0.0]
        if self.recipe.epochs is not None:
            fractions.append(self.step / (self.recipe.epochs * self.recipe.steps_per_epoch))
        if self.recipe.seconds is not None:
            fractions.append(self.elapsed_s / self.recipe.seconds)
        return min(1.0, max(fractions))

    def _is_out_of_time(self) -> bool:
        return self.recipe.seconds is not None and self.elapsed_s >= self.recipe.seconds

    def _validate(self, validate: Validate) -> dict[str, float]:
        self.network.eval()
        metrics = {name: float(value) for name, value in validate(self.network).items()}
        value = _monitored(metrics, self.recipe.monitor)
        if value < self.best_value:  # a NaN is never better
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
            self.best_epoch, self.best_value = self.epoch, value
        return metrics


def _monitored(metrics: Mapping[str, Any], monitor: str) -> float:
    """Return the metric that chooses the best epoch."""
    for name in (monitor, monitor.replace("/masked", "/full")):
        if name in metrics:
            return float(metrics[name])
    raise UnknownNameError(f"`train.monitor` must be one of {', '.join(metrics) or 'no metric'}; got {monitor!r}.")
