"""One sheet per capture of a publishable subject: input, measured, reconstructed, and where the angle is large."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from hyperskin.bands import VIS, Bands
from hyperskin.data.frames import Frame
from hyperskin.metrics.sam import spectral_angle_map
from hyperskin.pairs import Pair
from hyperskin.spectral.colour import render_srgb
from hyperskin.tracking.figures import draw_sheet
from hyperskin.tracking.runs import RunLog

_FALSE_COLOUR_NM = (1000.0, 850.0, 700.0)


def sheet_logger(
    run: RunLog, pair: Pair, publishable: Collection[str]
) -> Callable[[Frame, npt.NDArray[np.float32]], None]:
    """Return what draws a frame and its estimate and sends the sheet, if the subject may be shown."""

    def log_sheet(frame: Frame, estimate: npt.NDArray[np.float32]) -> None:
        name = frame.capture.name
        if frame.capture.subject not in publishable:
            run.skipped_pictures += 1
            return
        sheet = draw_sheet(
            frame.input[..., :3],
            to_picture(frame.reference, pair.target),
            to_picture(estimate, pair.target),
            spectral_angle_map(estimate, frame.reference),
            title=f"{name}, {run.name}",
        )
        run.log_picture(sheet, f"sheet_{name}", subjects=[frame.capture.subject], publishable=publishable)

    return log_sheet


def to_picture(cube: npt.NDArray[np.float32], bands: Bands) -> npt.NDArray[np.float32]:
    """Return a cube's colours under D65, or three infrared bands as red, green and blue."""
    if set(VIS.wavelength_nm) <= set(bands.wavelength_nm):
        return render_srgb(cube, bands).rgb
    return cube[..., [bands.index_of(nm) for nm in _FALSE_COLOUR_NM]]
