"""Whether params.yaml can be read, and what it names is there."""

from __future__ import annotations

import importlib.util
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from hyperskin.errors import HyperSkinError
from hyperskin.health.finding import Finding
from hyperskin.params import FILE_NAME, Params

_PROBE_S = 2.0
_LEAST_S = 0.01
_GREETING = b"pickle-protocol"  # stands in the first words of everybody who speaks Dask
_LONGEST_BYTES = 4096


def look(root: Path) -> Iterator[Finding]:
    """Read params.yaml and its profiles, and look for what it names."""
    called = {""}
    own = root / FILE_NAME
    if not own.is_file():
        remedy = (
            f"git checkout {FILE_NAME}" if (root / ".git").exists() else "hyperskin init  # with its options of then"
        )
        yield Finding("settings", "broken", f"{FILE_NAME} must be there, or nothing runs; it is gone.", remedy)
    for path in ([own] if own.is_file() else []) + sorted(root.glob("params.*.yaml")):
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
            if params.execution.dask not in called:
                called.add(params.execution.dask)
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
    if importlib.util.find_spec("distributed") is None:
        what = f"{name}: `execution.dask` needs the package distributed; it is not installed."
        yield Finding("settings", "broken", what, "pip install 'hyperskin[cluster]'")
    must = f"{name}: a Dask scheduler must answer at {address}, or `dvc repro` fails"
    place, deadline = urlsplit(address), time.monotonic() + _PROBE_S
    try:
        called = socket.create_connection((place.hostname or "", place.port or 0), timeout=_PROBE_S)
    except (OSError, ValueError) as error:  # a port may be no number of a port
        protocol = " --protocol tls" if place.scheme == "tls" else ""
        remedy = f"dask scheduler --host {place.hostname} --port {place.netloc.rpartition(':')[2]}{protocol}"
        yield Finding("settings", "broken", f"{must}; nobody does ({error}).", remedy)
        return
    with called:
        greets = _greets_in_tls if place.scheme == "tls" else _greets
        if not greets(called, deadline):
            what = f"{must}; whoever listens there said nothing of Dask's within {_PROBE_S:g} s."
            remedy = f'in {name}, `execution.dask: ""`  # or the address of a scheduler'
            yield Finding("settings", "broken", what, remedy)


def _greets(called: socket.socket, deadline: float) -> bool:
    """Tell whether Dask is spoken: who is called speaks first."""
    heard = b""
    while _GREETING not in heard and len(heard) < _LONGEST_BYTES:
        called.settimeout(max(_LEAST_S, deadline - time.monotonic()))
        try:
            more = called.recv(_LONGEST_BYTES)
        except OSError:
            return False
        if not more or time.monotonic() > deadline:
            return False
        heard += more
    return _GREETING in heard


def _greets_in_tls(called: socket.socket, deadline: float) -> bool:
    """Tell whether TLS is spoken; Dask itself greets only who shows a certificate."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE  # nothing is said that matters
    called.settimeout(max(_LEAST_S, deadline - time.monotonic()))
    try:
        anybody.wrap_socket(called).close()
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)  # it speaks, and refuses us
    except OSError:
        return False
    return True
