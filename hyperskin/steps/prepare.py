"""Before any training: the data are what the manifest says, and the MLflow database exists."""

from __future__ import annotations

import logging
from pathlib import Path

from hyperskin.data.manifest import Manifest
from hyperskin.params import Params
from hyperskin.tracking.store import prepare_store

_log = logging.getLogger(__name__)


def prepare(*, params_file: Path = Path("params.yaml"), data: Path = Path("data")) -> None:
    """Check every file against the manifest and create the MLflow database, once, before workers start.

    Args:
        params_file: Parameters.
        data: Folder with the manifest.
    """
    Params.read(params_file)
    manifest = Manifest.read(data / "manifest.json")
    manifest.check_files()
    store = prepare_store(Path.cwd())
    _log.info("data: %d captures as the manifest says (%s)", len(manifest.captures), manifest.digest[:12])
    _log.info("tracking: %s", store)
