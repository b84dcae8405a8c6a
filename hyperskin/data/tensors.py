"""The only conversion between (H, W, C) arrays and (C, H, W) tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hyperskin.errors import ShapeError


def cube_to_tensor(cube: npt.NDArray[Any]) -> torch.Tensor:
    """Return a cube (H, W, C) as a new tensor (C, H, W) of the same type."""
    if cube.ndim != 3:
        raise ShapeError(f"`cube` must be (H, W, C); got shape {cube.shape}.")
    return torch.from_numpy(np.array(cube.transpose(2, 0, 1), order="C", copy=True))


def tensor_to_cube(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a tensor (C, H, W), on whatever device, as a new cube (H, W, C) of the same type."""
    if tensor.ndim != 3:
        raise ShapeError(f"`tensor` must be (C, H, W); got shape {tuple(tensor.shape)}.")
    return np.array(tensor.detach().cpu().numpy().transpose(1, 2, 0), order="C", copy=True)


def cubes_to_batch(cubes: npt.NDArray[Any], *, channels_last: bool = False) -> torch.Tensor:
    """Return cubes (N, H, W, C) as a batch (N, C, H, W); channels last, it shares their memory."""
    if cubes.ndim != 4:
        raise ShapeError(f"`cubes` must be (N, H, W, C); got shape {cubes.shape}.")
    batch = torch.from_numpy(cubes).permute(0, 3, 1, 2)
    return batch if channels_last else batch.contiguous()
