"""How a network that halves its frame three times takes a frame of any size."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from hyperskin.errors import ShapeError


def pad8(x: Tensor) -> Tensor:
    """Return the frames extended at the bottom and the right to sizes that 8 divides.

    The new rows and columns mirror the frame at its last row and column, which are not repeated.

    Args:
        x: Frames, (N, C, H, W).

    Returns:
        Frames, (N, C, ceil(H / 8) * 8, ceil(W / 8) * 8); `x` itself where nothing is missing. Cropping with
        `[..., :H, :W]` undoes the padding.

    Raises:
        ShapeError: H or W is 4 or less, too small to mirror the rows or columns that are missing.

    Examples:
        >>> import torch
        >>> pad8(torch.arange(6.0).reshape(1, 1, 1, 6).expand(1, 1, 8, 6))[0, 0, 0].tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0]
    """
    height, width = x.shape[-2:]
    bottom, right = -height % 8, -width % 8
    if bottom == 0 and right == 0:
        return x
    if bottom >= height or right >= width:
        raise ShapeError(
            f"A frame must be at least 5 px high and wide to be padded to a multiple of 8; got {height} x {width} px."
        )
    return pad(x, (0, right, 0, bottom), mode="reflect")
