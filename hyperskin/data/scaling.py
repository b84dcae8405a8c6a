"""How a picture is scaled before a network sees it: as stored, or stretched from its darkest to its brightest value."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from hyperskin.pairs import Pair

InputScale = Literal["fixed", "min_max"]
"""fixed: rgb / 255. min_max: (rgb - darkest) / (brightest - darkest), over all channels of the whole picture."""

INPUT_SCALES: tuple[InputScale, ...] = get_args(InputScale)

Span = tuple[int, int]
"""Darkest and brightest number of a picture, over all of its channels."""


def is_stretched(pair: Pair, scale: InputScale) -> bool:
    """Tell whether the input of `pair` is stretched: a picture alone; with an infrared band it goes in as stored.

    Source:
        The loaders of the Hyper-Skin authors (2023), which stretch RGB and leave MSI.
    """
    return scale == "min_max" and pair.inputs == ("rgb",)


def find_span(rgb: npt.NDArray[np.uint8]) -> Span:
    """Return the darkest and the brightest number of a picture, (H, W, 3)."""
    return int(rgb.min()), int(rgb.max())


def stretch_rgb(rgb: npt.NDArray[np.uint8], spans: list[Span]) -> npt.NDArray[np.float32]:
    """Return stored numbers (N, ...) stretched to 0 .. 1, each by the span of the picture it is from, float32.

    A picture of one value is 0 everywhere.

    Examples:
        >>> stretch_rgb(np.array([[10, 20, 30], [7, 7, 7]], np.uint8), [(10, 30), (7, 7)]).tolist()
        [[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]
    """
    shape = (-1, *[1] * (rgb.ndim - 1))
    darkest, brightest = np.array(spans, np.float32).T
    widths = np.maximum(brightest - darkest, 1)
    stretched: npt.NDArray[Any] = (rgb.astype(np.float32) - darkest.reshape(shape)) / widths.reshape(shape)
    return stretched
