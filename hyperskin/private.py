"""The folders of a repository that hold people, runs or secrets, and that nobody else on this machine may enter."""

from __future__ import annotations

import stat
from pathlib import Path

PRIVATE = ("data", "mlruns", "reports", ".cache", ".prefect", ".dvc/cache")
"""Below the repository; git and DVC make some of them, open to all."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def is_open(path: Path) -> bool:
    """Tell whether others than the owner may do anything with a file or a folder that is there."""
    return bool(path.stat().st_mode & _OTHERS)


def close_folders(root: Path) -> None:
    """Close the folders that are there, and make first those that DVC would make open to all."""
    if (root / ".dvc").is_dir():
        for name in (".cache", ".dvc/cache"):
            (root / name).mkdir(exist_ok=True)
    for folder in (root / name for name in PRIVATE):
        if folder.is_dir() and is_open(folder):
            folder.chmod(0o700)
