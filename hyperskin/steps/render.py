"""data/cubes -> data/inputs: what consumer cameras would have stored, and 960 nm beside it; given inputs are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hyperskin.atomic import atomic_path, file_sha256
from hyperskin.data.capture import CaptureId
from hyperskin.data.cubefile import CHUNK_PX, CubeReader, encode_reflectance
from hyperskin.data.encoding import MSI_RGB, encode
from hyperskin.errors import DataError
from hyperskin.params import Params, section_values
from hyperskin.sources.catalog import find_source
from hyperskin.sources.source import GivenInputs
from hyperskin.spectral.camera import Camera, find_cameras, infrared_band, render_cameras, slug_of
from hyperskin.spectral.rendering import Rendering
from hyperskin.steps.captures import Facts, Job, code_version, finished_captures, make_key, map_captures, require_stamp

CODE = (
    "bands.py",
    "data/cubefile.py",
    "data/encoding.py",
    "sources/decode.py",
    "sources/matlab.py",
    "sources/orientation.py",
    "sources/release.py",
    "spectral/camera.py",
    "spectral/colour.py",
    "spectral/rendering.py",
    "spectral/responses.py",
    "spectral/tables/cie_1931_2deg.csv",
    "spectral/tables/colour_checker.csv",
    "spectral/tables/illuminants.csv",
    "steps/render.py",
)


def render(raw: Path, cubes: Path, inputs: Path, *, params_file: Path = Path("params.yaml")) -> None:
    """Write an input file for every capture: RGB per camera, and the 960 nm band where NIR was measured.

    What a source gives is kept as given; cameras that it does not give are rendered from the cube.

    Args:
        raw: Folder with the originals, given inputs among them.
        cubes: Folder with the cube files.
        inputs: Folder that gets `<subject>/<capture>.h5`.
        params_file: Parameters; this step reads `source` and `render`.
    """
    params = Params.read(params_file)
    source = params.source.name
    settings = section_values(params.render)
    gives_pairs = find_source(source).gives == "pairs"
    if not gives_pairs:
        find_cameras(params.render.cameras, params.render.camera_file)  # an unknown name is told once, not per capture
    responses = file_sha256(params.render.camera_file)
    jobs = []
    for subject, name in finished_captures(cubes):
        stamp = require_stamp(cubes, subject, name, "calibrate")
        given = require_stamp(raw, subject, name, "acquire").files if gives_pairs else {}
        originals = {file: sha256 for file, sha256 in given.items() if not file.startswith(f"{name}/mask/")}
        jobs.append(
            Job(
                subject=subject,
                name=name,
                key=make_key("render", settings, responses, stamp.files, originals, code_version(*CODE)),
                work=make_inputs,
                arguments={
                    "cube": cubes / subject / f"{name}.h5",
                    "settings": settings,
                    "camera_file": params.render.camera_file,
                    "raw": raw / subject / name,
                    "source": source,
                },
            )
        )
    map_captures("render", jobs, inputs, workers=params.execution.workers, dask=params.execution.dask)


def make_inputs(
    folder: Path, name: str, *, cube: Path, settings: dict[str, Any], camera_file: Path, raw: Path, source: str
) -> tuple[list[str], Facts]:
    """Write one capture's input file and return its cameras, and how many values each rendered one clipped."""
    brought = find_source(source)
    given = brought.read_inputs(raw, CaptureId.parse(name)) if brought.gives == "pairs" else None
    path = folder / f"{name}.h5"
    with CubeReader(cube) as reader:
        kept = {} if given is None else _keep(given)
        wanted = [
            camera for camera in settings["cameras"] if not {f"rgb/{camera}", f"{MSI_RGB}/{camera}"} & kept.keys()
        ]
        rendered = _render(reader, find_cameras(wanted, camera_file), settings)
        if "infrared_960" not in kept and "nir" in reader.header.bands:
            kept["infrared_960"] = encode_reflectance(infrared_band(reader.read("nir"), reader.header.bands["nir"]))[0]
    with (
        atomic_path(path) as temporary,
        h5py.File(temporary, "w", libver=("v110", "v110"), rdcc_nbytes=0) as file,  # a chunk lies where it is written
    ):
        file.attrs["transfer"] = settings["transfer"]
        file.attrs["encoding"] = settings["encoding"]
        for camera, picture in rendered.pictures.items() if rendered else ():
            _put(file, f"rgb/{camera}", encode(picture, settings["encoding"]))
        for key, numbers in kept.items():
            _put(file, key, numbers)
    cameras = [camera for camera in settings["cameras"] if camera not in wanted]  # given
    facts: Facts = {"cameras": cameras, "clipped": {}}
    if rendered:
        facts = {"cameras": [*cameras, *rendered.pictures], "clipped": rendered.clipped_counts}
    return [path.name], facts if given is None else facts | {"given": sorted(kept), "notes": given.notes}


def _render(reader: CubeReader, cameras: list[Camera], settings: dict[str, Any]) -> Rendering | None:
    """Render the visible cube; None where no camera is asked for."""
    if not cameras:
        return None
    if "vis" not in reader.header.bands:
        raise DataError(
            f"`render.cameras` may name given cameras alone where there is no visible cube to render others from; "
            f"got {', '.join(map(slug_of, cameras))} for {reader.path}: take it out."
        )
    return render_cameras(
        reader.read("vis"),
        reader.header.bands["vis"],
        cameras,
        illuminant=settings["illuminant"],
        colour_correction=settings["colour_correction"],
        exposure=settings["exposure"],
        transfer=settings["transfer"],
    )


def _keep(given: GivenInputs) -> dict[str, np.ndarray[Any, Any]]:
    """Return given inputs as they are stored: 8-bit pictures as they are, floats as reflectance is."""
    kept: dict[str, np.ndarray[Any, Any]] = {f"rgb/{camera}": picture for camera, picture in given.rgb.items()}
    for camera, picture in given.msi_rgb.items():
        kept[f"{MSI_RGB}/{camera}"] = encode_reflectance(picture)[0]
    if given.infrared is not None:
        kept["infrared_960"] = encode_reflectance(given.infrared)[0]
    return kept


def _put(file: h5py.File, name: str, values: np.ndarray[Any, Any]) -> None:
    """Store a picture in square chunks with a checksum, so that a crop reads little and a flipped bit is told."""
    chunk = (min(CHUNK_PX, values.shape[0]), min(CHUNK_PX, values.shape[1]), *values.shape[2:])
    file.create_dataset(name, data=values, chunks=chunk, fletcher32=True)
