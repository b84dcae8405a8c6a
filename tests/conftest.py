"""Small captures on disk, as the stages write them, for whoever reads pairs."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from hyperskin.bands import NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import encode_reflectance, write_cubes
from hyperskin.data.frames import PairFiles

WriteCapture = Callable[..., PairFiles]

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before anything imports mlflow, which else writes to the home folder


@pytest.fixture
def write_capture(tmp_path: Path) -> WriteCapture:
    """Return a function that writes one capture: smooth spectra that its rgb and infrared do follow, and a mask."""

    def write(
        name: str = "p001_neutral_front",
        *,
        seed: int = 0,
        height: int = 24,
        width: int = 32,
        invalid: tuple[slice, slice] | None = None,
        mask: bool = True,
    ) -> PairFiles:
        generator = np.random.default_rng(seed)
        rgb = generator.random((height, width, 3))
        across = np.linspace(0, 1, 61)
        basis = np.stack([1 - across, across, np.sin(np.pi * across)])
        cube = 0.05 + 0.4 * rgb @ basis
        valid = np.ones((height, width), dtype=bool)
        if invalid is not None:
            valid[invalid] = False
        path = tmp_path / "cubes" / f"{name}.h5"
        bands = {"vis": VIS, "nir": NIR}
        with write_cubes(path, height=height, width=width, bands=bands, attributes={}) as writer:
            writer.append({"vis": cube[..., :31], "nir": cube[..., 30:]}, valid)
        inputs = tmp_path / "inputs" / f"{name}.h5"
        inputs.parent.mkdir(exist_ok=True)
        chunk = (min(64, height), min(64, width))
        with h5py.File(inputs, "w", libver=("v110", "v110")) as file:
            picture = np.rint(rgb * 255).astype(np.uint8)
            file.create_dataset("rgb/cie", data=picture, chunks=(*chunk, 3), fletcher32=True)
            infrared = encode_reflectance(cube[..., 56])[0]
            file.create_dataset("infrared_960", data=infrared, chunks=chunk, fletcher32=True)
        if not mask:
            return PairFiles(CaptureId.parse(name), path, inputs, None)
        drawn = np.zeros((height, width), dtype=np.uint8)
        drawn[height // 4 :, width // 4 :] = 255
        picture_path = tmp_path / "masks" / f"{name}.png"
        picture_path.parent.mkdir(exist_ok=True)
        Image.fromarray(drawn).save(picture_path)
        return PairFiles(CaptureId.parse(name), path, inputs, picture_path)

    return write
