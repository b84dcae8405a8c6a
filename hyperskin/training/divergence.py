"""When a training no longer leads anywhere: losses and weights that are no numbers, or only grow."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from torch import nn

from hyperskin.training.recipe import DivergedError

EXPLOSION = 10.0
EXPLOSION_EPOCHS = 3
_log = logging.getLogger(__name__)


class LossTally:
    """Adds up losses, looking at each one step late so that a GPU never waits for the CPU."""

    def __init__(self, epoch: int, *, count: int = 0, total: float = 0.0) -> None:
        self.count = count
        self._epoch = epoch
        self._total = total
        self._latest: torch.Tensor | None = None

    def add(self, loss: torch.Tensor) -> None:
        """Take the loss of one step."""
        self._settle()
        self._latest = loss
        self.count += 1

    def total(self) -> float:
        """Return the sum over all steps."""
        self._settle()
        return self._total

    def _settle(self) -> None:
        if self._latest is None:
            return
        value = float(self._latest)
        if not math.isfinite(value):
            raise DivergedError(
                f"The loss must stay finite; it became {value} in step {self.count} of epoch {self._epoch}: "
                "lower `train.learning_rate` or use `train.precision` fp32."
            )
        self._total += value
        self._latest = None


def require_finite_weights(network: nn.Module, *, epoch: int) -> None:
    """Raise DivergedError unless every weight is a number."""
    for name, weights in network.named_parameters():
        if not torch.isfinite(weights).all():
            raise DivergedError(
                f"Weights must stay finite; {name} does not after epoch {epoch}: lower `train.learning_rate`."
            )


def require_no_explosion(losses: Sequence[float]) -> None:
    """Raise DivergedError where the losses of the epochs so far stay far above their best."""
    if len(losses) <= EXPLOSION_EPOCHS:
        return
    best = min(losses)
    if best > 0 and all(loss > EXPLOSION * best for loss in losses[-EXPLOSION_EPOCHS:]):
        raise DivergedError(
            f"The loss must not stay {EXPLOSION:g} times above its best of {best:g}; it did for "
            f"{EXPLOSION_EPOCHS} epochs up to {len(losses)}: lower `train.learning_rate`."
        )


def require_few_skipped(skipped_count: int, step_count: int, *, epoch: int) -> None:
    """Raise DivergedError after an epoch of mostly skipped steps; in the first the scale still finds its place."""
    if skipped_count:
        _log.info("epoch %d: %d of %d steps skipped", epoch, skipped_count, step_count)
    if epoch > 1 and skipped_count > step_count / 2:
        raise DivergedError(
            f"Half-precision gradients must fit at least every other step; {skipped_count} of {step_count} steps "
            f"of epoch {epoch} overflowed: use `train.precision` bf16 or fp32."
        )
