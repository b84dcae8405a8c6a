"""HRNet: four resolutions from coarse to fine, dense blocks at each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pixel_shuffle, pixel_unshuffle

from hyperskin.errors import ParamsError
from hyperskin.models.padding import pad_to_multiple


@dataclass(frozen=True)
class HrnetConfig:
    """Sizes of an HRNet.

    Attributes:
        in_channels: Input channels, 3 for rgb, 4 for msi.
        out_channels: Bands that come out.
        width: Channels at full resolution; each coarser level has twice as many. A multiple of 4.
    """

    in_channels: int
    out_channels: int
    width: int = 64

    def __post_init__(self) -> None:
        """Refuse a width that the pixel shuffles cannot divide."""
        if self.width < 4 or self.width % 4 != 0:
            raise ParamsError(f"`width` of hrnet must be a positive multiple of 4; got {self.width!r}.")

    @classmethod
    def infer(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the sizes that the weights of a checkpoint have."""
        width, in_channels = state["main1.conv2d.weight"].shape[:2]
        return cls(in_channels, state["main4.conv2d.weight"].shape[0], width)


class ConvLayer(nn.Module):
    """A convolution and its leaky ReLU, the only kind of layer in this network."""

    def __init__(self, in_channels: int, out_channels: int, kernel_px: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(in_channels, out_channels, kernel_px, padding=kernel_px // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, C_in, H, W) -> (N, C_out, H, W)."""
        return leaky_relu(self.conv2d(x), 0.2)


class ResidualDenseBlock(nn.Module):
    """Five layers, each reading all before it; a tenth of the last is added to the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, growth, 3)
        self.conv2 = ConvLayer(channels + growth, growth, 3)
        self.conv3 = ConvLayer(channels + 2 * growth, growth, 3)
        self.conv4 = ConvLayer(channels + 3 * growth, growth, 3)
        self.conv5 = ConvLayer(channels + 4 * growth, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, C, H, W) -> (N, C, H, W)."""
        seen = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, layer(seen)], dim=1)
        change: Tensor = self.conv5(seen)
        return x + 0.1 * change


class GlobalBlock(nn.Module):
    """Two layers; a tenth of the second is added to the input.

    The published network computes a squeeze-excite gate here and drops it. Its three matrices are kept, frozen, so
    that published checkpoints load strictly; they have no part in the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, 3)
        self.conv2 = ConvLayer(channels, channels, 3)
        squeezed = channels // 4
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(squeezed, squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        ).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, C, H, W) -> (N, C, H, W)."""
        change: Tensor = self.conv2(self.conv1(x))
        return x + 0.1 * change


class Hrnet(nn.Module):
    """HRNet, (N, C_in, H, W) -> (N, C_out, H, W), any H, W >= 5.

    Args:
        config: Sizes of the network.

    Source:
        Zhao, Po, Yan, Liu, Lin: Hierarchical regression network for spectral reconstruction from RGB images,
        CVPR Workshops 2020, in the form its authors' code has.
    """

    size_multiple = 8

    def __init__(self, config: HrnetConfig) -> None:
        super().__init__()
        self.config = config
        c, s = config.in_channels, config.width

        self.top1 = ConvLayer(64 * c, 8 * s, 3)
        self.top21 = ResidualDenseBlock(8 * s, 4 * s)
        self.top22 = GlobalBlock(8 * s)
        self.top3 = ConvLayer(8 * s, 8 * s, 1)

        self.mid1 = ConvLayer(16 * c, 4 * s, 3)
        self.mid2 = ConvLayer(6 * s, 4 * s, 3)
        self.mid31 = ResidualDenseBlock(4 * s, 2 * s)
        self.mid32 = GlobalBlock(4 * s)
        self.mid4 = ConvLayer(4 * s, 4 * s, 3)

        self.bot1 = ConvLayer(4 * c, 2 * s, 3)
        self.bot2 = ConvLayer(3 * s, 2 * s, 3)
        self.bot31 = ResidualDenseBlock(2 * s, s)
        self.bot32 = ResidualDenseBlock(2 * s, s)
        self.bot33 = GlobalBlock(2 * s)
        self.bot4 = ConvLayer(2 * s, 2 * s, 3)

        self.main1 = ConvLayer(c, s, 3)
        self.main2 = ConvLayer(3 * s // 2, s, 3)
        self.main31 = ResidualDenseBlock(s, s // 2)
        self.main32 = ResidualDenseBlock(s, s // 2)
        self.main33 = ResidualDenseBlock(s, s // 2)
        self.main34 = ResidualDenseBlock(s, s // 2)
        self.main35 = GlobalBlock(s)
        self.main4 = ConvLayer(s, config.out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstructed bands.

        Args:
            x: Input frames, (N, C_in, H, W).

        Returns:
            (N, C_out, H, W); the last layer too ends in a leaky ReLU, so values below 0 are rare and small.

        Raises:
            ShapeError: H or W is 4 or less.
        """
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, 8)
        x = x.contiguous(memory_format=torch.channels_last)  # the layout the CPU's convolutions are fastest in

        eighth = self.top1(pixel_unshuffle(x, 8))
        eighth = self.top3(self.top22(self.top21(eighth)))

        quarter = self.mid1(pixel_unshuffle(x, 4))
        quarter = self.mid2(_join_finer(quarter, eighth))
        quarter = self.mid4(self.mid32(self.mid31(quarter)))

        half = self.bot1(pixel_unshuffle(x, 2))
        half = self.bot2(_join_finer(half, quarter))
        half = self.bot4(self.bot33(self.bot32(self.bot31(half))))

        full = self.main1(x)
        full = self.main2(_join_finer(full, half))
        full = self.main34(self.main33(self.main32(self.main31(full))))
        bands: Tensor = self.main4(self.main35(full))
        return bands[..., :height, :width]


def _join_finer(fine: Tensor, coarse: Tensor) -> Tensor:
    """Return the fine features with the coarse ones, brought to their resolution, behind them."""
    return torch.cat([fine, pixel_shuffle(coarse, 2)], dim=1)
