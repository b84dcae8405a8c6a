"""A network and captures -> the network of its best epoch; stops by epochs or seconds, resumes where it was."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hyperskin.data.frames import PairFiles
from hyperskin.data.patches import (
    Batch,
    CachedCaptures,
    Captures,
    Crop,
    CropBatches,
    StoredCaptures,
    draw_crops,
    feed_batches,
    require_room,
)
from hyperskin.errors import ParamsError, UnknownNameError
from hyperskin.pairs import Pair
from hyperskin.training.checkpoint import (
    Checkpoint,
    State,
    load_checkpoint,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from hyperskin.training.device import DTYPES, Precision, refuse_short_memory, survives_on_cpu
from hyperskin.training.losses import find_loss
from hyperskin.training.recipe import DivergedError, Epoch, Recipe, Stopped, Trained

BETAS = (0.9, 0.999)
EXPLOSION = 10.0
EXPLOSION_EPOCHS = 3
_GIB = 1 << 30

_log = logging.getLogger(__name__)

Validate = Callable[[nn.Module], Mapping[str, float]]


def no_progress(steps: Iterable[int], **_description: object) -> Iterable[int]:
    """Show nothing."""
    return steps


def train(
    network: nn.Module,
    *,
    files: Sequence[PairFiles],
    pair: Pair,
    camera: str,
    recipe: Recipe,
    device: torch.device,
    validate: Validate,
    checkpoint: Path,
    unit_key: str,
    on_epoch: Callable[[Epoch], None],
    progress: Callable[..., Iterable[int]] = no_progress,
    cache_bytes: int = 4 * _GIB,
    workers: int = 0,
) -> Trained:
    """Train `network` in place and return it with the weights of its best epoch.

    Args:
        network: Where to start; a checkpoint of the same unit takes its place.
        files: The training captures.
        pair: What goes in and what comes out.
        camera: Whose RGB goes in.
        recipe: How to train.
        device: Where to train.
        validate: Called with the network in evaluation mode; gives metrics such as {"val_sam/masked": 0.1}.
        checkpoint: File that is written after every epoch, and continued from where it exists.
        unit_key: Which training this is; a checkpoint with another key is refused.
        on_epoch: Called with each finished epoch, before it is saved: an epoch interrupted in between is reported
            again, and an error raised here keeps the checkpoint as it was.
        progress: Called as `tqdm` is, with the steps of an epoch, `desc`, `unit` and `unit_scale` (crops per step).
        cache_bytes: Keep the captures in memory, as stored, if they need no more than this; 0 never does.
        workers: Processes that read crops ahead from files. The CPU uses none; CUDA with none uses a thread.

    Raises:
        DivergedError: The loss or the weights left the finite numbers, or the loss exploded.
        ShapeError: A frame is smaller than `recipe.crop_px`.
        VersionError: The checkpoint belongs to another unit.
    """
    _require_precision(recipe.precision, device)
    with StoredCaptures(files, pair, camera=camera) as stored:
        require_room(stored, recipe.crop_px)
        captures: Captures = CachedCaptures(stored) if stored.stored_bytes <= cache_bytes else stored
        trainer = _Trainer(network, recipe, device)
        found = load_checkpoint(checkpoint, unit_key=unit_key)
        if found is not None:
            trainer.restore(found)
            _log.info("going on after epoch %d from %s", trainer.epoch, checkpoint)
        batches = feed_batches(
            CropBatches(captures, crop_px=recipe.crop_px, channels_last=recipe.channels_last),
            _schedule(recipe, captures.shapes, first_epoch=trainer.epoch + 1),
            workers=workers if device.type == "cuda" and captures is stored else 0,
            pin_memory=device.type == "cuda",
        )
        with closing(batches):
            while trainer.stopped() is None:
                epoch = trainer.run_epoch(batches, validate, progress)
                on_epoch(epoch)
                save_checkpoint(checkpoint, trainer.checkpoint(unit_key))
    return trainer.result()


class _Trainer:
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
        self._require_finite_weights()
        if self.epoch % self.recipe.validate_every == 0 or self.stopped() is not None:
            metrics |= self._validate(validate)
        epoch = Epoch(self.epoch, metrics, time.monotonic() - began_s, crops_per_second)
        self.history.append(epoch)
        self._require_no_explosion()
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
        losses = _LossTally(self.epoch)
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
        self._require_few_skipped(self.skipped_count - skipped_before, losses.count)
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

    def _require_finite_weights(self) -> None:
        for name, weights in self.network.named_parameters():
            if not torch.isfinite(weights).all():
                raise DivergedError(
                    f"Weights must stay finite; {name} does not after epoch {self.epoch}: lower `train.learning_rate`."
                )

    def _require_no_explosion(self) -> None:
        losses = [epoch.metrics["train/loss"] for epoch in self.history]
        if len(losses) <= EXPLOSION_EPOCHS:
            return
        best = min(losses)
        if best > 0 and all(loss > EXPLOSION * best for loss in losses[-EXPLOSION_EPOCHS:]):
            raise DivergedError(
                f"The loss must not stay {EXPLOSION:g} times above its best of {best:g}; it did for "
                f"{EXPLOSION_EPOCHS} epochs up to {self.epoch}: lower `train.learning_rate`."
            )

    def _require_few_skipped(self, skipped_count: int, step_count: int) -> None:
        """Refuse an epoch of mostly skipped steps; in the first the scale still finds its place."""
        if skipped_count:
            _log.info("epoch %d: %d of %d steps skipped", self.epoch, skipped_count, step_count)
        if self.epoch > 1 and skipped_count > step_count / 2:
            raise DivergedError(
                f"Half-precision gradients must fit at least every other step; {skipped_count} of {step_count} steps "
                f"of epoch {self.epoch} overflowed: use `train.precision` bf16 or fp32."
            )


class _LossTally:
    """Adds up losses, looking at each one step late so that a GPU never waits for the CPU."""

    def __init__(self, epoch: int) -> None:
        self.count = 0
        self._epoch = epoch
        self._sum = 0.0
        self._latest: torch.Tensor | None = None

    def add(self, loss: torch.Tensor) -> None:
        """Take the loss of one step."""
        self._settle()
        self._latest = loss
        self.count += 1

    def mean(self) -> float:
        """Return the mean over all steps."""
        self._settle()
        return self._sum / self.count

    def _settle(self) -> None:
        if self._latest is None:
            return
        value = float(self._latest)
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss must stay finite; it became {value} in step {self.count} of epoch {self._epoch}: "
                "lower `train.learning_rate` or use `train.precision` fp32."
            )
        self._sum += value
        self._latest = None


def _schedule(recipe: Recipe, shapes: Sequence[tuple[int, int]], *, first_epoch: int) -> Iterator[list[Crop]]:
    """Yield the crops of every step from `first_epoch` on."""
    epochs = itertools.count(first_epoch) if recipe.epochs is None else range(first_epoch, recipe.epochs + 1)
    for epoch in epochs:
        crops = draw_crops(
            shapes,
            recipe.steps_per_epoch * recipe.batch_size,
            crop_px=recipe.crop_px,
            augment=recipe.augment,
            seed=recipe.seed,
            epoch=epoch,
        )
        for step in range(recipe.steps_per_epoch):
            yield crops[step * recipe.batch_size : (step + 1) * recipe.batch_size]


def _monitored(metrics: Mapping[str, Any], monitor: str) -> float:
    """Return the metric that chooses the best epoch."""
    for name in (monitor, monitor.replace("/masked", "/full")):
        if name in metrics:
            return float(metrics[name])
    raise UnknownNameError(f"`train.monitor` must be one of {', '.join(metrics) or 'no metric'}; got {monitor!r}.")


def _require_precision(precision: Precision, device: torch.device) -> None:
    if device.type == "cpu" and not survives_on_cpu(precision):
        raise ParamsError(
            f"`train.precision` must be one this CPU can compute; it dies of {precision}: use fp32, or set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 before the start."
        )
