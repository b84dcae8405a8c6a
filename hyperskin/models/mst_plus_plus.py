"""MST++: U-shaped stages whose attention is between bands instead of between pixels.

Inside the network channels are last, (N, H, W, C), since most of it is matrix products over channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hyperskin.errors import ParamsError
from hyperskin.models.padding import pad_to_multiple

_STRIP_NUMBERS = 1 << 18  # 1 MB of float32 per strip: the fourfold features between two layers stay in the cache
_STRIP_ROWS = 16  # at least, or a strip's borders cost more than the cache saves


@dataclass(frozen=True)
class MstPlusPlusConfig:
    """Sizes of an MST++.

    Attributes:
        in_channels: Input channels, 3 for rgb, 4 for msi.
        out_channels: Bands that come out; the features at full resolution are as many.
        stages: U-shaped stages in a row.
    """

    in_channels: int
    out_channels: int
    stages: int = 3

    def __post_init__(self) -> None:
        """Refuse a network without stages."""
        if self.stages < 1:
            raise ParamsError(f"`stages` of mst_plus_plus must be 1 or more; got {self.stages!r}.")

    @classmethod
    def infer(cls, state: Mapping[str, Tensor]) -> Self:
        """Return the sizes that the weights of a checkpoint have."""
        out_channels, in_channels = state["conv_in.weight"].shape[:2]
        stages = {key.split(".")[1] for key in state if key.startswith("body.")}
        return cls(in_channels, out_channels, len(stages))


class Conv(nn.Conv2d):
    """A convolution of (N, H, W, C) without bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel_px: int, stride_px: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_px, stride_px, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, H, W, C_in) -> (N, H / stride, W / stride, C_out)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Depthwise(nn.Conv2d):
    """A 3 x 3 convolution of every channel of (N, H, W, C) by itself, without bias."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, H, W, C) -> (N, H, W, C)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Pointwise(nn.Conv2d):
    """A 1 x 1 convolution of (N, H, W, C) without bias, computed as the matrix product that it is."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, H, W, C_in) -> (N, H, W, C_out)."""
        return linear(x, self.weight[:, :, 0, 0])


class Upsample(nn.ConvTranspose2d):
    """A learned doubling of the resolution of (N, H, W, C), with bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the features, (N, H, W, C_in) -> (N, 2 H, 2 W, C_out)."""
        return super().forward(x.permute(0, 3, 1, 2), output_size).permute(0, 2, 3, 1)


class BandAttention(nn.Module):
    """Attention in which channels are the words and the pixels of the whole frame their letters."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.rescale = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)
        self.pos_emb = nn.Sequential(Depthwise(width), nn.GELU(), Depthwise(width))
        for projection in (self.to_q, self.to_k, self.to_v, self.proj):
            nn.init.trunc_normal_(projection.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)

    def attend(self, x: Tensor) -> Tensor:
        """Return how much of each value channel goes into each output channel, (N, H, W, C) -> (N, heads, d, d).

        It is a softmax over the cosines of a key channel with the query channels of its head. The sums run strip by
        strip and never in 16 bit, where they overflow; one long sum would lose two digits.
        """
        products = key_powers = query_powers = torch.zeros((), device=x.device)
        for strip in _strips(x):
            keys, queries = _widen(self._split(self.to_k(strip))), _widen(self._split(self.to_q(strip)))
            with _without_autocast(x):
                products = products + keys.mT @ queries
            key_powers = key_powers + keys.square().sum(dim=-2)
            query_powers = query_powers + queries.square().sum(dim=-2)
        norms = _norm(key_powers)[..., :, None] * _norm(query_powers)[..., None, :]
        return torch.softmax(self.rescale * (products / norms), dim=-1)

    def forward(self, x: Tensor, attention: Tensor) -> Tensor:
        """Return the values mixed by `attention` plus what their places add, (N, H, W, C) -> (N, H, W, C)."""
        values = self.to_v(x)
        mixed = self._split(values) @ attention.to(values.dtype).mT
        mixed = mixed.transpose(1, 2).reshape(x.shape)
        result: Tensor = self.proj(mixed) + self.pos_emb(values)
        return result

    def _split(self, x: Tensor) -> Tensor:
        """Return the channels by head and the pixels in a row, (N, H, W, C) -> (N, heads, H W, d)."""
        batch, height, width, _ = x.shape
        return x.reshape(batch, height * width, self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """A widening and narrowing of every pixel's channels, with a look at its neighbours between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        net = nn.Sequential(
            Pointwise(width, 4 * width), nn.GELU(), Depthwise(4 * width), nn.GELU(), Pointwise(4 * width, width)
        )
        self.fn = nn.ModuleDict({"net": net})

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, H, W, C) -> (N, H, W, C)."""
        result: Tensor = self.fn["net"](self.norm(x))
        return result


class AttentionBlock(nn.Module):
    """Attention and a feed-forward network, each added to what it reads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleList([BandAttention(width, heads), FeedForward(width)])])

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, H, W, C) -> (N, H, W, C)."""
        band_attention, feed_forward = next(self.blocks.children()).children()
        assert isinstance(band_attention, BandAttention)
        attention = band_attention.attend(x)
        x = _by_strips(lambda strip: strip + band_attention(strip, attention), x, reach_px=2)
        return _by_strips(lambda strip: strip + feed_forward(strip), x, reach_px=1)


class Stage(nn.Module):
    """A U of three resolutions, added to what it reads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        d = width
        self.embedding = Conv(d, d, 3)
        self.encoder_layers = nn.ModuleList(
            [
                nn.ModuleList([AttentionBlock(d, 1), Conv(d, 2 * d, 4, stride_px=2)]),
                nn.ModuleList([AttentionBlock(2 * d, 2), Conv(2 * d, 4 * d, 4, stride_px=2)]),
            ]
        )
        self.bottleneck = AttentionBlock(4 * d, 4)
        self.decoder_layers = nn.ModuleList(
            [
                nn.ModuleList([Upsample(4 * d, 2 * d), Pointwise(4 * d, 2 * d), AttentionBlock(2 * d, 2)]),
                nn.ModuleList([Upsample(2 * d, d), Pointwise(2 * d, d), AttentionBlock(d, 1)]),
            ]
        )
        self.mapping = Conv(d, d, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (N, H, W, C) -> (N, H, W, C)."""
        z: Tensor = self.embedding(x)
        skipped = []
        for block, halve in map(nn.Module.children, self.encoder_layers):
            z = block(z)
            skipped.append(z)
            z = halve(z)
        z = self.bottleneck(z)
        for double, join, block in map(nn.Module.children, self.decoder_layers):
            z = block(join(torch.cat([double(z), skipped.pop()], dim=-1)))
        result: Tensor = x + self.mapping(z)
        return result


class MstPlusPlus(nn.Module):
    """MST++, (N, C_in, H, W) -> (N, C_out, H, W), any H, W >= 5.

    Every pixel depends on the whole frame, so frames are not tiled.

    Args:
        config: Sizes of the network.

    Source:
        Cai, Lin, Lin, Wang, Zhang, Pfister, Timofte, Van Gool: MST++: Multi-stage spectral-wise transformer for
        efficient spectral reconstruction, CVPR Workshops 2022, doi:10.1109/CVPRW56347.2022.00090.
    """

    size_multiple = 8

    def __init__(self, config: MstPlusPlusConfig) -> None:
        super().__init__()
        self.config = config
        width = config.out_channels
        self.conv_in = Conv(config.in_channels, width, 3)
        self.body = nn.Sequential(*(Stage(width) for _ in range(config.stages)))
        self.conv_out = Conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstructed bands.

        Args:
            x: Input frames, (N, C_in, H, W).

        Returns:
            (N, C_out, H, W), not clipped.

        Raises:
            ShapeError: H or W is 4 or less.
        """
        height, width = x.shape[-2:]
        embedded: Tensor = self.conv_in(pad_to_multiple(x, 8).permute(0, 2, 3, 1).contiguous())
        bands: Tensor = self.conv_out(self.body(embedded)) + embedded
        return bands.permute(0, 3, 1, 2)[..., :height, :width]


def _by_strips(function: Callable[[Tensor], Tensor], x: Tensor, *, reach_px: int) -> Tensor:
    """Return `function(x)`, whose pixels depend on those at most `reach_px` rows away, computed strip by strip."""
    height, rows = x.shape[1], _strip_rows(x)
    if rows >= height:
        return function(x)
    result = torch.empty_like(x)
    for top in range(0, height, rows):
        bottom, first = min(top + rows, height), max(top - reach_px, 0)
        strip = function(x[:, first : bottom + reach_px])
        result[:, top:bottom] = strip[:, top - first : bottom - first]
    return result


def _strips(x: Tensor) -> Iterator[Tensor]:
    height, rows = x.shape[1], _strip_rows(x)
    if rows >= height:
        yield x
        return
    for top in range(0, height, rows):
        yield x[:, top : top + rows]


def _strip_rows(x: Tensor) -> int:
    """Return how many rows to take at a time: all where gradients or a graph are recorded, and off the CPU."""
    batch, height, width, channels = x.shape
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.device.type != "cpu":
        return height
    return max(_STRIP_ROWS, _STRIP_NUMBERS // (batch * width * channels))


def _norm(power: Tensor) -> Tensor:
    """Return the root, at least 1e-12 so that an empty channel divides nothing by zero."""
    return power.clamp_min(1e-24).sqrt()


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _without_autocast(x: Tensor) -> AbstractContextManager[object]:
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
