"""One face -> its skin maps, what they say by region, a sheet to look at, and what changed since another visit."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import hyperskin
from hyperskin.atomic import write_json
from hyperskin.errors import ConsentError, DataError
from hyperskin.pictures import save_picture
from hyperskin.skin.export import Format, write_maps, write_table
from hyperskin.skin.maps import KINDS, skin_maps
from hyperskin.skin.regions import FACE, RegionRow, Regions, align, find_regions, region_statistics
from hyperskin.spectral.colour import render_srgb
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
_PLACES = {True: Path("reports") / "skin", False: Path("data") / "skin"}  # by whether the subject may be shown
_BRIGHTER = 1.5  # for everybody, so that light and dark skin stay apart
_FALSE_COLOURS = (0.95, 0.5, 0.05)  # where in a cube's range red, green and blue are taken if it sees no colour
_LIGHT_NOTE = "The typology angle, alone of all maps, depends on how brightly the face is lit."
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
        method: How the maps were made.
        parameters: Its settings.
    """

    face: Face
    maps: dict[str, Map]
    uncertainty: dict[str, Map]
    regions: Regions
    rows: list[RegionRow]
    method: str
    parameters: dict[str, str | float | int]


def read_skin(face: Face, *, method: str, binning: int) -> Reading:
    """Return a face's maps and what they say.

    Raises:
        DataError: The bands give no map.
        UnknownNameError: There is no such method.
    """
    started = time.monotonic()
    regions = find_regions(face.cube, face.bands, face.mask, direction=face.direction)
    made = skin_maps(face.cube, face.bands, regions.skin, method=method, binning=binning)
    hidden = _NOT_FROM_A_PHOTO if face.origin == "photo" else ()
    maps = {name: values for name, values in made.values.items() if name not in hidden}
    uncertainty = {name: values for name, values in made.uncertainty.items() if name in maps}
    rows = region_statistics(maps, regions.masks)
    missing = [name for name in ("forehead", "right_cheek", "left_cheek", "nose", "chin") if name not in regions.masks]
    _log.info(
        "%s: %d maps of %d pixels of bare skin in %.1f s; regions by %s%s",
        face.name, len(maps), np.count_nonzero(regions.skin), time.monotonic() - started,
        {"features": "eyes and mouth", "outline": "the outline alone"}[regions.landmarks.found_by],
        f"; not to be seen: {', '.join(missing)}" if missing else "",
    )  # fmt: skip
    if regions.landmarks.found_by == "outline":
        _log.warning("%s: no eyes and mouth were found, so that regions may be misplaced: look at the panel", face.name)
    return Reading(face, maps, uncertainty, regions, rows, made.method, made.parameters)


def choose_folder(root: Path, face: Face, out: Path | None) -> Path:
    """Return where a face's results go.

    The maps show a face as a picture does, so those of a subject who may not be shown stay below data/.

    Raises:
        ConsentError: They are wanted elsewhere.
    """
    folder = root / _PLACES[face.may_be_shown] / face.name if out is None else out
    if not face.may_be_shown and not folder.resolve().is_relative_to((root / "data").resolve()):
        raise ConsentError(
            f"Maps of {face.subject}, who is not in `privacy.publishable_subjects`, must stay below data/; got "
            f"{folder}: leave out `--out`, or add the subject once the written consent is at hand."
        )
    return folder


def write_reading(reading: Reading, folder: Path, *, formats: Sequence[Format]) -> list[Path]:
    """Write the table, the maps, what they were made from and, of a subject who may be shown, the panel."""
    face = reading.face
    units = {name: KINDS[name].unit for name in reading.maps}
    both = reading.maps | {f"{name}{UNCERTAINTY}": values for name, values in reading.uncertainty.items()}
    both_units = units | {f"{name}{UNCERTAINTY}": units[name] for name in reading.uncertainty}
    written = write_maps(folder, both, units=both_units, formats=formats, name="maps", about=_say(reading))
    write_table(folder / "regions.csv", [_to_row(row) for row in reading.rows])
    write_json(folder / "about.json", _describe(reading))
    written += [folder / "regions.csv", folder / "about.json"]
    if face.may_be_shown:
        picture = draw_reading(reading)
        save_picture(picture, subjects=[face.subject], publishable=[face.subject], path=folder / "panel.png")
        written.append(folder / "panel.png")
    else:
        _log.warning(
            "%s: no panel, since %s is not in `privacy.publishable_subjects`; maps and numbers stay below data/",
            face.name, face.subject,
        )  # fmt: skip
    return written


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
        note=" ".join((reading.face.note, _LIGHT_NOTE if "typology_angle" in reading.maps else "")).strip(),
    )


def write_change(before: Reading, after: Reading, folder: Path, *, formats: Sequence[Format]) -> list[Path]:
    """Write what changed from one visit of a subject to another: a table, maps and, if it may be shown, a panel.

    Raises:
        DataError: The visits are of two subjects, or share no map.
    """
    if before.face.subject != after.face.subject:
        raise DataError(
            f"Two visits must be of one subject; {before.face.name} is of {before.face.subject} and "
            f"{after.face.name} of {after.face.subject}: say whose the files are with `--subject`."
        )
    shared = [name for name in after.maps if name in before.maps]
    if not shared:
        raise DataError(f"Two visits must share a map; {before.face.name} and {after.face.name} have none in common.")
    _warn_of_poses(before, after)
    moved = {name: _lay_over(before.maps[name], before, after).astype(np.float32) for name in shared}
    rows = _change_rows(before, after, moved)
    stem = f"change_since_{before.face.name}"
    units = {name: KINDS[name].unit for name in shared}
    changes = {f"{name}{CHANGE}": after.maps[name] - moved[name] for name in shared}
    about = f"{after.face.name} minus {before.face.name}, laid over it; {after.method}"
    written = write_maps(
        folder,
        changes,
        units={f"{name}{CHANGE}": unit for name, unit in units.items()},
        formats=formats,
        name=stem,
        about=about,
    )
    write_table(folder / f"{stem}.csv", rows)
    written.append(folder / f"{stem}.csv")
    if before.face.may_be_shown and after.face.may_be_shown:
        figure = _draw_change(before, after, moved, rows)
        path = folder / f"{stem}.png"
        save_picture(figure, subjects=[after.face.subject], publishable=[after.face.subject], path=path)
        written.append(path)
    return written


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
            captions[row["map"]] = f"face median {row['median_before']:.3g} to {row['median_after']:.3g}: {said}"
    return draw_difference(
        (laid, _to_picture(after.face)[0]),
        moved,
        {name: after.maps[name] for name in moved},
        names=(f"{before.face.name}, laid over", after.face.name),
        title=f"{after.face.subject}: from {before.face.name} to {after.face.name}, {after.method}",
        captions=captions,
        note=" ".join((after.face.note or before.face.note, _LIGHT_NOTE if "typology_angle" in moved else "")).strip(),
    )


def _lay_over(values: npt.NDArray[np.floating[Any]], before: Reading, after: Reading) -> npt.NDArray[np.float64]:
    height, width, _ = after.face.cube.shape
    return align(values, before.regions.landmarks, after.regions.landmarks, (height, width))


def _warn_of_poses(before: Reading, after: Reading) -> None:
    poses = (before.face.direction, after.face.direction)
    if None not in poses and poses[0] != poses[1]:
        _log.warning(
            "The subject looks %s at one visit and %s at the other: compare the regions, not the maps pixel by pixel",
            *poses,
        )
    if any(reading.regions.landmarks.found_by == "outline" for reading in (before, after)):
        _log.warning("The visits are laid over each other by outlines alone: compare the regions, not the maps")


def _to_picture(face: Face) -> tuple[Picture, str]:
    """Return a face's colours, (H, W, 3), and what they are."""
    try:
        return _BRIGHTER * render_srgb(face.cube, face.bands).rgb, "Colours under D65, brightened"
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


def _describe(reading: Reading) -> dict[str, Any]:
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
        "note": face.note,
    }


def _say(reading: Reading) -> str:
    """Return one line on a result, for headings and files."""
    face = reading.face
    first_nm, last_nm = face.bands.wavelength_nm[0], face.bands.wavelength_nm[-1]
    origin = {"capture": "measured", "cube": "from a cube", "photo": "reconstructed from a photo"}[face.origin]
    return f"{face.name}, {origin}: {reading.method}, {len(face.bands)} bands from {first_nm:g} to {last_nm:g} nm"


def _caption(row: RegionRow) -> str:
    return f"face: median {_number(row.median)}, 5 to 95 %: {_number(row.p5)} to {_number(row.p95)}"


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3g}"
