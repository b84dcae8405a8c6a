"""How a network that halves its frame takes a frame of any size."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from hyperskin.errors import ShapeError


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Return the frames extended at the bottom and the right to sizes that `multiple` divides.

    The new rows and columns mirror the frame at its last row and column, which are not repeated.

    Args:
        x: Frames, (N, C, H, W).
        multiple: What their sizes are to be multiples of.

    Returns:
        Frames, (N, C, H or a little more, W or a little more); `x` itself where nothing is missing. Cropping with
        `[..., :H, :W]` undoes the padding.

    Raises:
        ShapeError: H or W is half of `multiple` or less, too small to mirror the rows or columns that are missing.

    Examples:
        >>> import torch
        >>> pad_to_multiple(torch.arange(6.0).reshape(1, 1, 1, 6).expand(1, 1, 8, 6), 8)[0, 0, 0].tolist()
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0]
    """
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom == 0 and right == 0:
        return x
    if bottom >= height or right >= width:
        raise ShapeError(
            f"A frame must be at least {multiple // 2 + 1} px high and wide to be padded to a multiple of {multiple}; "
            f"got {height} x {width} px."
        )
    return pad(x, (0, right, 0, bottom), mode="reflect")
