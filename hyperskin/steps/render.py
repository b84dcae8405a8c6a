"""data/cubes -> data/inputs: what consumer cameras would have stored, and the 960 nm band beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperskin.atomic import atomic_path, file_sha256
from hyperskin.data.cubefile import CHUNK_PX, CubeReader, encode_reflectance
from hyperskin.data.encoding import encode
from hyperskin.params import Params, section_values
from hyperskin.spectral.camera import find_cameras, infrared_band, render_cameras
from hyperskin.steps.captures import Facts, Job, code_version, finished_captures, make_key, map_captures, require_stamp

CODE = (
    "bands.py",
    "data/cubefile.py",
    "data/encoding.py",
    "spectral/camera.py",
    "spectral/colour.py",
    "spectral/rendering.py",
    "spectral/responses.py",
    "spectral/tables/cie_1931_2deg.csv",
    "spectral/tables/colour_checker.csv",
    "spectral/tables/illuminants.csv",
    "steps/render.py",
)


def render(cubes: Path, inputs: Path, *, params_file: Path = Path("params.yaml")) -> None:
    """Write an input file for every capture: 8-bit RGB per camera, and the 960 nm band where NIR was measured.

    Args:
        cubes: Folder with the cube files.
        inputs: Folder that gets `<subject>/<capture>.h5`.
        params_file: Parameters; this step reads `render`.
    """
    params = Params.read(params_file)
    settings = section_values(params.render)
    find_cameras(params.render.cameras, params.render.camera_file)  # an unknown name is told once, not per capture
    responses = file_sha256(params.render.camera_file)
    jobs = []
    for subject, name in finished_captures(cubes):
        stamp = require_stamp(cubes, subject, name, "calibrate")
        jobs.append(
            Job(
                subject=subject,
                name=name,
                key=make_key("render", settings, responses, stamp.files, code_version(*CODE)),
                work=make_inputs,
                arguments={
                    "cube": cubes / subject / f"{name}.h5",
                    "settings": settings,
                    "camera_file": params.render.camera_file,
                },
            )
        )
    map_captures("render", jobs, inputs, workers=params.execution.workers, dask=params.execution.dask)


def make_inputs(
    folder: Path, name: str, *, cube: Path, settings: dict[str, Any], camera_file: Path
) -> tuple[list[str], Facts]:
    """Write one capture's input file and return how many values each camera clipped."""
    cameras = find_cameras(settings["cameras"], camera_file)
    path = folder / f"{name}.h5"
    with CubeReader(cube) as reader:
        rendered = render_cameras(
            reader.read("vis"),
            reader.header.bands["vis"],
            cameras,
            illuminant=settings["illuminant"],
            colour_correction=settings["colour_correction"],
            exposure=settings["exposure"],
            transfer=settings["transfer"],
        )
        infrared = (
            infrared_band(reader.read("nir"), reader.header.bands["nir"]) if "nir" in reader.header.bands else None
        )
    with (
        atomic_path(path) as temporary,
        h5py.File(temporary, "w", libver=("v110", "v110"), rdcc_nbytes=0) as file,  # a chunk lies where it is written
    ):
        file.attrs["transfer"] = settings["transfer"]
        file.attrs["encoding"] = settings["encoding"]
        for camera, picture in rendered.pictures.items():
            _put(file, f"rgb/{camera}", encode(picture, settings["encoding"]))
        if infrared is not None:
            _put(file, "infrared_960", encode_reflectance(infrared)[0])
    return [path.name], {"clipped": rendered.clipped_counts}


def _put(file: h5py.File, name: str, values: np.ndarray[Any, Any]) -> None:
    """Store a picture in square chunks with a checksum, so that a crop reads little and a flipped bit is told."""
    chunk = (min(CHUNK_PX, values.shape[0]), min(CHUNK_PX, values.shape[1]), *values.shape[2:])
    file.create_dataset(name, data=values, chunks=chunk, fletcher32=True)
