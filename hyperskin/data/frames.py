"""One capture as a pair's input, reference, mask and valid map, read whole or by window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader, Window, decode_reflectance
from hyperskin.errors import DataError, MissingFileError
from hyperskin.pairs import Pair

_EVERYTHING = (slice(None), slice(None))


@dataclass(frozen=True)
class PairFiles:
    """Where one capture's files lie; `mask` is None for a scene without one."""

    capture: CaptureId
    cube: Path
    inputs: Path
    mask: Path | None


@dataclass(frozen=True)
class Frame:
    """One capture in memory.

    Attributes:
        capture: Whose it is.
        input: (H, W, C_in) float32: rgb / 255 as encoded by the camera, infrared as reflectance.
        reference: (H, W, C_out) float32, measured reflectance on the pair's target bands.
        mask: (H, W) bool, True = subject; None where there is no mask.
        valid: (H, W) bool, True = measured.
    """

    capture: CaptureId
    input: npt.NDArray[np.float32]
    reference: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_] | None
    valid: npt.NDArray[np.bool_]


def read_frame(files: PairFiles, pair: Pair, *, camera: str, window: Window | None = None) -> Frame:
    """Read one capture for `pair`, whole or a window (rows, columns) of it."""
    with CubeReader(files.cube) as cubes:
        reference = _stack_target(cubes, pair, window)
        valid = cubes.read_valid(window)
    return Frame(
        capture=files.capture,
        input=read_input(files.inputs, pair, camera=camera, window=window),
        reference=reference,
        mask=None if files.mask is None else read_mask(files.mask)[window or _EVERYTHING],
        valid=valid,
    )


def read_input(path: Path, pair: Pair, *, camera: str, window: Window | None = None) -> npt.NDArray[np.float32]:
    """Return the input of `pair` as taken by `camera`, (H, W, C_in) float32."""
    if not path.is_file():
        raise MissingFileError(f"An input file must be at {path}; there is none: run `dvc repro`.")
    chosen = window or _EVERYTHING
    parts = []
    with h5py.File(path, "r") as file:
        for name in pair.inputs:
            key = f"rgb/{camera}" if name == "rgb" else name
            if key not in file:
                raise DataError(
                    f"{path} must hold {key!r} for the pair {pair.name!r}; it holds {', '.join(_leaves(file))}: "
                    "check `render.cameras` and the source."
                )
            values = file[key][chosen]
            parts.append(
                values.astype(np.float32) / np.float32(255) if name == "rgb" else decode_reflectance(values)[..., None]
            )
    return np.concatenate(parts, axis=2)


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Return the mask stored at `path`, (H, W) bool."""
    if not path.is_file():
        raise MissingFileError(f"A mask must be at {path}; there is none: run `dvc repro`.")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")) > 127


def _stack_target(cubes: CubeReader, pair: Pair, window: Window | None) -> npt.NDArray[np.float32]:
    """Read the target cubes and join them, a shared band taken from the first."""
    parts: list[npt.NDArray[np.float32]] = []
    seen: set[float] = set()
    for name in pair.cubes:
        cube = cubes.read(name, window)
        wavelengths = cubes.header.bands[name].wavelength_nm
        fresh = [i for i, wavelength_nm in enumerate(wavelengths) if wavelength_nm not in seen]
        seen.update(wavelengths)
        parts.append(cube if len(fresh) == len(wavelengths) else cube[..., fresh])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def _leaves(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names
