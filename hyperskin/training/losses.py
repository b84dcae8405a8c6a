"""What a network is punished for, by name; only measured pixels count."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from hyperskin.errors import UnknownNameError

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(estimate (N, C, H, W), reference (N, C, H, W), valid (N, 1, H, W) bool) -> scalar."""

NAMES = ("l1", "mrae")


def find_loss(name: str, *, mrae_floor: float = 0.01) -> Loss:
    """Return the loss called `name`.

    Args:
        name: "l1" or "mrae".
        mrae_floor: Reflectance below which a relative error is no longer divided by less.

    Raises:
        UnknownNameError: There is none; the message lists those there are.
    """
    if name == "l1":
        return l1
    if name == "mrae":
        return partial(mrae, floor=mrae_floor)
    raise UnknownNameError(f"`train.loss` must be one of {', '.join(NAMES)}; got {name!r}.")


def l1(estimate: torch.Tensor, reference: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the mean of |e - r| over valid pixels and all bands; 0 where no pixel is valid."""
    return _mean((estimate - reference).abs(), valid)


def mrae(estimate: torch.Tensor, reference: torch.Tensor, valid: torch.Tensor, *, floor: float) -> torch.Tensor:
    """Return the mean of |e - r| / max(|r|, floor) over valid pixels and all bands; 0 where no pixel is valid.

    The relative error of the NTIRE 2022 challenge (Arad et al., CVPRW 2022), which has no floor; a dark band of skin
    would then weigh without bound.
    """
    return _mean((estimate - reference).abs() / reference.abs().clamp(min=floor), valid)


def _mean(error: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return (error * valid).sum() / (valid.sum() * error.shape[1]).clamp(min=1)
