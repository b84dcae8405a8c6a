"""A sheet per capture of a publishable subject, colours and where the angle is large; one of skin maps per subject."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from hyperskin.bands import VIS, Bands
from hyperskin.data.frames import Frame
from hyperskin.metrics.sam import spectral_angle_map
from hyperskin.pairs import Pair
from hyperskin.skin.chromophore_regression import TARGETS
from hyperskin.skin.maps import skin_maps
from hyperskin.spectral.colour import render_srgb
from hyperskin.steps.bare_skin import BareSkin
from hyperskin.steps.evaluate import OnFrame
from hyperskin.tracking.figures import draw_sheet
from hyperskin.tracking.runs import RunLog
from hyperskin.tracking.skin_panel import draw_difference

_FALSE_COLOUR_NM = (1000.0, 850.0, 700.0)


def sheet_logger(run: RunLog, pair: Pair, publishable: Collection[str]) -> OnFrame:
    """Return what draws a frame and its estimate and sends the sheets, if the subject may be shown."""
    read: set[str] = set()  # a sheet of maps takes a second or two: one of each subject says what there is to see

    def log_sheet(frame: Frame, estimate: npt.NDArray[np.float32], skin: BareSkin | None) -> None:
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
        if skin is not None and frame.capture.subject not in read:
            read.add(frame.capture.subject)
            maps = _draw_skin(frame, estimate, skin.regions.skin, pair, title=f"{name}, {run.name}")
            run.log_picture(maps, f"skin_{name}", subjects=[frame.capture.subject], publishable=publishable)

    return log_sheet


def _draw_skin(
    frame: Frame, estimate: npt.NDArray[np.float32], skin: npt.NDArray[np.bool_], pair: Pair, *, title: str
) -> Figure:
    """Return the chromophores read from the measured cube, from the reconstruction, and what lies between."""
    measured, kept = (skin_maps(cube, pair.target, skin).values for cube in (frame.reference, estimate))
    names = [name for name in TARGETS if name in measured]
    captions = {}
    for name in names:
        told, found = (float(np.nanmedian(maps[name])) for maps in (measured, kept))
        captions[name] = f"median {told:.3g} measured, {found:.3g} reconstructed"
    return draw_difference(
        (to_picture(frame.reference, pair.target), to_picture(estimate, pair.target)),
        {name: measured[name] for name in names},
        {name: kept[name] for name in names},
        names=("measured", "reconstructed"),
        labels=("measured", "reconstructed"),
        title=title,
        captions=captions,
    )


def to_picture(cube: npt.NDArray[np.float32], bands: Bands) -> npt.NDArray[np.float32]:
    """Return a cube's colours under D65, or three infrared bands as red, green and blue."""
    if set(VIS.wavelength_nm) <= set(bands.wavelength_nm):
        return render_srgb(cube, bands).rgb
    return cube[..., [bands.index_of(nm) for nm in _FALSE_COLOUR_NM]]
