"""Where the bare skin of a capture is, and of what type, as its measured cubes show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from hyperskin.bands import VIS, Bands
from hyperskin.data.frames import Frame
from hyperskin.skin.landmarks import Direction
from hyperskin.skin.regions import Regions, find_regions
from hyperskin.skin.typology import face_angle, skin_type


@dataclass(frozen=True, eq=False)
class BareSkin:
    """Bare skin of a capture, the same for every pair.

    Attributes:
        regions: Where bare skin and the regions of the face are.
        ita_deg: The typology angle of the face in degrees; None where no visible band was measured, or too little skin.
        skin_type: The type that it stands for, or None.
    """

    regions: Regions
    ita_deg: float | None
    skin_type: str | None


def find_bare_skin(frame: Frame, bands: Bands, visible: npt.NDArray[np.float32] | None) -> BareSkin | None:
    """Return where the bare skin of a frame is, and its type; None for a scene whose mask selects nothing, or has none.

    Args:
        frame: The capture.
        bands: Bands of its reference, to look at where there is nothing better.
        visible: The measured VIS cube of the same capture, (H, W, 31): eyes and mouth are seen, and colours, in visible
            bands alone, and the pairs of one capture are to be judged on the same pixels. None where there is none:
            then all of the mask but its edge is skin, of no type.
    """
    chosen = None if frame.mask is None else frame.mask & frame.valid
    if chosen is None or not chosen.any():
        return None
    direction = cast("Direction | None", frame.capture.direction)
    if visible is None:
        return BareSkin(find_regions(frame.reference, bands, chosen, direction=direction), None, None)
    regions = find_regions(visible, VIS, chosen, direction=direction)
    angle_deg = face_angle(visible, VIS, regions.skin)
    return BareSkin(regions, angle_deg, None if angle_deg is None else skin_type(angle_deg))
