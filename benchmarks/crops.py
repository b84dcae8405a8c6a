"""Random 128 x 128 training crops per CPU second: ours against the ways a person would otherwise read them.

Peers, one 1024 x 1024 x 31 cube each, synthetic and incompressible in its lower bits as a sensor's noise is:
- a MATLAB v7.3 file decoded whole for every crop, as the benchmark's published loader does (the file is emulated:
  float64 rounded to 1/30000, gzip 3, chunks guessed);
- contiguous float32 HDF5, read by window.

Run: python benchmarks/crops.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hyperskin.bands import VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader, write_cubes
from hyperskin.data.frames import PairFiles
from hyperskin.data.patches import CachedCaptures, Captures, CropBatches, StoredCaptures, draw_crops
from hyperskin.pairs import find_pair

SIDE_PX = 1024
CROP_PX = 128
BATCH_SIZE = 20

Cube = npt.NDArray[np.float32]
ReadCrop = Callable[[slice, slice], Cube]


def main() -> None:
    cube = synthetic_cube()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matlab = write_matlab(folder / "cube.mat", cube)
        plain = write_plain(folder / "plain.h5", cube)
        ours = write_ours(folder / "ours.h5", cube)
        with h5py.File(plain, "r") as file, CubeReader(ours) as reader:
            rates = {
                "MATLAB v7.3 decoded whole": crops_per_cpu_second(
                    lambda rows, columns: read_matlab(matlab)[rows, columns], crop_count=4, rounds=1
                ),
                "contiguous float32 HDF5": crops_per_cpu_second(lambda rows, columns: file["cube"][rows, columns]),
                "ours, first touch": crops_per_cpu_second(
                    lambda rows, columns: read_afresh(ours, rows, columns), rounds=1
                ),
                "ours": crops_per_cpu_second(lambda rows, columns: reader.read("vis", (rows, columns))),
            }
        print(f"{CROP_PX} x {CROP_PX} x 31 crops as float32, one thread")
        for (label, rate), path in zip(rates.items(), (matlab, plain, ours, ours), strict=True):
            print(f"  {label:28} {rate:8.1f} crops per CPU second {path.stat().st_size / 1e6:8.1f} MB")
        print(f"  ours against the .mat file: {rates['ours'] / rates['MATLAB v7.3 decoded whole']:.0f} x (goal 100 x)")
        print(
            f"  ours against float32 HDF5:  {rates['ours'] / rates['contiguous float32 HDF5']:.2f} x (goal > 1 x), "
            f"bytes {ours.stat().st_size / plain.stat().st_size:.2f} (goal 0.5)"
        )
        print(f"rgb_vis batches of {BATCH_SIZE}: input, reference and valid map, turned, stacked, as tensors")
        files = [write_inputs(folder / "inputs.h5", ours)]
        with StoredCaptures(files, find_pair("rgb_vis"), cameras=["cie"]) as stored:
            print(f"  from files   {batched_crops_per_cpu_second(stored):8.1f} crops per CPU second")
            print(f"  from memory  {batched_crops_per_cpu_second(CachedCaptures(stored)):8.1f} crops per CPU second")


def synthetic_cube() -> Cube:
    """Return smooth spectra with a sensor's noise, (H, W, 31) float32."""
    generator = np.random.default_rng(0)
    cube = generator.random((SIDE_PX, SIDE_PX, 31), dtype=np.float32)
    cube *= 0.01
    cube += np.linspace(0.2, 0.7, 31, dtype=np.float32)
    return cube


def write_matlab(path: Path, cube: Cube) -> Path:
    """Write what `save -v7.3` would: axes reversed, doubles, gzip."""
    with h5py.File(path, "w", userblock_size=512) as file:
        doubles = np.round(cube.transpose(2, 1, 0).astype(np.float64) * 30000) / 30000
        file.create_dataset("cube", data=doubles, chunks=(8, 64, 128), compression="gzip", compression_opts=3)
    return path


def read_matlab(path: Path) -> Cube:
    """Return the whole cube, (H, W, C) float32."""
    with h5py.File(path, "r") as file:
        return np.ascontiguousarray(file["cube"][...].transpose(2, 1, 0), dtype=np.float32)


def write_plain(path: Path, cube: Cube) -> Path:
    with h5py.File(path, "w") as file:
        file["cube"] = cube
    return path


def write_ours(path: Path, cube: Cube) -> Path:
    with write_cubes(path, height=SIDE_PX, width=SIDE_PX, bands={"vis": VIS}, attributes={}) as writer:
        for top in range(0, SIDE_PX, 64):
            writer.append({"vis": cube[top : top + 64]}, np.ones((64, SIDE_PX), dtype=np.bool_))
    return path


def write_inputs(path: Path, cube: Path) -> PairFiles:
    rgb = np.random.default_rng(1).integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.create_dataset("rgb/cie", data=rgb, chunks=(64, 64, 3), fletcher32=True)
    return PairFiles(CaptureId.parse("p001_neutral_front"), cube, path, None)


def read_afresh(path: Path, rows: slice, columns: slice) -> Cube:
    """Open the file and read one crop, every checksum verified."""
    with CubeReader(path) as reader:
        return reader.read("vis", (rows, columns))


def crops_per_cpu_second(read: ReadCrop, *, crop_count: int = 300, rounds: int = 3) -> float:
    """Return the best of `rounds`, after one for the page cache where there are several."""
    crops = draw_crops([(SIDE_PX, SIDE_PX)], crop_count, crop_px=CROP_PX, augment=False, seed=0, epoch=1)
    best = 0.0
    for _ in range(rounds):
        began = time.process_time()
        for crop in crops:
            patch = read(slice(crop.top, crop.top + CROP_PX), slice(crop.left, crop.left + CROP_PX))
            assert patch.shape == (CROP_PX, CROP_PX, 31)
        best = max(best, crop_count / (time.process_time() - began))
    return best


def batched_crops_per_cpu_second(captures: Captures, *, step_count: int = 15, rounds: int = 3) -> float:
    batches = CropBatches(captures, crop_px=CROP_PX)
    crops = draw_crops(captures.shapes, step_count * BATCH_SIZE, crop_px=CROP_PX, augment=True, seed=0, epoch=1)
    best = 0.0
    for _ in range(rounds):
        began = time.process_time()
        for i in range(step_count):
            batches[crops[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]]
        best = max(best, len(crops) / (time.process_time() - began))
    return best


if __name__ == "__main__":
    main()
