"""HSCNN+: thirty dense blocks at full resolution, each reading the features of all before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear, relu

from hyperskin.errors import ParamsError

_FIRST = 128  # features before the first block
_GROWTH = 32  # features that each block adds


@dataclass(frozen=True)
class HscnnPlusConfig:
    """Sizes of an HSCNN+.

    Attributes:
        in_channels: Input channels, 3 for rgb, 4 for msi.
        out_channels: Bands that come out.
        blocks: Dense blocks; the published networks have 30 (visible) and 20 (infrared).
    """

    in_channels: int
    out_channels: int
    blocks: int = 30

    def __post_init__(self) -> None:
        """Refuse a network without blocks."""
        if self.blocks < 1:
            raise ParamsError(f"`blocks` of hscnn_plus must be 1 or more; got {self.blocks!r}.")

    @classmethod
    def infer(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the sizes that the weights of a checkpoint have."""
        in_channels = state["ddfn.conv_up1.weight"].shape[1]
        blocks = {key.split(".")[2] for key in state if key.startswith("ddfn.dfus_blocks.")}
        return cls(in_channels, state["conv_out.weight"].shape[0], len(blocks))


class TwoPaths(nn.Module):
    """Two paths of a 3 x 3 and a 1 x 1 convolution over the same features, "up" and "down"."""

    def __init__(self, in_channels: int, second: int) -> None:
        super().__init__()
        self.conv_up1 = nn.Conv2d(in_channels, 32, 3, padding=1, bias=False)
        self.conv_up2 = nn.Conv2d(32, second, 1, bias=False)
        self.conv_down1 = nn.Conv2d(in_channels, 32, 3, padding=1, bias=False)
        self.conv_down2 = nn.Conv2d(32, second, 1, bias=False)

    def run_paths(self, x: Tensor) -> Tensor:
        """Return what every layer sees, (N, H, W, C) -> (N, H, W, 64 + 2 second): up 1, up 2, down 1, down 2."""
        # Both 3 x 3 convolutions read the same input; as one of twice the width they use the processor better.
        kernels = torch.cat([self.conv_up1.weight, self.conv_down1.weight])
        first = relu(conv2d(x.permute(0, 3, 1, 2), kernels, padding=1)).permute(0, 2, 3, 1)
        up1, down1 = first.chunk(2, dim=-1)
        up2 = relu(_mix(up1, self.conv_up2))
        down2 = relu(_mix(down1, self.conv_down2))
        return torch.cat([up1, up2, down1, down2], dim=-1)


class DenseBlock(TwoPaths):
    """Squeeze everything seen so far, run both paths over it, and fuse what they see into new features."""

    def __init__(self, seen: int) -> None:
        super().__init__(128, 16)
        self.conv1 = nn.Conv2d(seen, 128, 1, bias=False)
        self.conv_fution = nn.Conv2d(96, _GROWTH, 1, bias=False)  # spelled as in the published checkpoints

    def forward(self, seen: Tensor) -> Tensor:
        """Return the new features, (N, H, W, seen) -> (N, H, W, 32)."""
        squeezed = relu(_mix(seen, self.conv1))
        return relu(_mix(self.run_paths(squeezed), self.conv_fution))


class DenseFusion(TwoPaths):
    """The stem and the blocks."""

    def __init__(self, in_channels: int, blocks: int) -> None:
        super().__init__(in_channels, 32)
        self.dfus_blocks = nn.ModuleList(DenseBlock(_FIRST + _GROWTH * i) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of stem and blocks side by side, (N, H, W, C_in) -> (N, H, W, 128 + 32 blocks)."""
        stem = self.run_paths(x)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._fuse_by_joining(stem)
        return self._fuse_in_place(stem)

    def _fuse_by_joining(self, seen: Tensor) -> Tensor:
        """Copy all features seen so far for every block: what gradients and graphs need."""
        for block in self.dfus_blocks:
            seen = torch.cat([seen, block(seen)], dim=-1)
        return seen

    def _fuse_in_place(self, stem: Tensor) -> Tensor:
        """Write every block's features into one array made for all: nothing is copied, and half the memory does."""
        count = _FIRST
        features = stem.new_empty(*stem.shape[:-1], _FIRST + _GROWTH * len(self.dfus_blocks))
        features[..., :count] = stem
        for block in self.dfus_blocks:
            features[..., count : count + _GROWTH] = block(features[..., :count])
            count += _GROWTH
        return features


class HscnnPlus(nn.Module):
    """HSCNN+, (N, C_in, H, W) -> (N, C_out, H, W), any H, W >= 1.

    A pixel depends on those at most 1 + blocks px away. Inside, channels are last.

    Args:
        config: Sizes of the network.

    Source:
        Shi, Chen, Xiong, Liu, Wu: HSCNN+: Advanced CNN-based hyperspectral recovery from RGB images, CVPR Workshops
        2018, HSCNN-D, doi:10.1109/CVPRW.2018.00139.
    """

    size_multiple = 1

    def __init__(self, config: HscnnPlusConfig) -> None:
        super().__init__()
        self.config = config
        self.ddfn = DenseFusion(config.in_channels, config.blocks)
        self.conv_out = nn.Conv2d(_FIRST + _GROWTH * config.blocks, config.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstructed bands, (N, C_in, H, W) -> (N, C_out, H, W), not clipped."""
        features: Tensor = self.ddfn(x.permute(0, 2, 3, 1).contiguous())
        return _mix(features, self.conv_out).permute(0, 3, 1, 2)


def _mix(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return a 1 x 1 convolution of (N, H, W, C) as the matrix product that it is."""
    return linear(x, conv.weight[:, :, 0, 0])
