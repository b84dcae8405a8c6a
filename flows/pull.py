"""Where a run finds the repository on its worker's machine: the first step of every run there; nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import hyperskin
from hyperskin.environment import own_repository, repository_root


def enter_repository() -> dict[str, str]:
    """Change into this machine's repository: HYPERSKIN_ROOT, else the one that hyperskin was installed from.

    Raises:
        MissingFileError: There is none.
    """
    root = repository_root(own_repository() or Path(hyperskin.__file__).parent)
    os.chdir(root)
    return {"directory": str(root)}
