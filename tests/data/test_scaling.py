"""Pictures are stretched by their own span, and only where nothing but a picture goes in."""

import numpy as np
import pytest

from hyperskin.data.scaling import find_span, is_stretched, stretch_rgb
from hyperskin.pairs import find_pair


@pytest.mark.parametrize(
    ("pair", "scale", "expected"),
    [
        ("rgb_vis", "fixed", False),
        ("rgb_vis", "min_max", True),
        ("msi_nir", "min_max", False),
        ("msi_visnir", "min_max", False),
    ],
)
def test_a_picture_alone_is_stretched(pair: str, scale: str, expected: bool) -> None:
    assert is_stretched(find_pair(pair), scale) is expected  # type: ignore[arg-type]  # parametrised over its values


def test_a_span_is_over_all_channels() -> None:
    assert find_span(np.array([[[7, 200, 3], [9, 9, 9]]], np.uint8)) == (3, 200)


def test_each_picture_is_stretched_by_its_own_span() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 32), np.uint8)
    spans = [find_span(picture) for picture in rgb]
    stretched = stretch_rgb(rgb, spans)
    assert stretched.dtype == np.float32
    assert stretched.min() == 0
    assert stretched.max() == 1
    brighter = stretch_rgb(rgb // 2 + 100, [find_span(picture // 2 + 100) for picture in rgb])
    np.testing.assert_allclose(brighter, stretched, atol=0.01)  # light and contrast are gone, to a step of 8 bits


def test_a_picture_of_one_value_is_black() -> None:
    assert not stretch_rgb(np.full((1, 3, 4, 5), 128, np.uint8), [(128, 128)]).any()
