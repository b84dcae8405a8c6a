"""A pixel's light as basal looks at it: its brightness, and features of its colours that no exposure changes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from hyperskin.models.regression import root_exponents

DARKEST = 0.004
"""Reflectance below which brightness is mostly noise of 8 bits: a black pixel counts as grey of this brightness."""

_RGB_COUNT = 3
_LEAST = 1e-3


def linear_light(x: Tensor) -> Tensor:
    """Return input of a pair as linear light, not below 0, the same shape.

    Args:
        x: (N, C, H, W): red, green and blue as sRGB encodes them, in [0, 1]; further channels as reflectance.

    Source:
        IEC 61966-2-1.
    """
    rgb = x[:, :_RGB_COUNT].clamp(min=0)
    straight, curved = rgb / 12.92, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.cat([torch.where(rgb <= 0.04045, straight, curved), x[:, _RGB_COUNT:].clamp(min=0)], dim=1)


def split_brightness(light: Tensor) -> tuple[Tensor, Tensor]:
    """Return the brightness of every pixel, (N, 1, H, W), and its light relative to that, (N, C, H, W).

    Brightness is the mean of red, green and blue; what is dark is drawn towards grey, so that the noise of a black
    pixel becomes no colour.
    """
    brightness = light[:, :_RGB_COUNT].mean(dim=1, keepdim=True) + DARKEST
    return brightness, (light + DARKEST / 4) / brightness


def exponent_matrix(channels: int) -> Tensor:
    """Return which power of which channel each feature but the constant one takes, (features - 1, channels)."""
    return torch.tensor(
        [[power / sum(powers) for power in powers] for powers in root_exponents(channels)], dtype=torch.float64
    )


def root_features(relative: Tensor, exponents: Tensor) -> Tensor:
    """Return the d-th root of every product of d = 1..3 channels, each function once, and 1: (N, features, H, W).

    Args:
        relative: Light relative to its brightness, (N, C, H, W).
        exponents: As `exponent_matrix` gives them, of the type of `relative`.

    Source:
        Finlayson, Mackiewicz, Hurlbert: Color correction using root-polynomial regression, IEEE Transactions on Image
        Processing 24 (2015), doi:10.1109/TIP.2015.2405336; there of light itself, here of its colour alone.
    """
    roots = torch.exp(conv2d(torch.log(relative.clamp(min=_LEAST)), exponents[..., None, None]))
    return torch.cat([roots, torch.ones_like(relative[:, :1])], dim=1)
