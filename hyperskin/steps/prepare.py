"""Before any training: the data are what the manifest says, and the MLflow database exists."""

from __future__ import annotations

import logging
from pathlib import Path

from hyperskin.data.manifest import Manifest
from hyperskin.pairs import find_pair
from hyperskin.params import Params
from hyperskin.private import close_folders
from hyperskin.steps.finished import reachable_store
from hyperskin.steps.present import require_recorded
from hyperskin.steps.settle import settle

_log = logging.getLogger(__name__)


def prepare(*, params_file: Path = Path("params.yaml"), data: Path = Path("data")) -> None:
    """Check every file against the manifest and create the MLflow database, once, before workers start.

    What no training of params.yaml could end with is refused here too: a split without a capture, a pair without cubes.
    What a killed process left behind is put right. An MLflow that does not answer stops nothing.

    Args:
        params_file: Parameters.
        data: Folder with the manifest.
    """
    params = Params.read(params_file)
    manifest = Manifest.read(data / "manifest.json")
    manifest.require_pairs(find_pair(name) for name in params.train.pairs)
    manifest.check_files()
    root = Path.cwd()
    if data.resolve() == (root / "data").resolve():
        require_recorded(root)
    close_folders(root)
    store = reachable_store(root)
    for sentence in settle(root):
        _log.warning("%s", sentence)
    count = len(manifest.captures)
    captures = "1 capture" if count == 1 else f"{count} captures"
    _log.info("data: %s as the manifest says (%s)", captures, manifest.digest[:12])
    _log.info("tracking: %s", store)
