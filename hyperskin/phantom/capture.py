"""One made-up capture on disk: counts and references as a LUMO recorder writes them, the truth beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from hyperskin.atomic import atomic_path
from hyperskin.bands import FX10, NIR, VIS
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CHUNK_PX, CubeWriter, require_disk_room, write_cubes
from hyperskin.data.truth import LABELS, NAMES, PANEL, TRUTH_CUBES, TRUTH_MAPS
from hyperskin.envi import Counts, write_envi
from hyperskin.errors import DataError, HyperSkinError, ShapeError
from hyperskin.phantom.face import LABELS as LABEL_NAMES
from hyperskin.phantom.recipe import Recipe
from hyperskin.phantom.scene import Scene
from hyperskin.phantom.sensor import Sensor, panel_reflectance

_BLOCK_LINES = 16
_PICTURE_NM = (640.0, 550.0, 460.0)
_MOST_MAPS = 12
_HEADER_BYTES = 1 << 16  # of all files together
_PREFIXES = ("DARKREF_", "WHITEREF_", "")
_UNITS = {
    "melanin_fraction": "share of the epidermis",
    "blood_fraction": "share of the dermis",
    "oxygenation": "share of the haemoglobin",
    "water_fraction": "share of the dermis",
    "skin_share": "share of the pixel",
    "subject_share": "share of the pixel",
}


class SceneLines(Protocol):
    """Some lines of a scene, l of them; see `hyperskin.phantom.scene.SceneLines`."""

    @property
    def reflectance(self) -> npt.NDArray[np.float32]:
        """At the FX10's band centres, (l, W, 448)."""

    @property
    def vis(self) -> npt.NDArray[np.float32]:
        """At the centres of VIS, (l, W, 31)."""

    @property
    def nir(self) -> npt.NDArray[np.float32]:
        """At the centres of NIR, (l, W, 31)."""

    @property
    def maps(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """What the skin is made of, by name, (l, W) each; NaN where there is none."""

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """What most of the pixel is, as an index into the names of the labels, (l, W)."""


class ScannedScene(Protocol):
    """What stands before the sensor."""

    @property
    def height(self) -> int:
        """Lines of the scan."""

    @property
    def width(self) -> int:
        """Pixels of a line."""

    def lines(self, first: int, count: int) -> SceneLines:
        """Return `count` lines from `first` on."""


def write_capture(folder: Path, capture: CaptureId, recipe: Recipe) -> list[str]:
    """Make up a capture and write it below `folder`, as `write_scene` says; return its files relative to `folder`.

    The same capture and recipe give the same bytes, whatever else is made before or beside it.
    """
    return write_scene(folder, capture, recipe, Scene.of(capture, recipe), label_names=LABEL_NAMES)


def write_scene(
    folder: Path,
    capture: CaptureId,
    recipe: Recipe,
    scene: ScannedScene,
    *,
    label_names: Sequence[str],
    block_lines: int = _BLOCK_LINES,
) -> list[str]:
    """Scan a scene once, and write its counts, its references and the truth about it as the lines come.

    Args:
        folder: The capture's folder; made where it is not there.
        capture: Its name decides noise and drift.
        recipe: The seed decides the instrument; noise and number of reference lines are taken from it.
        scene: What stands before the sensor.
        label_names: What the scene's labels mean.
        block_lines: Lines held at once; no byte depends on it.

    Returns:
        The files written, relative to `folder`: capture/{DARKREF_,WHITEREF_,}NAME.{raw,hdr} for a reader of LUMO
        captures; truth/cubes.h5 with the noise-free reflectance and truth/maps.h5 for `hyperskin.data.truth`. After a
        failure none of them is there.

    Raises:
        ShapeError: The scene's lines do not fit together.
        DataError: A reflectance or a label is impossible, or the disk is full or refuses to be written.
    """
    headers = {prefix: f"capture/{prefix}{capture.name}.hdr" for prefix in _PREFIXES}
    names = [name for header in headers.values() for name in (header.removesuffix("hdr") + "raw", header)]
    names += [TRUTH_CUBES, TRUTH_MAPS]
    sensor = Sensor(scene.width, seed=recipe.seed, noise=recipe.noise)
    _remove(folder, names)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    require_disk_room(folder / "capture", _most_bytes(scene, recipe.reference_lines))
    try:
        for prefix, record in (("DARKREF_", sensor.dark_lines), ("WHITEREF_", sensor.white_lines)):
            spans = _spans(recipe.reference_lines, block_lines)
            blocks = (record(count, capture.name, first) for first, count in spans)
            _write_counts(folder / headers[prefix], blocks, scene.width)
        with ExitStack() as stack:
            cubes = stack.enter_context(_write_truth_cubes(folder / TRUTH_CUBES, capture, scene))
            maps = stack.enter_context(_write_truth_maps(folder / TRUTH_MAPS, capture, scene, label_names))
            _write_counts(folder / headers[""], _scan(scene, sensor, capture, cubes, maps, block_lines), scene.width)
    except BaseException as error:
        _remove(folder, names)
        if isinstance(error, OSError | RuntimeError) and not isinstance(error, HyperSkinError):  # HDF5 gives either
            reason = " ".join(str(error).split())  # of several lines, from HDF5
            raise DataError(
                f"{folder} must take the files of {capture.name}; they cannot be written ({reason}): "
                "make room on its disk and try again."
            ) from error
        raise
    return names


def _most_bytes(scene: ScannedScene, reference_lines: int) -> int:
    """Return how much room a capture may take: counts, noise-free cubes, labels and maps, compressed or not."""
    chunks = [math.ceil(side / CHUNK_PX) * min(CHUNK_PX, side) for side in (scene.height, scene.width)]
    counts = (scene.height + 2 * reference_lines) * scene.width * len(FX10) * np.dtype(np.uint16).itemsize
    truth = math.prod(chunks) * (2 * (len(VIS) + len(NIR)) + 1 + 4 * _MOST_MAPS)
    return counts + truth + _HEADER_BYTES


def _spans(lines: int, block_lines: int) -> Iterator[tuple[int, int]]:
    """Yield number and count of the first lines, the next, ..."""
    for first in range(0, lines, block_lines):
        yield first, min(block_lines, lines - first)


def _scan(
    scene: ScannedScene, sensor: Sensor, capture: CaptureId, cubes: CubeWriter, maps: _MapWriter, block_lines: int
) -> Iterator[Counts]:
    """Yield the counts of the scene, and note the truth about every line on the way."""
    for first, count in _spans(scene.height, block_lines):
        lines = scene.lines(first, count)
        cubes.append({"vis": lines.vis, "nir": lines.nir}, np.ones((count, scene.width), dtype=np.bool_))
        maps.append(first, {LABELS: lines.labels, **lines.maps})
        yield sensor.expose(lines.reflectance, capture.name, first)


def _write_counts(header_path: Path, blocks: Iterator[Counts], width: int) -> None:
    """Write counts as the recorder does, under a header that says they are not its own."""
    centres_nm = FX10.centres_nm()
    write_envi(
        header_path,
        blocks,
        wavelength_nm=FX10.wavelength_nm,
        fwhm_nm=np.gradient(centres_nm).round(4).tolist(),  # bands that touch; the optics adds no blur
        fields={
            "description": "Simulated by hyperskin: nobody was recorded",
            "sensor type": "FX10, simulated",
            "default bands": [int(np.abs(centres_nm - nm).argmin()) + 1 for nm in _PICTURE_NM],
            "himg": (1, width),
            "vimg": (1, len(FX10)),
            "binning": (1, 1),
            "fps": 50.0,
            "tint": 8.0,
        },
    )


@contextmanager
def _write_truth_cubes(path: Path, capture: CaptureId, scene: ScannedScene) -> Iterator[CubeWriter]:
    bands = {"vis": VIS, "nir": NIR}
    attributes = {
        "capture": capture.name,
        "content": "noise-free reflectance; calibrated reflectance is this over that of the white reference",
        PANEL: {name: panel_reflectance(own.centres_nm()).round(6).tolist() for name, own in bands.items()},
    }
    with write_cubes(path, height=scene.height, width=scene.width, bands=bands, attributes=attributes) as writer:
        yield writer


class _MapWriter:
    """Writes labels and maps line block by line block; `_write_truth_maps` opens it.

    Lines wait until a row of chunks is full: each chunk is compressed once, and the file's bytes do not depend on
    how many lines come at once.
    """

    def __init__(self, file: h5py.File, shape: tuple[int, int], label_names: Sequence[str]) -> None:
        self._file = file
        self._height, self._width = shape
        self._label_names = label_names
        self._waiting: dict[str, npt.NDArray[Any]] = {}

    def append(self, first: int, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write some lines of the labels and of every map, from line `first` on."""
        if first == 0:
            self._create(values)
        if sorted(values) != sorted(self._file):
            raise ShapeError(f"Every line must have the maps {', '.join(self._file)}; got {', '.join(values)}.")
        if int(values[LABELS].max()) >= len(self._label_names):
            raise DataError(f"Labels must lie below {len(self._label_names)}; got {values[LABELS].max()}.")
        for name, lines in values.items():
            if lines.shape != (len(values[LABELS]), self._width):
                raise ShapeError(
                    f"Map {name!r} must be {len(values[LABELS])} lines of {self._width}; got {lines.shape}."
                )
        for row in range(len(values[LABELS])):
            self._put(first + row, {name: lines[row] for name, lines in values.items()})

    def _create(self, names: Mapping[str, Any]) -> None:
        chunks = (min(CHUNK_PX, self._height), min(CHUNK_PX, self._width))
        for name in names:
            dtype = np.uint8 if name == LABELS else np.float32
            dataset = self._file.create_dataset(
                name,
                (self._height, self._width),
                dtype,
                chunks=chunks,
                shuffle=True,
                compression="gzip",
                fletcher32=True,
            )
            if name == LABELS:
                dataset.attrs[NAMES] = json.dumps(list(self._label_names))
            else:
                dataset.attrs["unit"] = _UNITS.get(name, "1")
            self._waiting[name] = np.empty((chunks[0], self._width), dtype)

    def _put(self, number: int, line: Mapping[str, npt.NDArray[Any]]) -> None:
        room = number % CHUNK_PX
        for name, values in line.items():
            self._waiting[name][room] = values
            if room == CHUNK_PX - 1 or number == self._height - 1:
                self._file[name][number - room : number + 1] = self._waiting[name][: room + 1]


@contextmanager
def _write_truth_maps(
    path: Path, capture: CaptureId, scene: ScannedScene, label_names: Sequence[str]
) -> Iterator[_MapWriter]:
    # Without a cache a chunk lies where it is written; else where the last reference to its data set ends, which a
    # debugger or a profiler may move.
    with (
        atomic_path(path) as temporary,
        h5py.File(temporary, "w", libver=("v110", "v110"), rdcc_nbytes=0) as file,
    ):
        file.attrs["capture"] = capture.name
        yield _MapWriter(file, (scene.height, scene.width), label_names)


def _remove(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
