"""The one way a file is written: whole under its name, or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_TEMPORARY = re.compile(  # SQLite keeps files beside its own
    r"^\..+\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)\.[0-9a-f]{8}\.tmp(-journal|-wal|-shm)?$"
)
_FOREIGN_S = 24 * 3600.0  # nobody writes one file for so long
_BLOCK_BYTES = 1 << 20


def temporary_path(path: Path) -> Path:
    """Return a name beside `path` that tells host and process of its writer, so that it is swept when that died."""
    return path.parent / f".{path.name}.{_HOST}-{os.getpid()}.{secrets.token_hex(4)}.tmp"


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it becomes `path`, on failure it is gone.

    The file is flushed to the disk before it takes its name, and the folder afterwards, so that a crash leaves
    either the old file or the new one. The name is free for any writer (h5py, torch, matplotlib).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = temporary_path(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o600)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, content: str) -> None:
    """Write `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as JSON with sorted keys, so that equal values are equal bytes; NaN is refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def bring_file(source: Path, destination: Path) -> str:
    """Make `destination` the same file as `source` by reflink or hard link, else by copy.

    Returns:
        How it was brought: "reflink", "hardlink" or "copy".
    """
    with atomic_path_without_sync(destination) as temporary:
        if _reflink(source, temporary):
            return "reflink"
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            return "copy"
        return "hardlink"


@contextlib.contextmanager
def atomic_path_without_sync(path: Path) -> Iterator[Path]:
    """Give a temporary path that becomes `path`; for links, whose bytes are already on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # rename() of two links to one file leaves both
    _sync_folder(path.parent)


def file_sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def remove_stale(folder: Path) -> int:
    """Delete temporary files and folders below `folder` whose writer is dead; return how many."""
    stale = find_stale(folder)
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(stale)


def find_stale(folder: Path) -> list[Path]:
    """Return what is temporary below `folder` and whose writer is dead; of another host's, what is a day old."""
    # Folders come and go while we look, which os.walk does not mind.
    found = (Path(place) / name for place, folders, files in os.walk(folder) for name in (*folders, *files))
    return [path for path in found if (match := _TEMPORARY.match(path.name)) and _is_left(path, match)]


def _is_left(path: Path, writer: re.Match[str]) -> bool:
    if writer["host"] == _HOST:
        return not _is_alive(int(writer["pid"]))
    try:
        return time.time() - path.stat().st_mtime > _FOREIGN_S
    except OSError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reflink(source: Path, destination: Path) -> bool:
    """Try a copy-on-write clone (Linux FICLONE); False where the file system has none."""
    try:
        import fcntl

        with source.open("rb") as reader, destination.open("xb") as writer:
            fcntl.ioctl(writer.fileno(), 0x40049409, reader.fileno())
    except (ImportError, OSError):
        destination.unlink(missing_ok=True)
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
