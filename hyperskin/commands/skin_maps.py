"""`hyperskin skin-maps`: what a face's skin is made of, as maps, numbers by region and a sheet to look at."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Literal

from hyperskin.environment import repository_root

_log = logging.getLogger(__name__)


def skin_maps(
    what: str,
    *,
    against: str = "",
    out: Path | None = None,
    method: Literal["inverse", "beer_lambert"] = "inverse",
    format: tuple[Literal["npz", "tiff", "envi"], ...] = (),  # noqa: A002 - what a person types
    mask: Path | None = None,
    against_mask: Path | None = None,
    subject: str = "",
    binning: int = 1,
    calibrate: str = "",
    calibrate_photo: Path | None = None,
) -> None:
    """Map melanin, blood, oxygenation and water of a face, and the indices that dermatology knows.

    `hyperskin skin-maps p001_neutral_front` reads a capture of data/manifest.json; a file is a cube of ours
    (data/cubes/.../NAME.h5), an ENVI reflectance cube with its wavelengths (NAME.hdr), or a photo (.jpg, .png).

    Into reports/skin/NAME go:

    - panel.png: colours with the regions, and every map on a scale that is the same for everybody;
    - regions.csv: forehead, cheeks, nose, chin and the whole face: mean, sd, p5, median, p95 of every map, with units;
    - the maps themselves as floats, NaN outside bare skin, with their standard deviations (NAME_sd);
    - inverse.npz: the regression that read them, to read others alike when the code has moved on;
    - about.json: what all of it was made from and how, and the names of these files.

    Right and left are the subject's own. Eyes, brows, lips and beard are left out; a region that is turned away or
    covered is not in the table.

    With --against, another visit of the same subject, there is a second table and sheet of what changed: this one minus
    that one, eyes laid on eyes and mouth on mouth, read from the bands that both have.

    A photo is first reconstructed by the champion of rgb_vis, so it must be as that model's camera gives pictures; a
    large one is shrunk to 1024 px. Oxygenation cannot be read from a photo; melanin can only as a level of the person,
    not from place to place.

    With --calibrate, what was measured of the same person elsewhere makes the photo's maps better: another capture of
    the subject in data/manifest.json, or a CSV file of spectra from a contact spectrophotometer (wavelengths in nm as
    the first line or column, a reading of skin in each other line or column, reflectance 0 to 1, or per cent with % in
    a heading). The model's own prior weighs them: one reading changes little, 25 are believed. With --against too, the
    gain is for both photos.

    Everything of a subject who is not in `privacy.publishable_subjects` stays in data/skin/NAME; of the phantom's
    people everybody may be shown.

    Args:
        what: A capture's name, or a cube or a photo.
        against: Another visit, by name or file as above; both measured, or both photos.
        out: Folder for the results; default: reports/skin/NAME, or data/skin/NAME for a subject who may not be shown.
        method: inverse (a regression trained on the optical model) or beer_lambert (linear unmixing).
        format: How the maps are written: npz, tiff (one float file a map), envi; several may be named; default: npz.
        mask: A picture, white where the subject is; default: the manifest's mask, else what our mask stage finds.
        against_mask: The same for --against.
        subject: Whose files these are, where their names do not say (p001_anything is of p001).
        binning: Average so many pixels a side first: less noise, less detail.
        calibrate: What was measured of the photo's subject: another capture's name, or a CSV file of spectra.
        calibrate_photo: Photo whose reconstruction the spectra of the CSV are held against; default: the photo itself.
    """
    from hyperskin.errors import DataError
    from hyperskin.processes import interrupted_by_signals
    from hyperskin.steps.skin_calibration import calibrate_face, share_gain
    from hyperskin.steps.skin_folder import choose_folder, require_free
    from hyperskin.steps.skin_input import read_face
    from hyperskin.steps.skin_maps import medians, pair_visits, read_skin, write_results
    from hyperskin.tracking.grid import align_table

    if against_mask is not None and not against:
        raise DataError(f"`--against-mask` must come with `--against`; got {against_mask} alone.")
    if calibrate_photo is not None and not calibrate:
        raise DataError(f"`--calibrate-photo` must come with `--calibrate`; got {calibrate_photo} alone.")
    root = repository_root()
    face = read_face(root, what, mask=mask, subject=subject)
    other = read_face(root, against, mask=against_mask, subject=subject) if against else None
    if calibrate:
        face = calibrate_face(root, face, calibrate, photo=calibrate_photo)
    visits = pair_visits(other, face) if other is not None else None
    if calibrate and visits is not None:
        visits = share_gain(face, visits[0]), visits[1]
    unshown = next((shown.subject for shown in (face, *(visits or ())) if not shown.may_be_shown), "")
    folder = choose_folder(root, face.name, out, unshown=unshown)
    require_free(folder, face.about["input"])
    with interrupted_by_signals():
        reading = read_skin(face, method=method, binning=binning)
        readings = None
        if visits is not None:
            before, after = visits
            then = read_skin(before, method=method, binning=binning)
            now = reading if after is face else read_skin(after, method=method, binning=binning)
            readings = then, now
        written = write_results(reading, folder, root=root, formats=format or ("npz",), visits=readings)
    if unshown:
        _log.warning(
            "%s is not in `privacy.publishable_subjects`: everything, the panel too, stays below data/", unshown
        )
    sys.stdout.write(align_table(medians(reading), left=2) + "\n")
    shown_folder = folder.relative_to(root) if folder.is_relative_to(root) else folder
    _log.info("written to %s: %s", shown_folder, ", ".join(path.name for path in written))
