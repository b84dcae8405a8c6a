"""The weights of a registered version in a file of their own, for another project or another program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from hyperskin.atomic import atomic_path
from hyperskin.errors import ConsentError, DataError, VersionError
from hyperskin.pairs import PAIRS
from hyperskin.tracking.facts import PRETRAINED
from hyperskin.tracking.promotion import find_champion, find_version, require_model
from hyperskin.tracking.stored import read_weights
from hyperskin.training.checkpoint import save_content

_BEHIND_SCALING = "network."  # in a graph that stretches pictures first
_OF_NOBODY = {"phantom", "cave"}  # made-up people, and public scenes


def export_weights(uri: str, name: str, version: str, path: Path, *, may_pass_on: bool = False) -> str:
    """Write the weights of a version to `path` as a bare state_dict; say what was written and how it is read.

    The registered graph holds them under the names of the network that it was traced from.

    Args:
        uri: Address of the store.
        name: Name of the registered model.
        version: Its number; the champion's where it is empty.
        path: A file that is not there yet.
        may_pass_on: Whoever asks may pass on what was learned from people.

    Raises:
        UnknownNameError: There is no such model or version.
        VersionError: It has no champion, or the stored file is not the one that was registered.
        MissingFileError: The stored file is gone.
        ConsentError: The network was trained on people, and nobody says that it may be passed on.
        DataError: Something is at `path` already.
    """
    if path.exists():
        raise DataError(f"The weights must go to a file that is not there yet; {path} is: choose another name.")
    client = MlflowClient(uri)
    found = _find(client, name, version)
    if not may_pass_on:
        _require_nobody(client, found)
    weights, scale = read_weights(uri, found), ""
    if all(key.startswith(_BEHIND_SCALING) for key in weights):
        weights, scale = (
            {key.removeprefix(_BEHIND_SCALING): value for key, value in weights.items()},
            " --input-scale min_max",
        )
    with atomic_path(path) as temporary:
        save_content(weights, temporary)
    pair = next((pair.name for pair in PAIRS.values() if pair.registered_name == name), name)
    model = found.tags.get("model", "MODEL")
    return (
        f"Version {found.version} of {name} written to {path}: `hyperskin models import {path} --model {model} "
        f"--pair {pair}{scale}` reads it in another project."
    )


def _find(client: MlflowClient, name: str, version: str) -> Any:
    if version:
        return find_version(client, name, version)
    require_model(client, name)
    champion = find_champion(client, name)
    if champion is None:
        raise VersionError(
            f"The version must be named where there is no champion; {name} has none: `--version NUMBER`."
        )
    return champion


def _require_nobody(client: MlflowClient, version: Any) -> None:
    """Refuse a network that may remember people: only data of nobody's, or what came in a file, goes without a word."""
    inputs = client.get_run(version.run_id).inputs
    used = inputs.dataset_inputs if inputs else []
    sources = {use.dataset.name for use in used if any(tag.value == "training" for tag in use.tags)}
    if PRETRAINED in version.tags or (sources and sources <= _OF_NOBODY):
        return
    whom = ", ".join(sorted(sources)) or "data that nobody names"
    raise ConsentError(
        f"Licence and consent must allow to pass on a network, which may remember whom it was trained on; version "
        f"{version.version} was trained on {whom}: say `--may-pass-on` if they do."
    )
