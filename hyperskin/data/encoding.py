"""How a picture is stored: 8 bits per channel, as the archive's JPEG would give it back or without loss."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperskin.errors import DataError, ShapeError, UnknownNameError

Encoding = Literal["jpeg", "lossless"]

MSI_RGB = "msi_rgb"
"""Where an input file keeps the RGB that came inside an MSI; pairs with an infrared input prefer it to the picture."""


def encode(rgb: npt.NDArray[np.floating[Any]], how: Encoding) -> npt.NDArray[np.uint8]:
    """Return what a reader of the stored picture gets, (H, W, 3) uint8, from `rgb` in [0, 1]."""
    if how == "lossless":
        return to_8bit(rgb)
    if how == "jpeg":
        return through_jpeg(to_8bit(rgb))
    raise UnknownNameError(f"`how` must be one of jpeg, lossless; got {how!r}.")


def to_8bit(rgb: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Return values in [0, 1] as 0..255, same shape, a half rounded up.

    Examples:
        >>> to_8bit(np.array([0.0, 0.5, 1.0])).tolist()
        [0, 128, 255]
    """
    if not np.issubdtype(rgb.dtype, np.floating):
        raise DataError(f"`rgb` must be floats in [0, 1]; got dtype {rgb.dtype}.")
    if rgb.size and not (rgb.min() >= 0 and rgb.max() <= 1):
        raise DataError(f"`rgb` must lie in [0, 1]; got values from {rgb.min():g} to {rgb.max():g}.")
    scaled = rgb * 255
    scaled += 0.5
    return scaled.astype(np.uint8)


def through_jpeg(rgb8: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the picture, (H, W, 3) uint8, after it was stored as `to_jpeg` does and read again."""
    with Image.open(io.BytesIO(to_jpeg(rgb8))) as picture:
        return np.array(picture.convert("RGB"))


def to_jpeg(rgb8: npt.NDArray[np.uint8]) -> bytes:
    """Return the picture, (H, W, 3) uint8, as JPEG: quality 100 and half as much colour each way (4:2:0).

    Those are the quantisation tables (all ones) and the sampling of the Hyper-Skin archive's own pictures.
    """
    if rgb8.ndim != 3 or rgb8.shape[2] != 3 or rgb8.dtype != np.uint8:
        raise ShapeError(f"`rgb8` must be a picture (H, W, 3) of uint8; got {rgb8.shape} of {rgb8.dtype}.")
    stream = io.BytesIO()
    Image.fromarray(rgb8).save(stream, "JPEG", quality=100, subsampling="4:2:0")
    return stream.getvalue()
