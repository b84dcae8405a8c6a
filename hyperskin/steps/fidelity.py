"""What a reconstruction keeps of the skin, capture after capture: against the measured cube, and the truth if known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from hyperskin.bands import Bands
from hyperskin.data.frames import Frame, Truth
from hyperskin.metrics.summary import Row
from hyperskin.pairs import Pair
from hyperskin.skin.fidelity import TRUTH, Fidelity, compare_maps, per_region, per_skin_type, pool
from hyperskin.skin.landmarks import Direction
from hyperskin.skin.maps import skin_maps
from hyperskin.skin.regions import FACE, Regions, find_regions

FLOOR = "_floor"
"""Ends the keys of what the measured cubes themselves keep of the truth: the noise that no model is to blame for."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SkinFidelity:
    """What was found over all captures.

    Attributes:
        metrics: What can be told only over all pixels together, and the means of what the measured cubes keep.
        per_region: One row a region of the face.
        per_skin_type: One row a skin type.
    """

    metrics: dict[str, float]
    per_region: list[Row]
    per_skin_type: list[Row]


class FidelityCheck:
    """Reads the skin of every reconstructed capture that has a mask, and holds it against what it should be."""

    def __init__(self, pair: Pair) -> None:
        """Begin with nothing read."""
        self._bands = pair.target
        self._measured: list[Fidelity] = []
        self._true: list[Fidelity] = []
        self._floor: list[Fidelity] = []

    def add(self, frame: Frame, estimate: npt.NDArray[np.float32], truth: Truth | None) -> dict[str, float]:
        """Return one capture's values by metric key; none for a scene without a mask."""
        if frame.mask is None:
            return {}
        found = bare_skin_of(frame, self._bands)
        skin, regions = found.skin, {name: where for name, where in found.masks.items() if name != FACE}
        told = self._read(frame.reference, skin)
        kept = self._read(estimate, skin)
        self._measured.append(compare_maps(kept, told, skin, regions=regions))
        if truth is None:
            return self._measured[-1].values
        bare = truth.skin & skin
        true = {**self._read(truth.reference, skin), **truth.maps}
        self._true.append(compare_maps(kept, true, bare, regions=regions, suffix=TRUTH))
        self._floor.append(compare_maps(told, true, bare, regions=regions, suffix=FLOOR))
        return self._measured[-1].values | self._true[-1].values

    def result(self) -> SkinFidelity:
        """Return what all captures say together; empty where none had a mask."""
        metrics = pool(self._measured) | pool(self._true) | pool(self._floor)
        for key in dict.fromkeys(name for one in self._floor for name in one.values):
            metrics[key] = float(np.mean([one.values[key] for one in self._floor if key in one.values]))
        return SkinFidelity(metrics, per_region(self._measured), per_skin_type(self._true or self._measured))

    def _read(self, cube: npt.NDArray[np.float32], skin: Bools) -> Mapping[str, npt.NDArray[np.float32]]:
        return skin_maps(cube, self._bands, skin).values


def bare_skin_of(frame: Frame, bands: Bands) -> Regions:
    """Return the bare skin of a frame that has a mask, and the regions of its face, as the measured cube shows them."""
    assert frame.mask is not None
    direction = cast("Direction | None", frame.capture.direction)
    return find_regions(frame.reference, bands, frame.mask & frame.valid, direction=direction)
