"""Whether this machine has the room, the memory, the cores and the ports that the work needs."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from hyperskin.environment import PREFECT_PORT
from hyperskin.errors import HyperSkinError
from hyperskin.health.access import served_port
from hyperskin.health.finding import Finding, Severity
from hyperskin.params import FILE_NAME, Params

PAGES_PORT = 5000

_HOST = "127.0.0.1"
_GB = 10**9
_DEMO_BYTES = 5 * _GB  # what the demo takes, and some more
_LEAST_BYTES = _GB // 2  # what a training's checkpoints and a database need to be written at all
_LEAST_MEMORY_BYTES = 4 * 2**30
_FOLDERS = (".", "data", "mlruns", ".prefect", ".dvc", ".cache")
_ANSWER_S = 2.0
_LONGEST_SOCKET = 107  # bytes of a socket's path, which the system allows
_SOCKET = "pymp-12345678/listener-12345678"  # where worker processes are asked for, as Python names it


def look(root: Path) -> Iterator[Finding]:
    """Look at the disk, the memory, the cores and the ports."""
    yield from look_at_disk(root)
    yield from look_at_folders(root)
    yield from look_at_memory()
    yield from look_at_temporary_folder()
    yield from _cores(root)
    yield from look_at_port(served_port(root) or PREFECT_PORT, "the Prefect server", "/api/health", "hyperskin up")
    yield from look_at_port(PAGES_PORT, "the MLflow pages", "/health", "hyperskin ui")


def look_at_disk(
    root: Path, *, enough_bytes: float = _DEMO_BYTES, least_bytes: float = _LEAST_BYTES
) -> Iterator[Finding]:
    """Find a disk that is nearly full, wherever folders of the repository lie."""
    seen = set()
    for name in _FOLDERS:
        folder = root / name
        if not folder.is_dir() or folder.stat().st_dev in seen:
            continue
        seen.add(folder.stat().st_dev)
        free = shutil.disk_usage(folder).free
        if free < enough_bytes:
            severity: Severity = "broken" if free < least_bytes else "warning"
            where = "this folder" if name == "." else name
            what = f"The disk of {where} must have {enough_bytes / _GB:g} GB free for a run; it has {free / _GB:.1f}."
            yield Finding("machine", severity, what, "dvc gc --workspace")


def look_at_folders(root: Path) -> Iterator[Finding]:
    """Find a folder that we may not write in."""
    for name in _FOLDERS:
        if (root / name).is_dir() and not os.access(root / name, os.W_OK | os.X_OK):
            where = "The repository" if name == "." else f"The folder {name}"
            yield Finding("machine", "broken", f"{where} must be writable; it is not.", f"sudo chown -R $USER {name}")


def look_at_memory(*, least_bytes: float = _LEAST_MEMORY_BYTES) -> Iterator[Finding]:
    """Find too little memory."""
    available = psutil.virtual_memory().available
    if available < least_bytes:
        what = (
            f"A training wants {least_bytes / 2**30:.0f} GiB of memory; {available / 2**30:.1f} GiB are available, so "
            "that the system may kill it."
        )
        yield Finding("machine", "warning", what, "ps aux --sort=-rss | head")


def look_at_temporary_folder() -> Iterator[Finding]:
    """Find a folder of temporary files whose name is too long for the socket through which workers are started."""
    folder, most = tempfile.gettempdir(), _LONGEST_SOCKET - len(_SOCKET) - 1
    if (length := len(os.fsencode(folder))) > most:
        what = (
            f"The folder of temporary files must have a name of at most {most} bytes, or no worker process starts; "
            f"{folder} has {length}."
        )
        yield Finding("machine", "warning", what, "export TMPDIR=/tmp")


def _cores(root: Path) -> Iterator[Finding]:
    try:
        params = Params.read(root / FILE_NAME)
    except HyperSkinError:
        return  # another check says so
    cores, slots, threads = len(os.sched_getaffinity(0)), params.train.slots, params.execution.threads
    if slots * threads > cores and shutil.which("nvidia-smi") is None:
        what = (
            f"Trainings at a time (`train.slots`, {slots}) times threads of each (`execution.threads`, {threads}) must "
            f"fit the cores, which number {cores}; more than that only wait for each other."
        )
        remedy = (
            f"in {FILE_NAME}, `train.slots: {max(1, cores // threads)}` and `execution.threads: {min(threads, cores)}`"
        )
        yield Finding("machine", "warning", what, remedy)


def look_at_port(port: int, what: str, path: str, command: str) -> Iterator[Finding]:
    """Find a port that somebody else listens on."""
    if not _is_taken(port) or _answers(port, path):
        return
    said = f"Port {port} must be free for {what}; {_holder(port)} listens there."
    yield Finding("machine", "warning", said, f"{command} --port {_next_free(port)}")


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
        try:
            probe.bind((_HOST, port))
        except OSError:
            return True
    return False


def _answers(port: int, path: str) -> bool:
    """Tell whether the server that belongs there answers, in its own words."""
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{port}{path}", timeout=_ANSWER_S) as answer:
            return answer.read(16).strip() in (b"true", b"OK")
    except (OSError, ValueError):
        return False


def _holder(port: int) -> str:
    """Return who listens on a port, as far as the system tells us."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        pass
    return "another program"


def _next_free(port: int) -> int:
    return next((free for free in range(port + 1, min(port + 100, 1 << 16)) if not _is_taken(free)), port + 1)
