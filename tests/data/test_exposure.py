"""Another exposure is what the camera would have stored of as much more or less light."""

import numpy as np
import pytest

from hyperskin.data.cubefile import SCALE, decode_reflectance, encode_reflectance
from hyperskin.data.encoding import to_8bit
from hyperskin.data.exposure import expose, expose_rgb
from hyperskin.data.frames import StoredFrame
from hyperskin.spectral.rendering import encode_srgb


@pytest.fixture
def light() -> np.ndarray:
    return np.random.default_rng(2).random((24, 32, 3))


def _reference_exposed(number: int, gain: float) -> int:
    """Return one 8-bit number in other light, by the formulas of IEC 61966-2-1."""
    encoded = number / 255
    linear = gain * (encoded / 12.92 if encoded <= 0.04045 else ((encoded + 0.055) / 1.055) ** 2.4)
    again = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return int(min(again, 1.0) * 255 + 0.5)


@pytest.mark.parametrize("gain", [0.2, 0.77, 1.2])
def test_every_number_becomes_what_the_curve_says(gain: float) -> None:
    numbers = np.arange(255, dtype=np.uint8).reshape(5, 17, 3)
    expected = [_reference_exposed(number, gain) for number in range(255)]
    exposed = expose_rgb(numbers, gain)
    assert exposed.dtype == np.uint8
    assert exposed.ravel().tolist() == expected


def test_as_much_light_is_the_same_picture(light: np.ndarray) -> None:
    picture = to_8bit(light)
    np.testing.assert_array_equal(expose_rgb(picture, 1.0), picture)


def test_a_picture_in_less_light_is_nearly_that_of_the_darker_scene(light: np.ndarray) -> None:
    exposed = expose_rgb(to_8bit(encode_srgb(light)), 0.4).astype(int)
    assert np.abs(exposed - to_8bit(encode_srgb(0.4 * light))).max() <= 1


def test_what_becomes_brighter_than_white_is_white() -> None:
    assert expose_rgb(np.full((1, 1, 3), 250, np.uint8), 1.2).tolist() == [[[255, 255, 255]]]


def test_an_msis_own_picture_keeps_its_16_bits(light: np.ndarray) -> None:
    exposed = expose_rgb(encode_reflectance(encode_srgb(light))[0], 0.4)
    assert exposed.dtype == np.uint16
    np.testing.assert_allclose(decode_reflectance(exposed), encode_srgb(0.4 * light), atol=3 / SCALE)


def test_infrared_and_reference_are_multiplied_and_the_valid_map_is_kept(light: np.ndarray) -> None:
    values = np.random.default_rng(3).normal(0.3, 0.2, (24, 32, 6)).clip(-0.1, 1)
    numbers = encode_reflectance(values)[0]
    frame = StoredFrame((to_8bit(light), numbers[..., :1]), numbers[..., 1:], np.ones((24, 32), bool))
    exposed = expose(frame, 0.3)
    np.testing.assert_allclose(decode_reflectance(exposed.inputs[1]), 0.3 * values[..., :1], atol=1 / SCALE)
    np.testing.assert_allclose(decode_reflectance(exposed.target), 0.3 * values[..., 1:], atol=1 / SCALE)
    np.testing.assert_array_equal(exposed.inputs[0], expose_rgb(frame.inputs[0], 0.3))
    assert exposed.valid is frame.valid
