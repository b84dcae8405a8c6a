"""A whole frame through a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hyperskin.cube import require_cube
from hyperskin.data.tensors import cube_to_tensor, tensor_to_cube
from hyperskin.errors import ShapeError
from hyperskin.training.device import refuse_short_memory


def reconstruct(
    network: nn.Module,
    input: npt.NDArray[np.floating[Any]],  # noqa: A002 - what a pair calls it
    *,
    device: torch.device,
) -> npt.NDArray[np.float32]:
    """Return the cube that `network` sees behind `input`, (H, W, C_out) float32.

    Threads may share a network: nothing is kept in it. It is put into evaluation mode and stays there.

    Args:
        network: A network whose parameters are on `device`.
        input: The frame as the pair stacks it, (H, W, C_in).
        device: Where to compute.

    Raises:
        ShapeError: `input` is no frame, or the network answers with another size.
        MemoryShortError: The frame does not fit into the device's memory.
    """
    require_cube("input", input)
    if network.training:
        network.eval()
    with torch.inference_mode(), refuse_short_memory(device, "take a smaller frame or a smaller network"):
        batch = cube_to_tensor(input).to(device, torch.float32)[None]
        estimate = network(batch)
        if estimate.ndim != 4 or estimate.shape[0] != 1 or estimate.shape[2:] != batch.shape[2:]:
            raise ShapeError(
                f"A network must answer a frame (1, C, H, W) of {tuple(batch.shape)} with the same H and W; "
                f"got {tuple(estimate.shape)}."
            )
        cube: npt.NDArray[np.float32] = tensor_to_cube(estimate[0].float())
    return cube
