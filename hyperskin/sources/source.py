"""What a source of captures is: how it finds or plans them, what it gives, and how its originals are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.data.capture import CaptureId
from hyperskin.data.sources import SourceCapture
from hyperskin.data.split import Split

Gives = Literal["raw", "cubes", "pairs"]
"""What a source hands over: sensor counts, finished cubes, or cubes with their inputs."""


@dataclass(frozen=True)
class OriginalFile:
    """One file that a person brought, and where it will lie below the capture's folder in data/raw."""

    path: Path
    name: str


@dataclass(frozen=True)
class Original:
    """All files of one capture, as found on a person's disk.

    Attributes:
        capture: Whose it is.
        files: Every file of it.
        split: The split whose folder it lies in; None where the source's folders say nothing of splits.
        layout: Which of the source's layouts the folder has; empty where there is but one.
    """

    capture: CaptureId
    files: tuple[OriginalFile, ...]
    split: Split | None = None
    layout: str = ""


@dataclass(frozen=True)
class RawCapture:
    """Sensor counts of one capture with its references, opened but not loaded.

    Attributes:
        bands: Band centres of the sensor, C of them.
        height: Lines of the capture.
        width: Pixels of a line, W.
        white_lines: White reference, (L, W, C) counts.
        dark_lines: Dark reference, (L, W, C) counts.
        full_scale: Largest count the sensor can give.
        line_blocks: Calling it with a number of lines yields the capture's counts, (l, W, C), top to bottom.
    """

    bands: Bands
    height: int
    width: int
    white_lines: npt.NDArray[np.number[Any]]
    dark_lines: npt.NDArray[np.number[Any]]
    full_scale: int
    line_blocks: LineBlocks


class LineBlocks(Protocol):
    """Yields counts (l, W, C) from top to bottom, `lines` at a time."""

    def __call__(self, lines: int) -> Iterator[npt.NDArray[np.number[Any]]]:
        """Yield the next blocks."""


@dataclass(frozen=True)
class GivenCubes:
    """Finished cubes of one capture.

    Attributes:
        cubes: (H, W, C) float32 reflectance by name ("vis", "nir").
        bands: Their bands, by the same names.
        valid: (H, W) bool, True where something was measured.
        notes: Plain facts for the cube's header, such as "converted from 8-bit RGBA".
    """

    cubes: dict[str, npt.NDArray[np.float32]]
    bands: dict[str, Bands]
    valid: npt.NDArray[np.bool_]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GivenInputs:
    """Finished inputs of one capture.

    Attributes:
        rgb: Pictures by camera, (H, W, 3) uint8.
        msi_rgb: The first three channels of an MSI by camera, (H, W, 3) float32 in [0, 1].
        infrared: (H, W) float32 reflectance at 960 nm; None where there is no MSI.
        notes: Plain facts, such as how well a picture and its cube correlate.
    """

    rgb: dict[str, npt.NDArray[np.uint8]]
    msi_rgb: dict[str, npt.NDArray[np.float32]]
    infrared: npt.NDArray[np.float32] | None
    notes: dict[str, Any] = field(default_factory=dict)


class RawSource(Protocol):
    """A source of sensor counts that a person recorded."""

    name: str
    gives: Literal["raw"]
    invented: Literal[False]

    def find(self, folder: Path) -> list[Original]:
        """Return every capture below `folder`, sorted by name."""

    def open_raw(self, folder: Path, capture: CaptureId) -> RawCapture:
        """Open a capture whose originals lie in `folder` under their names."""


class CubeSource(Protocol):
    """A source of finished cubes that a person brought."""

    name: str
    gives: Literal["cubes"]
    invented: Literal[False]

    def find(self, folder: Path) -> list[Original]:
        """Return every capture below `folder`, sorted by name."""

    def read_cubes(self, folder: Path, capture: CaptureId) -> GivenCubes:
        """Read the finished cubes of a capture whose originals lie in `folder` under their names."""


class PairSource(Protocol):
    """A source of finished cubes and of the inputs that belong to them."""

    name: str
    gives: Literal["pairs"]
    invented: Literal[False]

    def find(self, folder: Path) -> list[Original]:
        """Return every capture below `folder`, sorted by name."""

    def read_cubes(self, folder: Path, capture: CaptureId) -> GivenCubes:
        """Read the finished cubes of a capture whose originals lie in `folder` under their names."""

    def read_inputs(self, folder: Path, capture: CaptureId) -> GivenInputs:
        """Read the finished inputs of a capture whose originals lie in `folder` under their names."""


class InventedSource(Protocol):
    """A source of sensor counts that are drawn: it has no originals, and nobody real is in its pictures."""

    name: str
    gives: Literal["raw"]
    invented: Literal[True]

    def plan(self, *, subjects: int, captures: Sequence[str], seed: int) -> list[SourceCapture]:
        """Return every capture with what decides its person, sorted by name."""

    def open_raw(self, folder: Path, capture: CaptureId) -> RawCapture:
        """Open a capture that was drawn into `folder`."""


Source = RawSource | CubeSource | PairSource | InventedSource
