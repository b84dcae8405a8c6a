"""Whether params.yaml can be read, and what it names is there."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from hyperskin.errors import HyperSkinError
from hyperskin.health.finding import Finding
from hyperskin.params import FILE_NAME, Params

_PROBE_S = 2.0


def look(root: Path) -> Iterator[Finding]:
    """Read params.yaml and its profiles, and look for what it names."""
    for path in (root / FILE_NAME, *sorted(root.glob("params.*.yaml"))):
        try:
            params = Params.read(path)
        except HyperSkinError as error:
            is_profile = path.name != FILE_NAME
            what = str(error).replace(f"{root}/", "")
            remedy = (
                f"mv {path.name} {path.name}.old" if is_profile else f"git diff {path.name}  # what was changed last"
            )
            yield Finding("settings", "warning" if is_profile else "broken", what, remedy)
        else:
            yield from _files(root, params, path.name)
            yield from _dask(params.execution.dask, path.name)


def _files(root: Path, params: Params, name: str) -> Iterator[Finding]:
    cameras = root / params.render.camera_file
    if not cameras.is_file():
        what = (
            f"{name}: `render.camera_file` must be a file, or `dvc repro` fails; {params.render.camera_file} is none."
        )
        yield Finding("settings", "broken", what, f"git checkout {params.render.camera_file}")
    for key, value in (("path", params.source.path), ("masks", params.source.masks)):
        if value and not (root / value).is_dir():
            what = f"{name}: `source.{key}` must be a folder, or new captures are not found; {value} is none."
            option = "--path" if key == "path" else "--masks"
            remedy = f"hyperskin init --source {params.source.name} {option} FOLDER --overwrite"
            yield Finding("settings", "warning", what, remedy)


def _dask(address: str, name: str) -> Iterator[Finding]:
    if not address:
        return
    if importlib.util.find_spec("distributed") is None:
        what = f"{name}: `execution.dask` needs the package distributed; it is not installed."
        yield Finding("settings", "broken", what, "pip install 'hyperskin[cluster]'")
    place = urlsplit(address)
    try:
        socket.create_connection((place.hostname or "", place.port or 0), timeout=_PROBE_S).close()
    except OSError as error:
        what = f"{name}: a Dask scheduler must answer at {address}, or `dvc repro` fails; nobody does ({error})."
        host = f"--host {place.hostname} --port {place.port}"
        yield Finding("settings", "broken", what, f"dask scheduler {host}")
