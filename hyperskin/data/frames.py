"""One capture as a pair's input, reference, mask and valid map, read whole or by window, as any camera saw it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperskin.bands import VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.chunks import Window, WindowReader
from hyperskin.data.cubefile import REMAKE, CubeReader, decode_reflectance, open_hdf5
from hyperskin.data.encoding import MSI_RGB
from hyperskin.data.truth import PANEL, TruthFiles, read_truth_maps
from hyperskin.errors import DataError, MissingFileError, ShapeError
from hyperskin.pairs import Pair

_EVERYTHING = (slice(None), slice(None))
_RGB = "rgb"


@dataclass(frozen=True)
class PairFiles:
    """Where one capture's files lie; `mask` is None for a scene without one, `truth` for whatever was measured."""

    capture: CaptureId
    cube: Path
    inputs: Path
    mask: Path | None
    truth: TruthFiles | None = None


@dataclass(frozen=True)
class Frame:
    """One capture in memory.

    Attributes:
        capture: Whose it is.
        input: (H, W, C_in) float32: rgb as encoded by the camera, in [0, 1], infrared as reflectance.
        reference: (H, W, C_out) float32, measured reflectance on the pair's target bands.
        mask: (H, W) bool, True = subject; None where there is no mask.
        valid: (H, W) bool, True = measured.
    """

    capture: CaptureId
    input: npt.NDArray[np.float32]
    reference: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_] | None
    valid: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """What a phantom capture would be without noise; for scores alone, no training reads it.

    Attributes:
        reference: (H, W, C_out) float32, reflectance on the pair's target bands as a perfect sensor's would be
            calibrated.
        skin: (H, W) bool, True = nothing but skin.
        maps: (H, W) float32 by name: what the skin is made of, NaN where there is none.
    """

    reference: npt.NDArray[np.float32]
    skin: npt.NDArray[np.bool_]
    maps: dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class StoredFrame:
    """A frame, or a window of one, in the numbers of the files: half the bytes of floats.

    Attributes:
        inputs: One array for each input of the pair: uint8 (H, W, 3) for rgb, or uint16 where an MSI
            brought it, uint16 (H, W, 1) for infrared.
        target: (H, W, C_out) uint16, the pair's target bands.
        valid: (H, W) bool, True = measured.
    """

    inputs: tuple[npt.NDArray[Any], ...]
    target: npt.NDArray[np.uint16]
    valid: npt.NDArray[np.bool_]

    def cut(self, window: Window) -> StoredFrame:
        """Return a window of it; the arrays are views."""
        return StoredFrame(tuple(values[window] for values in self.inputs), self.target[window], self.valid[window])

    def seen_as(self, rgb: npt.NDArray[Any]) -> StoredFrame:
        """Return it as another camera saw it; everything but `rgb` (H, W, 3) is shared."""
        return replace(self, inputs=(rgb, *self.inputs[1:]))


def decode_input(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return one stored input as float32, the same shape: 8-bit rgb / 255, 16-bit rgb and infrared as reflectance."""
    return values.astype(np.float32) / np.float32(255) if values.dtype == np.uint8 else decode_reflectance(values)


def decode_inputs(inputs: tuple[npt.NDArray[Any], ...]) -> npt.NDArray[np.float32]:
    """Return stored inputs (H, W, channels) as one array (H, W, C_in) float32."""
    return np.concatenate([decode_input(values) for values in inputs], axis=2)


class InputReader:
    """An open input file: what some cameras and the infrared band saw of one capture."""

    def __init__(self, path: Path, pair: Pair, *, cameras: Sequence[str]) -> None:
        self.path = path
        self._file = open_hdf5(path)
        assert pair.inputs[0] == _RGB, "every pair sees colours first"
        try:
            self._rgb = [self._find(_keys(pair, camera), pair) for camera in cameras]
            self._others = [self._find((name,), pair) for name in pair.inputs[1:]]
            self.shape = self._common_shape()
            self.pixel_bytes = sum(
                reader.dtype.itemsize * math.prod(reader.shape[2:]) for reader in (*self._rgb, *self._others)
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> InputReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read_numbers(self, window: Window | None = None, *, camera: int = 0) -> tuple[npt.NDArray[Any], ...]:
        """Return the inputs as stored, each (H, W, channels), whole or in a window, as camera number `camera` saw."""
        return (self.read_rgb(window, camera=camera), *(self._read(other, window) for other in self._others))

    def read_rgb(self, window: Window | None = None, *, camera: int) -> npt.NDArray[Any]:
        """Return the picture of camera number `camera` as stored, (H, W, 3), whole or in a window."""
        return self._read(self._rgb[camera], window)

    def _read(self, reader: WindowReader, window: Window | None) -> npt.NDArray[Any]:
        try:
            values = reader.read(window)
        except OSError as error:
            raise DataError(f"{self.path} must be whole; a part of it cannot be read: {REMAKE}.") from error
        return values if values.ndim == 3 else values[..., None]

    def _find(self, keys: tuple[str, ...], pair: Pair) -> WindowReader:
        key = keys[-1]
        try:
            for key in keys:
                if key in self._file:
                    return WindowReader(self._file[key])
            known = ", ".join(_leaves(self._file))
        except (KeyError, OSError, RuntimeError) as error:
            raise DataError(f"{self.path} must be whole; its {key!r} cannot be opened: {REMAKE}.") from error
        raise DataError(
            f"{self.path} must hold {key!r} for the pair {pair.name!r}; it holds {known}: "
            "check `render.cameras` and the source."
        )

    def _common_shape(self) -> tuple[int, int]:
        """Return (H, W) of all inputs, after checking their kinds."""
        height, width = self._rgb[0].shape[:2]
        found = [(reader.shape, reader.dtype.name) for reader in (*self._rgb, *self._others)]
        for place, (shape, dtype) in enumerate(found):
            is_rgb = place < len(self._rgb)
            expected, kinds = ((height, width, 3), "uint8 uint16") if is_rgb else ((height, width), "uint16")
            if shape != expected or dtype not in kinds.split():
                raise ShapeError(
                    f"{self.path} must hold inputs of one size, rgb of 8 or 16 bits and 16-bit infrared; got {found}."
                )
        return height, width


class FrameReader:
    """One capture's open files, read as numbers, whole or by window."""

    def __init__(self, files: PairFiles, pair: Pair, *, cameras: Sequence[str]) -> None:
        self._cubes = CubeReader(files.cube)
        try:
            self._inputs = InputReader(files.inputs, pair, cameras=cameras)
        except BaseException:
            self._cubes.close()
            raise
        try:
            self._chosen = _choose_bands(self._cubes, pair)
            self.shape = self._cubes.header.shape
            if self._inputs.shape != self.shape:
                raise ShapeError(
                    f"{files.inputs} must hold frames of {self.shape} like {files.cube}; got {self._inputs.shape}."
                )
            valid = self._cubes.read_valid()
        except BaseException:
            self.close()
            raise
        self._valid = None if valid.all() else valid
        self.stored_bytes = self.shape[0] * self.shape[1] * (self._inputs.pixel_bytes + 2 * pair.out_channels + 1)

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both files."""
        self._inputs.close()
        self._cubes.close()

    def read(self, window: Window | None = None, *, camera: int = 0) -> StoredFrame:
        """Return the frame, or a window (rows, columns) of it, in the numbers of the files, as one camera saw it."""
        inputs = self._inputs.read_numbers(window, camera=camera)
        parts = [_take(self._cubes.read_numbers(name, window), chosen) for name, chosen in self._chosen.items()]
        target = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        if self._valid is None:
            return StoredFrame(inputs, target, np.ones(target.shape[:2], np.bool_))
        return StoredFrame(inputs, target, self._valid[window or _EVERYTHING])

    def read_rgb(self, window: Window | None = None, *, camera: int) -> npt.NDArray[Any]:
        """Return one camera's picture alone, (H, W, 3) as stored, whole or in a window."""
        return self._inputs.read_rgb(window, camera=camera)


def read_frame(files: PairFiles, pair: Pair, *, camera: str, window: Window | None = None) -> Frame:
    """Read one capture for `pair`, whole or a window (rows, columns) of it.

    Raises:
        DataError: A file is damaged, or lacks what the pair needs.
        MissingFileError: A file is not there.
        ShapeError: The files show frames of different sizes.
    """
    return next(read_views(files, pair, cameras=[camera], window=window))


def read_views(
    files: PairFiles, pair: Pair, *, cameras: Sequence[str], window: Window | None = None
) -> Iterator[Frame]:
    """Yield one capture as each of `cameras` saw it; cube and mask are read once and shared. Raises as `read_frame`."""
    with FrameReader(files, pair, cameras=cameras) as reader:
        stored = reader.read(window)
        mask = None if files.mask is None else read_mask(files.mask)
        if mask is not None and mask.shape != reader.shape:
            raise ShapeError(f"{files.mask} must have shape {reader.shape} like {files.cube}; got {mask.shape}.")
        frame = Frame(
            capture=files.capture,
            input=decode_inputs(stored.inputs),
            reference=decode_reflectance(stored.target),
            mask=None if mask is None else mask[window or _EVERYTHING],
            valid=stored.valid,
        )
        yield frame
        for number in range(1, len(cameras)):
            seen = stored.seen_as(reader.read_rgb(window, camera=number))
            yield replace(frame, input=decode_inputs(seen.inputs))


def read_truth(files: TruthFiles, pair: Pair) -> Truth:
    """Read what is known of a phantom capture, on the scale of its calibrated cubes.

    The calibration divides by the white reference as if it reflected `white_reflectance` at every band; so does this,
    that like may be compared with like.

    Raises:
        DataError: A file is damaged, or lacks what the pair needs.
        MissingFileError: A file is not there.
    """
    with CubeReader(files.cubes) as cubes:
        parts = []
        for name, chosen in _choose_bands(cubes, pair).items():
            panel = np.asarray(cubes.header.attributes.get(PANEL, {}).get(name), dtype=np.float64)
            if panel.shape != (len(cubes.header.bands[name]),):
                raise DataError(f"{files.cubes} must say in {PANEL!r} what the white reference reflects: {REMAKE}.")
            truth = cubes.read(name) * (files.white_reflectance / panel).astype(np.float32)
            parts.append(truth if chosen is None else truth[..., chosen])
    maps = read_truth_maps(files.maps)
    return Truth(np.concatenate(parts, axis=2), maps.pure_skin(), maps.maps)


def read_input(path: Path, pair: Pair, *, camera: str, window: Window | None = None) -> npt.NDArray[np.float32]:
    """Return the input of `pair` as taken by `camera`, (H, W, C_in) float32."""
    with InputReader(path, pair, cameras=[camera]) as reader:
        return decode_inputs(reader.read_numbers(window))


def read_visible(path: Path) -> npt.NDArray[np.float32] | None:
    """Return the measured VIS cube in the cube file at `path`, (H, W, 31) float32; None where it holds none."""
    with CubeReader(path) as cubes:
        return cubes.read("vis") if cubes.header.bands.get("vis") == VIS else None


def read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """Return the mask stored at `path`, (H, W) bool."""
    if not path.is_file():
        raise MissingFileError(f"A mask must be at {path}; there is none: run `dvc repro`.")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L")) > 127
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} must be a picture; it cannot be read: {REMAKE}.") from error


def _keys(pair: Pair, camera: str) -> tuple[str, ...]:
    """Return where a picture may lie, the best first: an MSI's own rgb, from before any JPEG, before the picture."""
    picture = f"{_RGB}/{camera}"
    return (f"{MSI_RGB}/{camera}", picture) if "infrared_960" in pair.inputs else (picture,)


def _choose_bands(cubes: CubeReader, pair: Pair) -> dict[str, list[int] | None]:
    """Return which bands of each cube the target takes (None = all); a shared band comes from the first."""
    chosen: dict[str, list[int] | None] = {}
    joined: list[float] = []
    for name in pair.cubes:
        if name not in cubes.header.bands:
            raise DataError(
                f"{cubes.path} must hold the cube {name!r} for the pair {pair.name!r}; "
                f"it holds {', '.join(cubes.header.bands)}."
            )
        wavelengths = cubes.header.bands[name].wavelength_nm
        fresh = [i for i, wavelength_nm in enumerate(wavelengths) if wavelength_nm not in joined]
        chosen[name] = None if len(fresh) == len(wavelengths) else fresh
        joined.extend(wavelengths[i] for i in fresh)
    if tuple(joined) != pair.target.wavelength_nm:
        raise DataError(
            f"{cubes.path} must hold the bands of the pair {pair.name!r}, {len(pair.target)} from "
            f"{pair.target.wavelength_nm[0]:g} to {pair.target.wavelength_nm[-1]:g} nm; got {len(joined)} from "
            f"{joined[0]:g} to {joined[-1]:g} nm: {REMAKE}."
        )
    return chosen


def _take(cube: npt.NDArray[np.uint16], chosen: list[int] | None) -> npt.NDArray[np.uint16]:
    return cube if chosen is None else cube[..., chosen]


def _leaves(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names
