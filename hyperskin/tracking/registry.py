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
from hyperskin.tracking.facts import GAIN_PRIOR_SHA256, PRETRAINED, PRETRAINED_SHA256
from hyperskin.tracking.history import read_history
from hyperskin.tracking.notes import SCORES, describe_model, describe_version
from hyperskin.tracking.paired import TEST_CAMERA
from hyperskin.tracking.promotion import CHAMPION_CAMERA, promote
from hyperskin.tracking.stored import SHA256, global_store, store_network

__all__ = ["CANDIDATE", "promote", "register"]

CANDIDATE = "candidate"

_NEEDED = ("unit_key", "manifest", "split", "evaluation", "code", "params")
_CAMERAS = ("cameras", TEST_CAMERA, CHAMPION_CAMERA)
_GIT = ("git.dirty", "git.commit", "git.diff")
_ELSEWHERE = (PRETRAINED, PRETRAINED_SHA256)


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
    """Export the network of a run, check the file, make it a version; return the version.

    It is called candidate, unless it was trained elsewhere: that is a version to compare with, tagged `pretrained`.

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
            tags = _version_tags(run, stored.sha256, parameter_count, size_multiple)
            with contextlib.redirect_stderr(io.StringIO()):  # it announces the version to the terminal; we log it
                version = str(mlflow.register_model(stored.address, pair.registered_name, tags=tags).version)
    history = read_history(client, pair.registered_name)
    client.update_registered_model(pair.registered_name, describe_model(pair.registered_name, history))
    client.update_model_version(pair.registered_name, version, describe_version(run.data))
    if PRETRAINED not in run.data.tags:
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


def _version_tags(run: Any, file_sha256: str, parameter_count: int, size_multiple: int) -> dict[str, str]:
    """Return what prediction and promotion read and where all of it comes from, in the order that the page shows."""
    params, metrics, tags = run.data.params, run.data.metrics, run.data.tags
    told = ("model", "size", "camera", *(["input_scale"] if PRETRAINED in tags else []))
    names = {key: params[key] for key in told if key in params}
    scores = {key: f"{metrics[key]:.6g}" for key in SCORES if key in metrics}
    sizes = {"parameter_count": str(parameter_count), "size_multiple": str(size_multiple)}
    origin = {name: tags[name] for name in (*_ELSEWHERE, *_CAMERAS, *_GIT, *_NEEDED, GAIN_PRIOR_SHA256) if name in tags}
    return names | scores | sizes | origin | {SHA256: file_sha256}
