"""`hyperskin predict`: the cube that the best registered model sees behind a photo or a capture's picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from hyperskin.environment import repository_root


def predict(
    what: str,
    *,
    pair: Literal["rgb_vis", "msi_nir", "msi_visnir"] = "rgb_vis",
    out: Path | None = None,
    subject: str = "",
    calibrate: str = "",
    calibrate_photo: Path | None = None,
    mask: Path | None = None,
) -> None:
    """Reconstruct the spectra behind a photo or a capture, and write them as a cube.

    `hyperskin predict selfie.jpg` takes the champion of rgb_vis from the registry and writes 31 bands from 400 to
    700 nm to data/predictions/selfie-rgb_vis.h5. The photo (.jpg, .png, in colour) must be as that model's camera gives
    pictures; a large one is shrunk to 1024 px.

    `hyperskin predict p001_neutral_front` reconstructs a capture of data/manifest.json from its stored inputs, as the
    camera saw it by which the champion was examined, and says how far that is from the measured cube: the mean
    spectral angle in radians over the subject (masked) and over all that was measured (full). With its infrared
    picture a capture also gives --pair msi_nir (700 to 1000 nm) and msi_visnir (400 to 1000 nm); a photo gives rgb_vis
    alone.

    The file is like those in data/cubes, so `hyperskin skin-maps data/predictions/selfie-rgb_vis.h5` reads it. Its
    attributes say which version and run made it, the hash of the input, and what calibrated it. Reflectance is kept
    from -0.143 to 2.143; what the model puts outside is clipped and counted.

    With --calibrate, what was measured of the same person elsewhere makes bare skin better: another capture of the
    subject in data/manifest.json, or a CSV file of spectra from a contact spectrophotometer that covers the pair's
    bands (wavelengths in nm as the first line or column, a reading of skin in each other line or column, reflectance 0
    to 1, or per cent with % in a heading). One reading changes little, 25 are believed.

    A reconstruction shows its subject as a picture does, so it stays below data/predictions unless the subject may be
    shown: is in `privacy.publishable_subjects`, or of the phantom's people.

    Args:
        what: A photo, or a capture's name.
        pair: What is reconstructed.
        out: File for the cube, NAME.h5; default: data/predictions/NAME-PAIR.h5.
        subject: Whose photo it is, where its name does not say (p001_anything is of p001).
        calibrate: What was measured of the subject: another capture's name, or a CSV file of spectra.
        calibrate_photo: Photo whose reconstruction the spectra of the CSV are held against; default: the photo itself.
        mask: A picture, white where the subject is, for --calibrate; default: the manifest's, else what our mask stage
            finds.
    """
    from hyperskin.errors import DataError
    from hyperskin.processes import interrupted_by_signals
    from hyperskin.steps import predict as step

    for name, path in (("--calibrate-photo", calibrate_photo), ("--mask", mask)):
        if path is not None and not calibrate:
            raise DataError(f"`{name}` must come with `--calibrate`; got {path} alone.")
    root = repository_root()
    with interrupted_by_signals():
        made = step.predict(root, what, pair, mask=mask, subject=subject, needs_somebody=bool(calibrate))
        file = step.choose_file(root, made, out)
        before = step.score_prediction(made)
        if calibrate:
            made = step.calibrate(root, made, calibrate, photo=calibrate_photo)
        step.write_prediction(made, file)
    height, width, count = made.face.cube.shape
    first_nm, *_, last_nm = made.pair.target.wavelength_nm
    shown = file.relative_to(root) if file.is_relative_to(root) else file
    sys.stdout.write(f"{shown}: {height} x {width} px, {count} bands from {first_nm:g} to {last_nm:g} nm\n")
    if before:
        sys.stdout.write(_tell(step.score_prediction(made), before if calibrate else {}, made.seen_in) + "\n")


def _tell(scores: dict[str, float], before: dict[str, float], seen_in: str) -> str:
    """Return the angles to the measured cube in one line, with those before calibration where there was one."""
    told = ", ".join(
        f"{value:.4f} {name}" + (f" ({before[name]:.4f} before calibration)" if name in before else "")
        for name, value in scores.items()
    )
    warning = f"; the model has seen this capture, which is in the split {seen_in}" if seen_in else ""
    return f"SAM to the measured cube: {told} rad{warning}"
