"""How a network is trained, and what comes of it: recipe, epoch, result; no training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from hyperskin.data.scaling import INPUT_SCALES, InputScale, is_stretched
from hyperskin.errors import HyperSkinError, ParamsError
from hyperskin.pairs import Pair
from hyperskin.training.device import DTYPES, Precision
from hyperskin.training.losses import find_loss

Stopped = Literal["epochs", "seconds"]
Schedule = Literal["cosine", "cosine_per_epoch"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)


class DivergedError(HyperSkinError, RuntimeError):
    """A training no longer leads to a usable network; its last checkpoint is from before that."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    A training ends by `epochs`, by `seconds` or by whichever comes first. With the schedule "cosine" the learning rate
    follows one half cosine over the whole of it, step by step, from `learning_rate` to `final_learning_rate`
    (Loshchilov & Hutter, SGDR, 2017, without restarts); its position is the larger of the fractions of steps and of
    seconds spent, so that either limit ends with the low rate. With "cosine_per_epoch" it falls so within the first
    epoch and goes back up in the second, and so on: what torch's CosineAnnealingLR does beyond its `T_max`, and the
    code of the Hyper-Skin authors with it. Limited by epochs alone, equal recipes give equal weights on the CPU,
    interrupted after any step or not; with a limit in seconds the clock decides.

    Attributes:
        epochs: Most epochs, None for no such limit.
        seconds: Most seconds over all attempts, validation included, None for no such limit; the epoch under way is
            cut short and validated.
        steps_per_epoch: Optimiser steps between two validations; None: one crop of every capture, without those that
            would not fill a batch.
        crop_px: Side of the square crops.
        batch_size: Crops per step.
        learning_rate: First learning rate of Adam.
        final_learning_rate: Last learning rate, or the lowest.
        schedule: How the rate goes from one to the other.
        loss: Name of the loss.
        mrae_floor: Floor of the relative error's divisor, for "mrae".
        precision: "fp32", or autocast "bf16" or "fp16".
        augment: Mirror and turn the crops at random, all eight ways.
        exposure_jitter: Probability that a crop is taken in other light, 0.2 to 1.2 times as much.
        crop_padding_px: Zeros around every frame, in input and reference alike; crops may hold them, and they count.
        crop_stride_px: Crops lie at multiples of this from the corner.
        input_scale: How a picture is scaled before the network sees it.
        channels_last: Lay tensors out channels last; faster for networks of convolutions (HRNet, HSCNN+).
        seed: Decides the crops.
        monitor: Validated metric, lower is better, that chooses the best epoch; "/masked" falls back to "/full".
        validate_every: Epochs from one validation to the next; the last epoch is always validated.
    """

    epochs: int | None
    seconds: float | None
    steps_per_epoch: int | None
    crop_px: int
    batch_size: int
    learning_rate: float
    final_learning_rate: float = 1e-6
    schedule: Schedule = "cosine"
    loss: str = "l1"
    mrae_floor: float = 0.01
    precision: Precision = "fp32"
    augment: bool = True
    exposure_jitter: float = 0.0
    crop_padding_px: int = 0
    crop_stride_px: int = 1
    input_scale: InputScale = "fixed"
    channels_last: bool = False
    seed: int = 0
    monitor: str = "val_sam/masked"
    validate_every: int = 1

    def __post_init__(self) -> None:
        """Refuse a recipe that cannot be followed."""
        if self.epochs is None and self.seconds is None:
            raise ParamsError("A training must end: set `train.epochs`, `train.seconds` or both.")
        for name in ("epochs", "steps_per_epoch", "crop_px", "crop_stride_px", "batch_size", "validate_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParamsError(f"`train.{name}` must be at least 1; got {value}.")
        for name in ("seconds", "learning_rate", "mrae_floor"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ParamsError(f"`train.{name}` must be a number above 0; got {value}.")
        if not 0 <= self.final_learning_rate <= self.learning_rate:
            raise ParamsError(
                f"`train.final_learning_rate` must lie between 0 and `train.learning_rate` = {self.learning_rate:g}; "
                f"got {self.final_learning_rate:g}."
            )
        if not 0 <= self.exposure_jitter <= 1:
            raise ParamsError(f"`train.exposure_jitter` must lie between 0 and 1; got {self.exposure_jitter}.")
        if self.exposure_jitter and self.input_scale == "min_max":
            raise ParamsError(
                "`train.exposure_jitter` must be 0 where `train.input_scale` is min_max, which undoes it in the picture"
                f" alone; got {self.exposure_jitter}: write 0.0."
            )
        if not 0 <= self.seed < 2**63:  # as far as torch's generator counts
            raise ParamsError(f"`train.seed` must be at least 0 and below 2^63; got {self.seed}.")
        if self.crop_padding_px < 0:
            raise ParamsError(f"`train.crop_padding_px` must be at least 0; got {self.crop_padding_px}.")
        for name, known in (("precision", DTYPES), ("schedule", SCHEDULES), ("input_scale", INPUT_SCALES)):
            if getattr(self, name) not in known:
                raise ParamsError(f"`train.{name}` must be one of {', '.join(known)}; got {getattr(self, name)!r}.")
        find_loss(self.loss)

    def epoch_steps(self, capture_count: int) -> int:
        """Return the optimiser steps of an epoch over so many captures; at least one."""
        return self.steps_per_epoch or max(1, capture_count // self.batch_size)

    def stretches(self, pair: Pair) -> bool:
        """Tell whether the network of `pair` sees stretched pictures."""
        return is_stretched(pair, self.input_scale)


@dataclass(frozen=True)
class Epoch:
    """What one epoch brought.

    Attributes:
        number: Counted from 1.
        metrics: "train/loss", "train/learning_rate" (of its last step), with fp16 "train/skipped_count" (steps left out
            so far, over all attempts) and, where it was validated, what that gave.
        seconds: Its duration, validation included.
        crops_per_second: Training crops per second of training.
        steps: Optimiser steps so far, over all attempts, those of earlier epochs included.
        steps_s: Seconds that they took; validation and saving are left out.
    """

    number: int
    metrics: dict[str, float]
    seconds: float
    crops_per_second: float
    steps: int
    steps_s: float


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        network: The given network in evaluation mode, holding the weights of the best epoch.
        best_epoch: Number of that epoch.
        best_value: Its monitored metric.
        history: Every epoch, those of earlier attempts included.
        stopped: Which limit ended it.
        elapsed_s: Seconds spent over all attempts.
        skipped_count: Steps left out because half-precision gradients overflowed.
    """

    network: nn.Module
    best_epoch: int
    best_value: float
    history: tuple[Epoch, ...]
    stopped: Stopped
    elapsed_s: float
    skipped_count: int
