"""Phantom faces as a repository holds them: cubes, inputs, masks and a manifest, without the stages that make them."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hyperskin.atomic import file_sha256
from hyperskin.bands import NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import encode_reflectance, write_cubes
from hyperskin.data.encoding import through_jpeg, to_8bit
from hyperskin.data.manifest import CaptureEntry, describe_file, write_manifest
from hyperskin.data.truth import SUBJECT_LABELS
from hyperskin.phantom.face import LABELS
from hyperskin.phantom.recipe import Recipe, plan_subjects
from hyperskin.phantom.scene import Scene, SceneLines
from hyperskin.pictures import save_mask
from hyperskin.spectral.colour import render_srgb

PARAMS = Path(__file__).parent.parent / "params.yaml"
SIZE = 64


@functools.cache
def draw(name: str, size: int = SIZE) -> SceneLines:
    """Return a capture of the shipped phantom's people, all lines of it."""
    capture = CaptureId.parse(name)
    scene = Scene.of(capture, Recipe(1, plan_subjects(6)[capture.subject], size, size))
    return scene.lines(0, size)


def subject_of(lines: SceneLines) -> npt.NDArray[np.bool_]:
    """Return where the subject is."""
    return np.isin(np.array(LABELS)[lines.labels], SUBJECT_LABELS)


def measure(lines: SceneLines, seed: int = 0) -> dict[str, npt.NDArray[np.float32]]:
    """Return the VIS and NIR cubes with a sensor's noise."""
    generator = np.random.default_rng(seed)
    return {
        name: cube + 0.002 * generator.standard_normal(cube.shape, dtype=np.float32)
        for name, cube in (("vis", lines.vis), ("nir", lines.nir))
    }


def photograph(lines: SceneLines) -> npt.NDArray[np.uint8]:
    """Return what the CIE camera stores, (H, W, 3) uint8."""
    return through_jpeg(to_8bit(render_srgb(lines.vis, VIS).rgb))


def write_cube(path: Path, name: str, size: int = SIZE) -> Path:
    """Write a capture's cube file."""
    cubes = measure(draw(name, size))
    with write_cubes(path, height=size, width=size, bands={"vis": VIS, "nir": NIR}, attributes={}) as writer:
        writer.append(cubes, np.ones((size, size), dtype=np.bool_))
    return path


def make_repository(
    root: Path, names: list[str], *, source: str = "phantom", publishable: tuple[str, ...] = ()
) -> Path:
    """Write params.yaml, dvc.yaml and data with these captures below `root`, as if `dvc repro` had been there."""
    root.mkdir(parents=True, exist_ok=True)
    text = PARAMS.read_text().replace("publishable_subjects: []", f"publishable_subjects: [{', '.join(publishable)}]")
    (root / "params.yaml").write_text(text)
    shutil.copy(PARAMS.with_name("dvc.yaml"), root)
    data = root / "data"
    entries = []
    for name in names:
        lines, capture = draw(name), CaptureId.parse(name)
        cube = write_cube(data / "cubes" / capture.subject / f"{name}.h5", name)
        inputs = data / "inputs" / capture.subject / f"{name}.h5"
        inputs.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(inputs, "w", libver=("v110", "v110")) as file:
            file.create_dataset("rgb/cie", data=photograph(lines), fletcher32=True, chunks=(SIZE, SIZE, 3))
            file.create_dataset("infrared_960", data=encode_reflectance(lines.nir[..., 26])[0], chunks=(SIZE, SIZE))
        mask = data / "masks" / capture.subject / f"{name}.png"
        save_mask(subject_of(lines), mask)
        files = {
            key: describe_file(path, data, file_sha256(path)) for key, path in (("c", cube), ("i", inputs), ("m", mask))
        }
        contents = {"vis": "0" * 64, "nir": "0" * 64, "valid": "0" * 64}
        entries.append(CaptureEntry(capture, "test", files["c"], files["i"], files["m"], (SIZE, SIZE), contents, {}))
    write_manifest(data / "manifest.json", source=source, settings={}, captures=entries)
    return root
