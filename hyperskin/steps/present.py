"""What the data are now: whether DVC made them, and what a result must carry to be one of theirs."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from hyperskin.data.manifest import Manifest
from hyperskin.errors import HyperSkinError, VersionError
from hyperskin.metrics.summary import METRICS_VERSION
from hyperskin.pairs import PAIRS, Pair
from hyperskin.params import read_recorded

_MANIFEST = Path("data") / "manifest.json"
_LOCK = "dvc.lock"
METRICS = {"version": METRICS_VERSION}
"""What of the metrics makes an examination another one."""

_log = logging.getLogger(__name__)


def require_recorded(root: Path, *, digest: str | None = None) -> None:
    """Refuse data that are not what DVC recorded, or no longer those that something was made from.

    Data that DVC never made, or has not made to the end, are recorded nowhere and pass.

    Args:
        root: The repository.
        digest: Of the manifest something was made from; None before anything is.

    Raises:
        MissingFileError: There is no manifest.
        DataError: The manifest or dvc.lock cannot be read.
        VersionError: The manifest is another than the one recorded, or than `digest` says.
    """
    manifest = Manifest.read(root / _MANIFEST)
    recorded = read_recorded(root / _LOCK).get(_MANIFEST.as_posix()) if (root / _LOCK).exists() else None
    found = hashlib.md5((root / _MANIFEST).read_bytes(), usedforsecurity=False).hexdigest()
    if recorded not in (None, found):
        raise VersionError(
            f"{_MANIFEST} must be what {_LOCK} records (MD5 {str(recorded)[:10]}); it is another file ({found[:10]}): "
            "run `dvc repro`, or go back with `dvc checkout`."
        )
    if digest not in (None, manifest.digest):
        raise VersionError(
            f"The data must stay as they were when the work began ({str(digest)[:10]}); the manifest is now "
            f"{manifest.digest[:10]}: begin again, or go back with `dvc checkout`."
        )


def present_digest(root: Path) -> str | None:
    """Return the digest of the data in the repository; None where there are none, or none that can be trusted."""
    manifest = _read(root)
    return None if manifest is None else manifest.digest


def present_evaluations(root: Path) -> frozenset[str] | None:
    """Return the fingerprint of every pair's test set in the data as they are; None as in `present_digest`."""
    manifest = _read(root)
    if manifest is None:
        return None
    return frozenset(manifest.evaluation_fingerprint(pair, metrics=METRICS) for pair in _examined(manifest))


def _examined(manifest: Manifest) -> list[Pair]:
    """Return the pairs whose cubes all test captures have."""
    have = [set(entry.contents) for entry in manifest.of_split("test")]
    return [pair for pair in PAIRS.values() if all(set(pair.cubes) <= contents for contents in have)]


def _read(root: Path) -> Manifest | None:
    if not (root / _MANIFEST).exists():
        return None
    try:
        return Manifest.read(root / _MANIFEST)
    except HyperSkinError as error:
        _log.warning("Nothing is marked as of the present data: %s", error)
        return None
