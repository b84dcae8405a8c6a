"""A pair of small cubes with texture, a face-like mask, and the measured scene."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
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


class RealScene(NamedTuple):
    """A measured scene (512, 512, 31) in [0, 1] and where real skin and printed skin are, (512, 512) bool."""

    cube: npt.NDArray[np.float32]
    real_skin: npt.NDArray[np.bool_]
    printed_skin: npt.NDArray[np.bool_]


@pytest.fixture(scope="session")
def real_scene() -> RealScene:
    """Return the scene with a real face and a printed one."""
    if "HYPERSKIN_REALDATA" not in os.environ:
        pytest.skip("HYPERSKIN_REALDATA is not set")
    folder = Path(os.environ["HYPERSKIN_REALDATA"])
    scene = folder / "cave" / "photo_and_face_ms" / "photo_and_face_ms"
    bands = [np.asarray(Image.open(path)) for path in sorted(scene.glob("*_ms_??.png"))]
    masks = [
        np.asarray(Image.open(folder / "masks" / f"photo_and_face_ms_{name}.png")) > 127
        for name in ("realskin", "printedphoto")
    ]
    return RealScene((np.stack(bands, axis=2) / 65535).astype(np.float32), masks[0], masks[1])
