"""A capture as the same camera and scanner would have stored it in another light."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.data.cubefile import decode_reflectance, encode_reflectance
from hyperskin.data.encoding import to_8bit
from hyperskin.data.frames import Frame, FrameReader, PairFiles, StoredFrame, decode_inputs, read_frame
from hyperskin.pairs import Pair
from hyperskin.spectral.rendering import decode_srgb, encode_srgb

GAINS = (0.2, 1.2)
"""Least and most that the light of a training crop is multiplied by; all magnitudes in between are equally likely."""


def read_exposed(files: PairFiles, pair: Pair, *, camera: str, gains: Sequence[float]) -> Iterator[Frame]:
    """Yield one capture as it would have been stored in each of `gains` times its light. Raises as `read_frame`."""
    frame = read_frame(files, pair, camera=camera)
    with FrameReader(files, pair, cameras=[camera]) as reader:
        stored = reader.read()
    for gain in gains:
        exposed = expose(stored, gain)
        yield replace(frame, input=decode_inputs(exposed.inputs), reference=decode_reflectance(exposed.target))


def expose(frame: StoredFrame, gain: float) -> StoredFrame:
    """Return a frame as if its light had been `gain` times as strong, in the same numbers; `valid` is shared.

    The picture has lost what 8 bits lose in the dark, and is white where it would be brighter than white; infrared
    band and reference are multiplied.
    """
    rgb, *others = frame.inputs
    return StoredFrame((expose_rgb(rgb, gain), *(_scale(other, gain) for other in others)), _scale(frame.target, gain), frame.valid)


def expose_rgb(rgb: npt.NDArray[Any], gain: float) -> npt.NDArray[Any]:
    """Return a stored picture in `gain` times its light, the same shape and type.

    Args:
        rgb: (H, W, 3), encoded as sRGB: uint8, or uint16 where an MSI brought it.
        gain: Above 0.

    Examples:
        >>> expose_rgb(np.array([[[0, 128, 255]]], np.uint8), 0.25).tolist()
        [[[0, 66, 137]]]
    """
    if rgb.dtype == np.uint8:
        exposed: npt.NDArray[Any] = to_8bit(_expose(np.arange(256) / 255, gain))[rgb]
        return exposed
    return encode_reflectance(_expose(decode_reflectance(rgb), gain))[0]


def _expose(encoded: npt.NDArray[Any], gain: float) -> npt.NDArray[Any]:
    exposed: npt.NDArray[Any] = encode_srgb(np.clip(gain * decode_srgb(encoded), 0.0, 1.0))
    return exposed


def _scale(numbers: npt.NDArray[np.uint16], gain: float) -> npt.NDArray[np.uint16]:
    """Return stored reflectance times `gain`."""
    return encode_reflectance(decode_reflectance(numbers) * np.float32(gain))[0]
