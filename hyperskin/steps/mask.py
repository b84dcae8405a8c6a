"""data/cubes -> data/masks: subject against background; a given mask replaces ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.data.cubefile import CubeReader
from hyperskin.errors import DataError
from hyperskin.params import Params, section_values
from hyperskin.pictures import save_mask
from hyperskin.sources.given_masks import read_given_masks
from hyperskin.spectral.mask import subject_mask
from hyperskin.steps.captures import Facts, Job, code_version, finished_captures, make_key, map_captures, require_stamp

CODE = (
    "bands.py",
    "data/cubefile.py",
    "sources/decode.py",
    "sources/given_masks.py",
    "spectral/mask.py",
    "steps/mask.py",
)


def mask(raw: Path, cubes: Path, masks: Path, *, params_file: Path = Path("params.yaml")) -> None:
    """Write a mask for every capture that has a subject: given ones first, else found in the cube.

    Args:
        raw: Folder with the originals, given masks among them.
        cubes: Folder with the cube files.
        masks: Folder that gets `<subject>/<capture>.png`, 0 or 255.
        params_file: Parameters; this step reads `mask`.
    """
    params = Params.read(params_file)
    settings = section_values(params.mask)
    jobs = []
    for subject, name in finished_captures(cubes):
        cube_stamp = require_stamp(cubes, subject, name, "calibrate")
        raw_stamp = require_stamp(raw, subject, name, "acquire")
        given = {file: sha256 for file, sha256 in raw_stamp.files.items() if file.startswith(f"{name}/mask/")}
        jobs.append(
            Job(
                subject=subject,
                name=name,
                key=make_key("mask", settings, cube_stamp.files, given, code_version(*CODE)),
                work=make_mask,
                arguments={
                    "cube": cubes / subject / f"{name}.h5",
                    "given": [raw / subject / file for file in sorted(given)],
                    "settings": settings,
                },
            )
        )
    _require_suffix_in_use([path for job in jobs for path in job.arguments["given"]], params.mask.given_suffix)
    map_captures("mask", jobs, masks, workers=params.execution.workers, dask=params.execution.dask)


def _require_suffix_in_use(given: list[Path], suffix: str) -> None:
    """Refuse a suffix that no given mask has: misspelt, it would leave every capture without its mask."""
    if given and not any(path.stem.endswith(suffix) for path in given):
        raise DataError(
            f"`mask.given_suffix` must end the name of a given mask; none of {len(given)} ends with {suffix!r}, "
            f"the first is {given[0].name!r}."
        )


def make_mask(
    folder: Path, name: str, *, cube: Path, given: list[Path], settings: dict[str, Any]
) -> tuple[list[str], Facts]:
    """Write one capture's mask, or nothing where there is no subject, and say where it comes from."""
    path = folder / f"{name}.png"
    with CubeReader(cube) as reader:
        frame = reader.header.shape
        chosen = [file for file in given if file.stem.endswith(settings["given_suffix"])]
        if chosen:
            subject, origin = read_given_masks(chosen, frame), "given"
        elif settings["make"] and "vis" in reader.header.bands:  # in infrared alone nothing tells skin
            subject, origin = _find_subject(reader, settings["smallest_fraction"]), "made"
        else:
            subject, origin = np.zeros(frame, dtype=np.bool_), "none"
    if not subject.any():
        path.unlink(missing_ok=True)
        return [], {"origin": "none", "pixel_count": 0}
    save_mask(subject, path)
    return [path.name], {"origin": origin, "pixel_count": int(np.count_nonzero(subject))}


def _find_subject(reader: CubeReader, smallest_fraction: float) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = subject_mask(
        reader.read("vis"), reader.header.bands["vis"], reader.read_valid(), smallest_fraction=smallest_fraction
    )
    return found
