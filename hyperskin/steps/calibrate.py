"""data/raw -> data/cubes: counts to reflectance and to 31 + 31 bands in one pass; given cubes are transcoded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.bands import FX10, Bands
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CubeReader, write_cubes
from hyperskin.pairs import CUBE_BANDS
from hyperskin.params import Params, section_values
from hyperskin.sources.catalog import find_source
from hyperskin.sources.source import CubeSource, RawCapture, RawSource
from hyperskin.spectral.develop import Development, develop
from hyperskin.spectral.quality import band_snr_db
from hyperskin.steps.captures import Facts, Job, code_version, finished_captures, make_key, map_captures, require_stamp

CODE = (
    "bands.py",
    "envi.py",
    "data/cubefile.py",
    "sources/cave.py",
    "sources/lumo.py",
    "spectral/calibration.py",
    "spectral/develop.py",
    "spectral/quality.py",
    "spectral/resampling.py",
    "steps/calibrate.py",
)
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
        jobs.append(
            Job(
                subject=subject,
                name=name,
                key=make_key("calibrate", params.source.name, settings, stamp.files, code_version(*CODE)),
                work=make_cubes,
                arguments={
                    "source": params.source.name,
                    "raw": raw / subject / name,
                    "settings": settings,
                    "originals": stamp.files,
                },
            )
        )
    map_captures("calibrate", jobs, cubes, workers=params.execution.workers)


def make_cubes(
    folder: Path, name: str, *, source: str, raw: Path, settings: dict[str, Any], originals: dict[str, str]
) -> tuple[list[str], Facts]:
    """Write one capture's cube file and return counts and signal to noise."""
    brought = find_source(source)
    capture = CaptureId.parse(name)
    path = folder / f"{name}.h5"
    attributes: dict[str, Any] = {"source": source, "calibration": settings, "originals": originals}
    if brought.gives == "raw":
        files = _develop_raw(path, brought, raw, capture, attributes)
    else:
        files = _transcode(path, brought, raw, capture, attributes)
    return files, _facts(path)


def _develop_raw(path: Path, source: RawSource, raw: Path, capture: CaptureId, attributes: dict[str, Any]) -> list[str]:
    """Calibrate and resample line by line; memory does not grow with the capture's length."""
    opened = source.open_raw(raw, capture)
    settings = attributes["calibration"]
    targets = {name: bands for name, bands in CUBE_BANDS.items()}
    development = develop(
        opened.line_blocks,
        opened.white_lines,
        opened.dark_lines,
        opened.bands,
        targets,
        kind=settings["resample"],
        fwhm_nm=settings["gaussian_fwhm_nm"],
        white_reflectance=settings["white_reflectance"],
        repair=settings["repair"],
        max_bad_fraction=settings["max_bad_fraction"],
        full_scale=opened.full_scale,
        keep_full=settings["keep_448"],
    )
    with write_cubes(path, height=opened.height, width=opened.width, bands=targets, attributes=attributes) as writer:
        for block in development:
            writer.append(block.cubes, block.valid)
        attributes["counts"] = development.counts()
    return [path.name]
