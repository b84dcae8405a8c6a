"""data/raw -> data/cubes: counts to reflectance and to 31 + 31 bands in one pass; given cubes are transcoded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader, write_cubes
from hyperskin.pairs import CUBE_BANDS
from hyperskin.params import Params, section_values
from hyperskin.sources.catalog import find_source
from hyperskin.sources.source import GivenCubes, RawCapture
from hyperskin.spectral.develop import develop
from hyperskin.spectral.quality import band_snr_db
from hyperskin.steps.captures import Facts, Job, code_version, finished_captures, make_key, map_captures, require_stamp

CODE = (
    "bands.py",
    "envi.py",
    "data/cubefile.py",
    "sources/cave.py",
    "sources/decode.py",
    "sources/lumo.py",
    "sources/matlab.py",
    "sources/orientation.py",
    "sources/release.py",
    "spectral/calibration.py",
    "spectral/develop.py",
    "spectral/quality.py",
    "spectral/resampling.py",
    "steps/calibrate.py",
)
BESIDE = ("mask", "truth")
"""Folders of a capture that hold no measurement: a given mask, and what a phantom's measurement should be."""

_BLOCK_LINES = 64


def calibrate(raw: Path, cubes: Path, *, params_file: Path = Path("params.yaml")) -> None:
    """Write a cube file for every capture: reflectance on 31 VIS and, where measured, 31 NIR bands.

    Args:
        raw: Folder with the originals.
        cubes: Folder that gets `<subject>/<capture>.h5`.
        params_file: Parameters; this step reads `source` and `calibrate`.
    """
    params = Params.read(params_file)
    settings = section_values(params.calibrate)
    jobs = []
    for subject, name in finished_captures(raw):
        stamp = require_stamp(raw, subject, name, "acquire")
        beside = tuple(f"{name}/{folder}/" for folder in BESIDE)
        originals = {file: sha256 for file, sha256 in stamp.files.items() if not file.startswith(beside)}
        jobs.append(
            Job(
                subject=subject,
                name=name,
                key=make_key("calibrate", params.source.name, settings, originals, code_version(*CODE)),
                work=make_cubes,
                arguments={
                    "source": params.source.name,
                    "raw": raw / subject / name,
                    "settings": settings,
                    "originals": originals,
                },
            )
        )
    map_captures("calibrate", jobs, cubes, workers=params.execution.workers, dask=params.execution.dask)


def make_cubes(
    folder: Path, name: str, *, source: str, raw: Path, settings: dict[str, Any], originals: dict[str, str]
) -> tuple[list[str], Facts]:
    """Write one capture's cube file and return counts and signal to noise."""
    brought = find_source(source)
    capture = CaptureId.parse(name)
    path = folder / f"{name}.h5"
    attributes: dict[str, Any] = {"source": source, "calibration": settings, "originals": originals}
    if brought.gives == "raw":
        _develop(path, brought.open_raw(raw, capture), attributes)
    else:
        _transcode(path, brought.read_cubes(raw, capture), attributes)
    return [path.name], _facts(path)


def _develop(path: Path, raw: RawCapture, attributes: dict[str, Any]) -> None:
    """Calibrate and resample line by line; memory does not grow with the capture's length."""
    settings = attributes["calibration"]
    development = develop(
        raw.line_blocks,
        raw.white_lines,
        raw.dark_lines,
        raw.bands,
        CUBE_BANDS,
        kind=settings["resample"],
        fwhm_nm=settings["gaussian_fwhm_nm"],
        white_reflectance=settings["white_reflectance"],
        repair=settings["repair"],
        max_bad_fraction=settings["max_bad_fraction"],
        full_scale=raw.full_scale,
        keep_full=settings["keep_448"],
    )
    bands = {**CUBE_BANDS, "full": raw.bands} if settings["keep_448"] else CUBE_BANDS
    with write_cubes(path, height=raw.height, width=raw.width, bands=bands, attributes=attributes) as writer:
        for block in development:
            full = {} if block.full is None else {"full": block.full}
            writer.append({**block.cubes, **full}, block.valid)
        attributes["counts"] = development.counts()


def _transcode(path: Path, given: GivenCubes, attributes: dict[str, Any]) -> None:
    """Store finished cubes in our number format."""
    attributes["notes"] = given.notes
    attributes["counts"] = {"invalid": int(np.count_nonzero(~given.valid))}
    height, width = given.valid.shape
    with write_cubes(path, height=height, width=width, bands=given.bands, attributes=attributes) as writer:
        for first in range(0, height, _BLOCK_LINES):
            lines = slice(first, first + _BLOCK_LINES)
            writer.append({name: cube[lines] for name, cube in given.cubes.items()}, given.valid[lines])


def _facts(path: Path) -> Facts:
    """Return what people want to know of a stored cube: counts, and signal to noise per band."""
    with CubeReader(path) as reader:
        attributes = reader.header.attributes
        valid = reader.read_valid()
        snr_db = {name: _known(band_snr_db(reader.read(name), valid)) for name in reader.header.bands if name != "full"}
    return {
        "counts": {**attributes["counts"], "clamped": attributes["clamped_count"]},
        "notes": attributes.get("notes", {}),
        "snr_db": snr_db,
    }


def _known(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [round(float(value), 2) if math.isfinite(value) else None for value in values]
