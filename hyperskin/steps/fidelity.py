"""What a reconstruction keeps of the skin, capture after capture: against the measured cube, and the truth if known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperskin.data.frames import Frame, Truth
from hyperskin.metrics.summary import Row
from hyperskin.pairs import Pair
from hyperskin.skin.fidelity import TRUTH, Fidelity, compare_maps, per_region, pool
from hyperskin.skin.maps import skin_maps
from hyperskin.skin.regions import FACE, Regions

FLOOR = "_floor"
"""Ends the keys of what the measured cubes themselves keep of the truth: the noise that no model is to blame for."""

Bools = npt.NDArray[np.bool_]
Cube32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SkinFidelity:
    """What was found over all captures.

    Attributes:
        metrics: What can be told only over all pixels together, and the means of what the measured cubes keep.
        per_region: One row a region of the face.
    """

    metrics: dict[str, float]
    per_region: list[Row]


class FidelityCheck:
    """Reads the skin of reconstructed captures, and holds it against what it should be."""

    def __init__(self, pair: Pair) -> None:
        """Begin with nothing read."""
        self._bands = pair.target
        self._measured: list[Fidelity] = []
        self._true: list[Fidelity] = []
        self._floor: list[Fidelity] = []

    def add(self, frame: Frame, regions: Regions, estimate: Cube32, truth: Truth | None) -> dict[str, float]:
        """Return the values of one capture by metric key."""
        skin, places = regions.skin, {name: mask for name, mask in regions.masks.items() if name != FACE}
        told = self._read(frame.reference, skin)
        kept = self._read(estimate, skin)
        self._measured.append(compare_maps(kept, told, skin, regions=places))
        if truth is None:
            return self._measured[-1].values
        bare = truth.skin & skin
        true = {**self._read(truth.reference, skin), **truth.maps}
        self._true.append(compare_maps(kept, true, bare, regions=places, suffix=TRUTH))
        self._floor.append(compare_maps(told, true, bare, regions=places, suffix=FLOOR))
        return self._measured[-1].values | self._true[-1].values

    def result(self) -> SkinFidelity:
        """Return what all captures say together; empty where there was none."""
        metrics = pool(self._measured) | pool(self._true) | pool(self._floor)
        for key in dict.fromkeys(name for one in self._floor for name in one.values):
            metrics[key] = float(np.mean([one.values[key] for one in self._floor if key in one.values]))
        return SkinFidelity(metrics, per_region(self._measured))

    def _read(self, cube: Cube32, skin: Bools) -> Mapping[str, npt.NDArray[np.float32]]:
        return skin_maps(cube, self._bands, skin).values
