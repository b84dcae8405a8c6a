"""One face -> its skin maps, what they say by region, a sheet to look at, and what changed since another visit."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import hyperskin
from hyperskin.bands import Bands
from hyperskin.errors import DataError
from hyperskin.pictures import keep_picture, save_picture
from hyperskin.skin.chromophore_regression import InverseModel
from hyperskin.skin.export import Format, write_maps, write_table
from hyperskin.skin.inverse_file import write_inverse
from hyperskin.skin.maps import KINDS, skin_maps
from hyperskin.skin.regions import FACE, RegionRow, Regions, align, find_regions, region_statistics
from hyperskin.skin.typology import face_angle, skin_type
from hyperskin.spectral.colour import render_srgb
from hyperskin.steps.skin_folder import ABOUT, AGAINST, all_at_once
from hyperskin.steps.skin_input import Face

if TYPE_CHECKING:  # matplotlib takes half a second to load
    from matplotlib.figure import Figure

Map = npt.NDArray[np.float32]
Picture = npt.NDArray[np.floating[Any]]

UNCERTAINTY = "_sd"
"""Ends the name of the map of a map's standard deviation."""
CHANGE = "_change"
"""Ends the name of the map of what changed between two visits."""

_NOT_FROM_A_PHOTO = ("oxygenation",)
_SAME_BAND_NM = 0.01
_ORIGINS = {
    "capture": "measured",
    "cube": "from a cube",
    "photo": "reconstructed from a photo",
    "reconstruction": "reconstructed",
}
_BRIGHTER = 1.5  # for everybody, so that light and dark skin stay apart
_FALSE_COLOURS = (0.95, 0.5, 0.05)  # where in a cube's range red, green and blue are taken if it sees no colour
_SIDES_NOTE = "Right and left are the subject's own. Light grey: no skin, or no value."
_LIGHT_NOTE = "The typology angle, alone of all maps, depends on how brightly a pixel is lit"
_OUTLINE_NOTE = "No eyes and mouth were found: the regions follow the outline and may be misplaced."
_CONSENT_NOTE = "Not to be shown: this sheet stays below data/."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read from one face.

    Attributes:
        face: What it was read from.
        maps: (H, W) float32 by names of `KINDS`, NaN outside bare skin.
        uncertainty: Their standard deviations, as far as the method tells.
        regions: Where forehead, cheeks, nose and chin are.
        rows: What every map says in every region.
        angle_deg: Typology angle of the skin that faces the light; None where it cannot be told.
        method: How the maps were made.
        parameters: Its settings.
        model: The regression that made them, where one did.
    """

    face: Face
    maps: dict[str, Map]
    uncertainty: dict[str, Map]
    regions: Regions
    rows: list[RegionRow]
    angle_deg: float | None
    method: str
    parameters: dict[str, str | float | int]
    model: InverseModel | None = None


def read_skin(face: Face, *, method: str, binning: int) -> Reading:
    """Return a face's maps and what they say.

    Raises:
        DataError: The bands give no map, or no region of a face can be seen.
        UnknownNameError: There is no such method.
    """
    started = time.monotonic()
    regions = find_regions(face.cube, face.bands, face.mask, direction=face.direction)
    face = apply_gain(face, regions.skin)
    made = skin_maps(face.cube, face.bands, regions.skin, method=method, binning=binning)
    hidden = _NOT_FROM_A_PHOTO if face.is_reconstructed else ()
    maps = {name: values for name, values in made.values.items() if name not in hidden}
    uncertainty = {name: values for name, values in made.uncertainty.items() if name in maps}
    rows = region_statistics(maps, regions.masks)
    if not rows:
        raise DataError(
            f"{face.name} must show some of a face's skin; {np.count_nonzero(regions.skin)} of the mask's "
            f"{np.count_nonzero(face.mask)} pixels are bare skin, and no region lies in them: say where the face is "
            "with `--mask PNG`."
        )
    missing = [name for name in ("forehead", "right_cheek", "left_cheek", "nose", "chin") if name not in regions.masks]
    _log.info(
        "%s: %d maps of %d pixels of bare skin in %.1f s; regions by %s%s",
        face.name, len(maps), np.count_nonzero(regions.skin), time.monotonic() - started,
        {"features": "eyes and mouth", "outline": "the outline alone"}[regions.landmarks.found_by],
        f"; not to be seen: {', '.join(missing)}" if missing else "",
    )  # fmt: skip
    if regions.landmarks.found_by == "outline":
        _log.warning("%s: no eyes and mouth were found, so that regions may be misplaced: look at the panel", face.name)
    angle_deg = face_angle(face.cube, face.bands, regions.skin) if "typology_angle" in maps else None
    return Reading(face, maps, uncertainty, regions, rows, angle_deg, made.method, made.parameters, made.model)


def apply_gain(face: Face, skin: npt.NDArray[np.bool_]) -> Face:
    """Return a face whose bare skin is multiplied by its subject's gain; the very same face where it has none."""
    if face.skin_gain is None:
        return face
    cube = face.cube.copy()
    cube[skin] *= face.skin_gain
    return replace(face, cube=cube, skin_gain=None)


def pair_visits(before: Face, after: Face) -> tuple[Face, Face]:
    """Return two visits of one subject on the bands that both have, so that they are read alike.

    Raises:
        DataError: They are of two subjects, one is a photo and the other is not, or they have no bands in common.
    """
    if before.subject != after.subject:
        files = [face.name for face in (before, after) if face.origin != "capture"]
        advice = f": say with `--subject` whose {' and '.join(files)} is" if files else ""
        raise DataError(
            f"Two visits must be of one subject; {before.name} is of {before.subject} and {after.name} of "
            f"{after.subject}{advice}."
        )
    if before.is_reconstructed != after.is_reconstructed:
        raise DataError(
            f"Two visits must both be measured or both be photos; {before.name} is {_ORIGINS[before.origin]} and "
            f"{after.name} is {_ORIGINS[after.origin]}: what lies between them is not the skin's doing."
        )
    if before.bands == after.bands:
        return before, after
    apart_nm = np.abs(before.bands.centres_nm()[:, None] - after.bands.centres_nm())
    first, second = np.nonzero(apart_nm < _SAME_BAND_NM)
    if first.size == 0:
        raise DataError(f"Two visits must share bands; {before.name} and {after.name} have none at one wavelength.")
    shared = Bands(tuple(after.bands.wavelength_nm[place] for place in second))
    if len(shared) < max(len(before.bands), len(after.bands)):
        _log.warning(
            "The visits have different bands; what changed is read from the %d that both have, %g to %g nm",
            len(shared), shared.wavelength_nm[0], shared.wavelength_nm[-1],
        )  # fmt: skip
    return _on_bands(before, first, shared), _on_bands(after, second, shared)


def write_results(
    reading: Reading,
    folder: Path,
    *,
    root: Path,
    formats: Sequence[Format],
    visits: tuple[Reading, Reading] | None = None,
) -> list[Path]:
    """Write all that was read of a face, and what changed between two visits, at once or not at all.

    Args:
        reading: Of the face.
        folder: Where everything goes.
        root: The repository.
        formats: How the maps are written.
        visits: The earlier visit and this one, both on the same bands; None: there was no other.

    Returns:
        The files written now.

    Raises:
        DataError: The visits share no map.
    """
    about = describe(reading)
    if visits is not None:
        about[AGAINST] = {visits[0].face.name: describe(visits[0])}
    with all_at_once(folder, about) as stage:
        written = write_reading(reading, stage, root=root, formats=formats)
        if visits is not None:
            written += write_change(visits, stage, root=root, formats=formats)
    return [folder / name for name in (*(path.name for path in written), ABOUT)]


def write_reading(reading: Reading, folder: Path, *, root: Path, formats: Sequence[Format]) -> list[Path]:
    """Write the panel, the table, the maps and the regression that made them."""
    face = reading.face
    units = {name: KINDS[name].unit for name in reading.maps}
    both = reading.maps | {f"{name}{UNCERTAINTY}": values for name, values in reading.uncertainty.items()}
    both_units = units | {f"{name}{UNCERTAINTY}": units[name] for name in reading.uncertainty}
    _write_picture(draw_reading(reading), folder / "panel.png", [face], root)
    write_table(folder / "regions.csv", [_to_row(row) for row in reading.rows])
    maps = write_maps(folder, both, units=both_units, formats=formats, name="maps", about=_say(reading))
    if reading.model is not None:
        write_inverse(folder / "inverse.npz", reading.model)
        maps.append(folder / "inverse.npz")
    return [folder / "panel.png", folder / "regions.csv", *maps]


def draw_reading(reading: Reading) -> Figure:
    """Return the panel of a face; it shows a face, so it needs `save_picture`."""
    from hyperskin.tracking.skin_panel import draw_panel

    picture, said = _to_picture(reading.face)
    return draw_panel(
        picture,
        reading.maps,
        reading.regions.masks,
        title=_say(reading),
        picture_title=said,
        captions={row.map_name: _caption(row) for row in reading.rows if row.region == FACE},
        note=_note(reading),
    )


def write_change(visits: tuple[Reading, Reading], folder: Path, *, root: Path, formats: Sequence[Format]) -> list[Path]:
    """Write what changed from one visit of a subject to another: a sheet, a table and maps.

    Raises:
        DataError: The visits share no map.
    """
    before, after = visits
    shared = [name for name in after.maps if name in before.maps]
    if not shared:
        raise DataError(f"Two visits must share a map; {before.face.name} and {after.face.name} have none in common.")
    for doubt in _doubts(before, after):
        _log.warning("%s", doubt)
    moved = {name: _lay_over(before.maps[name], before, after).astype(np.float32) for name in shared}
    rows = _change_rows(before, after, moved)
    stem = f"change_since_{before.face.name}"
    changes = {f"{name}{CHANGE}": after.maps[name] - moved[name] for name in shared}
    _write_picture(_draw_change(before, after, moved, rows), folder / f"{stem}.png", [before.face, after.face], root)
    write_table(folder / f"{stem}.csv", rows)
    maps = write_maps(
        folder,
        changes,
        units={f"{name}{CHANGE}": KINDS[name].unit for name in shared},
        formats=formats,
        name=stem,
        about=f"{after.face.name} minus {before.face.name}, laid over it; {after.method}",
    )
    return [folder / f"{stem}.png", folder / f"{stem}.csv", *maps]


def medians(reading: Reading) -> list[list[str]]:
    """Return the medians as a table of text: a row a map with its unit, a column a region."""
    names = list(reading.regions.masks)
    found = {(row.map_name, row.region): row for row in reading.rows}
    heading = ["median", "unit", *(name.replace("_", " ") for name in names)]
    return [
        heading,
        *(
            [name, KINDS[name].unit or "1", *(_number(found[name, region].median) for region in names)]
            for name in reading.maps
        ),
    ]


def _on_bands(face: Face, places: npt.NDArray[np.intp], bands: Bands) -> Face:
    """Return a face with the bands at these places alone; the very same face where these are all of them."""
    return face if face.bands == bands else replace(face, cube=face.cube[..., places], bands=bands)


def _write_picture(figure: Figure, path: Path, faces: Sequence[Face], root: Path) -> None:
    """Write a sheet; among the data, if anyone in it may not be shown."""
    subjects = [face.subject for face in faces]
    if all(face.may_be_shown for face in faces):
        save_picture(figure, subjects=subjects, publishable=subjects, path=path)
    else:
        keep_picture(figure, subjects=subjects, path=path, data=root / "data")


def _change_rows(before: Reading, after: Reading, moved: Mapping[str, Map]) -> list[dict[str, Any]]:
    """Return what every region says of every map at both visits; pixel by pixel where the one lies over the other."""
    first = {(row.region, row.map_name): row for row in before.rows}
    rows = []
    for row in after.rows:
        then = first.get((row.region, row.map_name))
        if then is None:
            continue
        change = (after.maps[row.map_name] - moved[row.map_name])[after.regions.masks[row.region]]
        known = change[np.isfinite(change)]
        rows.append(
            {
                "region": row.region,
                "map": row.map_name,
                "unit": KINDS[row.map_name].unit or "1",
                "n_before": then.pixel_count,
                "median_before": then.median,
                "n_after": row.pixel_count,
                "median_after": row.median,
                "difference": row.median - then.median,
                "ratio": row.median / then.median if then.median else float("nan"),
                "n_overlaid": known.size,
                "median_difference_overlaid": float(np.median(known)) if known.size else float("nan"),
            }
        )
    return rows


def _draw_change(
    before: Reading, after: Reading, moved: Mapping[str, Map], rows: Sequence[Mapping[str, Any]]
) -> Figure:
    from hyperskin.tracking.skin_panel import draw_difference

    picture, _ = _to_picture(before.face)
    laid = np.stack([_lay_over(picture[..., channel], before, after) for channel in range(3)], axis=2)
    captions = {}
    for row in rows:
        if row["region"] == FACE:
            kind = KINDS[row["map"]]
            said = f"{row['ratio']:.3g} times" if kind.is_log else f"{row['difference']:+.3g}"
            captions[row["map"]] = f"face: {row['median_before']:.3g} to {row['median_after']:.3g}, {said}"
    return draw_difference(
        (laid, _to_picture(after.face)[0]),
        moved,
        {name: after.maps[name] for name in moved},
        names=(f"Before: {before.face.name}", f"After: {after.face.name}"),
        labels=("before", "after"),
        title=f"{after.face.subject}: from {before.face.name} to {after.face.name}; method: {after.method}",
        captions=captions,
        note=_note_on_change(before, after),
    )


def _lay_over(values: npt.NDArray[np.floating[Any]], before: Reading, after: Reading) -> npt.NDArray[np.float64]:
    height, width, _ = after.face.cube.shape
    return align(values, before.regions.landmarks, after.regions.landmarks, (height, width))


def _doubts(before: Reading, after: Reading) -> list[str]:
    """Return why pixels of the two visits may not be compared one by one."""
    poses = (before.face.direction, after.face.direction)
    found = []
    if None not in poses and poses[0] != poses[1]:
        found.append(f"The subject looks {poses[0]} at one visit and {poses[1]} at the other")
    if any(reading.regions.landmarks.found_by == "outline" for reading in (before, after)):
        found.append("The visits are laid over each other by outlines alone")
    return [f"{doubt}: compare the regions, not the maps pixel by pixel." for doubt in found]


def _to_picture(face: Face) -> tuple[Picture, str]:
    """Return a face's colours, (H, W, 3), and what they are."""
    try:
        said = "Colours reconstructed, brightened" if face.is_reconstructed else "Colours under D65, brightened"
        return _BRIGHTER * render_srgb(face.cube, face.bands).rgb, said
    except DataError:
        last = len(face.bands) - 1
        chosen = [round(share * last) for share in _FALSE_COLOURS]
        told = ", ".join(f"{face.bands.wavelength_nm[place]:.0f}" for place in chosen)
        return face.cube[..., chosen], f"False colours: {told} nm"


def _to_row(row: RegionRow) -> dict[str, Any]:
    return {
        "region": row.region,
        "map": row.map_name,
        "unit": KINDS[row.map_name].unit or "1",
        "n": row.pixel_count,
        "mean": row.mean,
        "sd": row.sd,
        "p5": row.p5,
        "median": row.median,
        "p95": row.p95,
    }


def describe(reading: Reading) -> dict[str, Any]:
    """Return what a result was made from and how, plain values."""
    face, landmarks = reading.face, reading.regions.landmarks
    height, width, _ = face.cube.shape
    return {
        "hyperskin": hyperskin.__version__,
        "name": face.name,
        "subject": face.subject,
        "origin": face.origin,
        "made_from": face.about,
        "shape": [height, width],
        "wavelength_nm": list(face.bands.wavelength_nm),
        "method": reading.method,
        "parameters": reading.parameters,
        "landmarks": {
            "found_by": landmarks.found_by,
            "right_eye": list(landmarks.right_eye),
            "left_eye": list(landmarks.left_eye),
            "mouth": list(landmarks.mouth),
            "turn": landmarks.turn,
        },
        "regions": {name: int(np.count_nonzero(mask)) for name, mask in reading.regions.masks.items()},
        "maps": {
            name: {"title": KINDS[name].title, "unit": KINDS[name].unit, "shown": [KINDS[name].low, KINDS[name].high]}
            for name in reading.maps
        },
        "typology_angle_facing_light_deg": reading.angle_deg,
        "note": face.note,
    }


def _say(reading: Reading) -> str:
    """Return one line on a result, for headings and files."""
    face = reading.face
    first_nm, last_nm = face.bands.wavelength_nm[0], face.bands.wavelength_nm[-1]
    return (
        f"{face.name}, {_ORIGINS[face.origin]}, {len(face.bands)} bands from {first_nm:g} to {last_nm:g} nm; "
        f"method: {reading.method}"
    )


def _note(reading: Reading) -> str:
    """Return what a reader of a panel must know, sentence by sentence."""
    outline = _OUTLINE_NOTE if reading.regions.landmarks.found_by == "outline" else ""
    return " ".join(filter(None, (_consent([reading]), reading.face.note, outline, _light([reading]), _SIDES_NOTE)))


def _note_on_change(before: Reading, after: Reading) -> str:
    """Return what a reader of two visits must know."""
    both = [before, after]
    return " ".join(filter(None, (_consent(both), after.face.note, *_doubts(before, after), _light(both))))


def _consent(readings: Sequence[Reading]) -> str:
    return "" if all(reading.face.may_be_shown for reading in readings) else _CONSENT_NOTE


def _light(readings: Sequence[Reading]) -> str:
    """Return what the typology angle is where it can be read."""
    angles = [reading.angle_deg for reading in readings if reading.angle_deg is not None]
    if len(angles) < len(readings):
        return ""
    told = ", then ".join(f"{angle:.0f} degrees ({skin_type(angle)})" for angle in angles)
    return f"{_LIGHT_NOTE}; of the skin that faces the light it is {told}."


def _caption(row: RegionRow) -> str:
    return f"face: median {_number(row.median)} (p5 {_number(row.p5)}, p95 {_number(row.p95)})"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}"
