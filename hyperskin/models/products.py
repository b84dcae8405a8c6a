"""How often a pixel makes a network multiply and add."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

COUNTED_PX = 64
"""Side of the frame that is counted on; every network here does per pixel what it does on larger ones."""


@torch.inference_mode()
def products_per_px(network: nn.Module, in_channels: int) -> float:
    """Return the multiplications with an addition that one pixel of a frame costs.

    Those of convolutions and matrices are counted, attention among them; what works number by number is not.

    Args:
        network: (1, C_in, H, W) -> (1, C_out, H, W), on any device; it is not changed.
        in_channels: C_in.

    Examples:
        >>> products_per_px(nn.Conv2d(3, 31, kernel_size=3, padding=1), 3)
        837.0
    """
    device = next((parameter.device for parameter in network.parameters()), None)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, in_channels, COUNTED_PX, COUNTED_PX, device=device))
    return float(counter.get_total_flops() / 2 / COUNTED_PX**2)
