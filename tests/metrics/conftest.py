"""A pair of small cubes with texture, and a face-like mask."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

Float64 = npt.NDArray[np.float64]


class Phantom(NamedTuple):
    """Two cubes (24, 32, 31) and a mask (24, 32) bool with background on every side."""

    estimate: Float64
    reference: Float64
    mask: npt.NDArray[np.bool_]


@pytest.fixture(params=[1, 2])
def phantom(request: pytest.FixtureRequest) -> Phantom:
    """Return cubes with smooth spectra, texture and noise; another for each seed."""
    generator = np.random.default_rng(request.param)
    texture = ndimage.gaussian_filter(generator.random((24, 32, 31)), (1.0, 1.0, 3.0))
    texture = (texture - texture.min()) / np.ptp(texture)
    reference = 0.1 + 0.6 * texture * np.linspace(0.4, 1.0, 31)
    estimate = 0.95 * reference + 0.02 * generator.standard_normal(reference.shape)
    rows, columns = np.mgrid[:24, :32]
    mask = ((rows - 12) / 9) ** 2 + ((columns - 15) / 11) ** 2 < 1
    return Phantom(estimate, reference, mask)
