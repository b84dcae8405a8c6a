"""What is known of a phantom capture beyond its measurement: where the truth files lie, and the maps among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from hyperskin.data.cubefile import REMAKE, open_hdf5
from hyperskin.errors import DataError

TRUTH_CUBES = "truth/cubes.h5"
"""Noise-free cubes, a cube file; its attribute PANEL holds what the white reference reflects, by cube and band."""
TRUTH_MAPS = "truth/maps.h5"
"""One dataset (H, W) for each map, and LABELS (H, W) uint8, whose attribute NAMES is a JSON list of what they mean."""

PANEL = "panel_reflectance"
LABELS = "labels"
NAMES = "names"
SKIN_SHARE = "skin_share"

SUBJECT_LABELS = ("skin", "lips", "brow", "sclera", "iris", "teeth", "beard")
"""What makes up the subject, as a mask means it: hair and clothes do not."""

_PURE = 0.95


@dataclass(frozen=True)
class TruthFiles:
    """Where one capture's truth lies.

    Attributes:
        cubes: The noise-free cubes.
        maps: The labels and maps.
        white_reflectance: What the calibration took the white reference to reflect.
    """

    cubes: Path
    maps: Path
    white_reflectance: float


@dataclass(frozen=True)
class TruthMaps:
    """What every pixel shows.

    Attributes:
        labels: (H, W) uint8, index into `names`: what covers most of the pixel.
        names: What there may be, such as "skin" and "hair".
        maps: (H, W) float32 by name, NaN where a map says nothing; SKIN_SHARE is the part of a pixel that skin covers.
    """

    labels: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    maps: dict[str, npt.NDArray[np.float32]]

    def subject(self) -> npt.NDArray[np.bool_]:
        """Return which pixels are the person, hair and clothes excepted, (H, W) bool."""
        return np.isin(self.labels, [index for index, name in enumerate(self.names) if name in SUBJECT_LABELS])

    def pure_skin(self) -> npt.NDArray[np.bool_]:
        """Return which pixels show skin and almost nothing else, (H, W) bool."""
        is_skin = np.isin(self.labels, [index for index, name in enumerate(self.names) if name == "skin"])
        pure: npt.NDArray[np.bool_] = is_skin & (self.maps[SKIN_SHARE] > _PURE)  # a NaN is not above anything
        return pure


def read_truth_maps(path: Path) -> TruthMaps:
    """Return the labels and maps at `path`.

    Raises:
        MissingFileError: There is no such file.
        DataError: It holds no labels, or cannot be read.
    """
    with open_hdf5(path) as file:
        try:
            labels = file[LABELS]
            names = tuple(json.loads(labels.attrs[NAMES]))
            maps = {name: item[...] for name, item in file.items() if isinstance(item, h5py.Dataset) and name != LABELS}
            return TruthMaps(labels[...], names, maps)
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise DataError(f"{path} must hold labels and maps; they cannot be read: {REMAKE}.") from error
