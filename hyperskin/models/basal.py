"""basal, our own network: a regression in closed form that a small branch at half resolution corrects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from hyperskin.data.frames import Frame
from hyperskin.models.basal_start import StartSums
from hyperskin.models.padding import pad_to_multiple
from hyperskin.models.relative_light import exponent_matrix, linear_light, root_features, split_brightness

_FEW_BANDS = 31
_CENTRE = 2.0  # added to the logarithm of brightness, which is around -2 on skin


@dataclass(frozen=True)
class BasalConfig:
    """Sizes of a basal.

    Attributes:
        in_channels: Input channels, 3 for rgb, 4 for msi.
        out_channels: Bands that come out.
        width: Features of the spatial branch; the others are twice as many.
    """

    in_channels: int
    out_channels: int
    width: int = 24

    @property
    def rank(self) -> int:
        """How many spectra every estimate is mixed of."""
        return min(12 if self.out_channels <= _FEW_BANDS else 16, self.out_channels)

    @classmethod
    def infer(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the sizes that the weights of a checkpoint have."""
        width, channels = state["spatial_in.weight"].shape[:2]
        return cls(channels - 1, state["basis.weight"].shape[0], width)


class Basal(nn.Module):
    """Reflectance as brightness times a mixture of learned spectra, (N, C_in, H, W) -> (N, C_out, H, W), float32.

    Each pixel's root-polynomial features give the mixture at full resolution; a branch that sees their means over
    2 x 2 pixels, and 7 x 7 of those around, adds to it. After `start` and before the first step of training that
    branch adds nothing, and the network is the regression. Nothing bounds what comes out.

    All of it is computed in float32, whatever autocast asks for: it is small, and its roots and logarithms want it.

    Args:
        config: Its sizes.
    """

    size_multiple = 2

    def __init__(self, config: BasalConfig) -> None:
        super().__init__()
        self.config = config
        exponents = exponent_matrix(config.in_channels).float()
        features, width, rank = len(exponents) + 1, config.width, config.rank
        self.stem = nn.Conv2d(features, rank, 1, bias=False)
        self.pixel_in = nn.Conv2d(features + 1, 2 * width, 1)
        self.spatial_in = nn.Conv2d(config.in_channels + 1, width, 3, padding=1)
        self.spatial = Residual(width)
        self.spatial_out = _zeroed(nn.Conv2d(width, 2 * width, 1))
        self.mix = nn.Conv2d(2 * width, 2 * width, 1)
        self.correct = _zeroed(nn.Conv2d(2 * width, rank, 1))
        self.basis = nn.Conv2d(rank, config.out_channels, 1, bias=False)
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(rank))
        self._exponents: Tensor
        self.register_buffer("_exponents", exponents, persistent=False)

    @torch.no_grad()
    def start(self, frames: Iterable[Frame]) -> None:
        """Become the regression with the least weighted squares over captures, in place; each is read once.

        Raises:
            DataError: There was no valid pixel.
        """
        sums = StartSums(self.config.in_channels, self.config.out_channels)
        for frame in frames:
            sums.add(frame)
        start = sums.solve(self.config.rank)
        self.stem.weight.copy_(torch.from_numpy(start.stem.T)[..., None, None])
        self.basis.weight.copy_(torch.from_numpy(start.basis.T)[..., None, None])
        self.spread.copy_(torch.from_numpy(start.spread))

    def forward(self, x: Tensor) -> Tensor:
        """Return the spectra at every pixel.

        Args:
            x: Input frames, (N, C_in, H, W): rgb as sRGB encodes it, in [0, 1], infrared as reflectance.

        Raises:
            ShapeError: H or W is 1.
        """
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._forward(x.float())
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        light = linear_light(pad_to_multiple(x, self.size_multiple))
        brightness, relative = split_brightness(light)
        correction = interpolate(self._correction(light), scale_factor=2, mode="bilinear", align_corners=False)
        mixture = self.stem(root_features(relative, self._exponents)) + correction
        spectra: Tensor = self.basis(mixture) * brightness
        return spectra[..., :height, :width]

    def _correction(self, light: Tensor) -> Tensor:
        """Return what the branch adds to the mixture, at half resolution."""
        brightness, relative = split_brightness(avg_pool2d(light, 2))
        level = torch.log(brightness) + _CENTRE
        spatial = self.spatial(self.spatial_in(torch.cat([relative - 1, level], dim=1)))
        pixel = self.pixel_in(torch.cat([root_features(relative, self._exponents), level], dim=1))
        mixed = relu(self.mix(relu(pixel + self.spatial_out(relu(spatial)))))
        correction: Tensor = self.correct(mixed) * self.spread[:, None, None]
        return correction


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside the identity, which they begin as almost nothing to."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.normal_(self.second.weight, std=0.01)
        nn.init.zeros_(_bias(self.second))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, width, H, W) -> (N, width, H, W)."""
        change: Tensor = self.second(relu(self.first(x)))
        return x + change


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Return a layer that begins by giving zeros."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(_bias(layer))
    return layer


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
