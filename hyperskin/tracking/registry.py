"""Registered models: where a version comes from, a checked file first, the version last."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import mlflow
from mlflow import MlflowClient
from torch import nn

from hyperskin.errors import VersionError
from hyperskin.pairs import Pair
from hyperskin.tracking.promotion import promote
from hyperskin.tracking.stored import SHA256, global_store, store_network

__all__ = ["CANDIDATE", "SCORES", "promote", "register"]

CANDIDATE = "candidate"
SCORES = ("sam/masked", "sam/full", "ssim/masked", "ssim/full")

_NEEDED = ("unit_key", "manifest", "split", "evaluation", "code", "params")
_GIT = ("git.commit", "git.dirty", "git.diff")


def register(
    uri: str,
    network: nn.Module,
    *,
    run_id: str,
    pair: Pair,
    manifest: str,
    parameter_count: int,
    size_multiple: int,
) -> str:
    """Export the network of a run, check the file, make it a version called candidate; return the version.

    The version is created last: whatever stops this call leaves no version without a working file. A run that has
    a version already keeps it.

    Args:
        uri: Address of the store.
        network: The trained network, on any device; it is not changed.
        run_id: Its run, with scores and provenance logged.
        pair: What it reconstructs.
        manifest: Digest of the data as it is now.
        parameter_count: Number of trained weights.
        size_multiple: Height and width must be multiples of this; whoever predicts pads to it.

    Raises:
        VersionError: The run does not say what it was made from, or the data changed since.
        DataError: The stored file is not what was sent, or does not compute what the network computes.
    """
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    _require_provenance(run.data.tags, manifest)
    existing = client.search_model_versions(f"name = '{pair.registered_name}' and run_id = '{run_id}'")
    version = str(existing[0].version) if existing else ""
    if not version:
        with global_store(uri):
            stored = store_network(network, run_id=run_id, pair=pair)
            tags = _version_tags(run, parameter_count, size_multiple) | {SHA256: stored.sha256}
            with contextlib.redirect_stderr(io.StringIO()):  # it announces the version to the terminal; we log it
                version = str(mlflow.register_model(stored.address, pair.registered_name, tags=tags).version)
    client.update_registered_model(pair.registered_name, f"Networks that reconstruct {_say_pair(pair)}.")
    client.update_model_version(pair.registered_name, version, _describe(run.data))
    client.set_registered_model_alias(pair.registered_name, CANDIDATE, version)
    return version


def _require_provenance(tags: Mapping[str, str], manifest: str) -> None:
    missing = [name for name in _NEEDED if not tags.get(name)]
    if missing:
        raise VersionError(f"A run must say what it was made from to be registered; it lacks {', '.join(missing)}.")
    if tags["manifest"] != manifest:
        raise VersionError(
            f"The data must be those the run was trained on ({tags['manifest'][:10]}) to register it; the manifest is "
            f"now {manifest[:10]}: train again, or go back with `dvc checkout`."
        )


def _version_tags(run: Any, parameter_count: int, size_multiple: int) -> dict[str, str]:
    """Return what the list of versions shows, what prediction and promotion read, and where all of it comes from."""
    scores = {key: f"{run.data.metrics[key]:.6g}" for key in SCORES if key in run.data.metrics}
    names = {key: run.data.params[key] for key in ("model", "pair", "size") if key in run.data.params}
    provenance = {name: run.data.tags[name] for name in (*_NEEDED, *_GIT) if name in run.data.tags}
    return {
        **names,
        **scores,
        **provenance,
        "run_id": run.info.run_id,
        "parameter_count": str(parameter_count),
        "size_multiple": str(size_multiple),
    }


def _describe(data: Any) -> str:
    """Return one line that begins with what the page's narrow column can show."""
    size = "" if data.params.get("size", "full") == "full" else f" ({data.params['size']})"
    scores = [f"{key} {data.metrics[key]:.4f}" for key in SCORES if key in data.metrics]
    return "; ".join([", ".join(scores) or "not scored", f"{data.params['model']}{size}", _say_code(data.tags)])


def _say_code(tags: Mapping[str, str]) -> str:
    """Say which code it was, and whether anyone could have it: what was not committed is on one disk only."""
    commit = tags.get("git.commit", "none")
    if commit == "none":
        return "code not under git"
    return f"commit {commit[:7]}" + (" with uncommitted changes" if tags.get("git.dirty") == "true" else "")


def _say_pair(pair: Pair) -> str:
    centres = pair.target.wavelength_nm
    return f"{len(centres)} bands from {centres[0]:g} to {centres[-1]:g} nm from {' and '.join(pair.inputs)}"
