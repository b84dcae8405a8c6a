"""Refuses to let a picture, a cube, an array or a database into git; run by the pre-commit hook."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

_log = logging.getLogger(__name__)

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp")
_ARRAYS = (".h5", ".hdf5", ".mat", ".npy", ".npz", ".raw", ".dat", ".hdr")
_MODELS = (".pt", ".pth", ".pt2", ".ckpt", ".safetensors")
_CONTAINERS = (".db", ".sqlite", ".7z", ".zip", ".tar", ".gz")
_SUFFIXES = frozenset(_PICTURES + _ARRAYS + _MODELS + _CONTAINERS)
_MAGIC = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"BM",
    b"\x89HDF",
    b"MATLAB 7.3",
    b"\x93NUMPY",
    b"PK\x03\x04",
    b"SQLite f",
)
_ALLOWED_FOLDERS = ("docs/pictures/",)
_LARGEST_BYTES = 300 * 1024


def find_refused(paths: Sequence[Path]) -> list[str]:
    """Return one sentence for every file that may not be committed.

    Pictures below docs/pictures are made from phantoms and pages, and are allowed; data stay out by suffix, by
    content and by size.
    """
    refused = []
    for path in paths:
        if not path.is_file() or path.as_posix().startswith(_ALLOWED_FOLDERS):
            continue
        with path.open("rb") as file:
            start = file.read(16)
        if path.suffix.lower() in _SUFFIXES or start.startswith(_MAGIC):
            refused.append(f"{path} looks like a picture, a cube, an array or a database: keep it out of git.")
        elif path.stat().st_size > _LARGEST_BYTES:
            refused.append(f"{path} has {path.stat().st_size} bytes; a file in git may have {_LARGEST_BYTES}.")
    return refused


def main() -> None:
    """Check the files named on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    refused = find_refused([Path(name) for name in sys.argv[1:]])
    for sentence in refused:
        _log.error(sentence)
    sys.exit(1 if refused else 0)


if __name__ == "__main__":
    main()
