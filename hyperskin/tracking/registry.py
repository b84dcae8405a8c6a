"""Registered models: a checked file first, its version last, the champion only for a better score."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import torch
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_TRACKING_URI
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

from hyperskin.errors import DataError, VersionError
from hyperskin.pairs import Pair
from hyperskin.tracking.store import experiment_id

CANDIDATE = "candidate"
CHAMPION = "champion"
SCORES = ("sam/masked", "sam/full", "ssim/masked", "ssim/full")

_EXAMPLE_SHAPE = (2, 64, 64)  # batch, H, W: a batch of one would be frozen into the file
_PROBE_SHAPE = (1, 96, 80)  # another size than the example, to catch a file that learnt the example's
_TOLERANCE = 1e-4
_NEEDED = ("unit_key", "manifest", "split", "evaluation", "code")
_SHOWN = ("manifest", "evaluation", "code")  # the run holds the others
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Promotion:
    """Whether a version became the champion, and the sentence that says why."""

    is_champion: bool
    reason: str


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
        DataError: The stored file does not compute what the network computes.
    """
    client = MlflowClient(uri)
    run = client.get_run(run_id)
    _require_provenance(run.data.tags, manifest)
    existing = client.search_model_versions(f"name = '{pair.registered_name}' and run_id = '{run_id}'")
    version = str(existing[0].version) if existing else ""
    if not version:
        tags = _version_tags(run, parameter_count, size_multiple)
        with global_store(uri):
            model_uri = _export(network, run_id=run_id, pair=pair)
            with contextlib.redirect_stderr(io.StringIO()):  # it announces the version to the terminal; we log it
                version = str(mlflow.register_model(model_uri, pair.registered_name, tags=tags).version)
    client.update_registered_model(pair.registered_name, f"Networks that reconstruct {_say_pair(pair)}.")
    client.update_model_version(pair.registered_name, version, _describe(run.data))
    client.set_registered_model_alias(pair.registered_name, CANDIDATE, version)
    return version


def promote(uri: str, name: str, version: str) -> Promotion:
    """Call a version champion if its SAM is lower than the champion's on the same test set.

    Masked SAM decides; where the test set has no masks, SAM over everything.
    """
    client = MlflowClient(uri)
    challenger = client.get_model_version(name, version)
    key = "sam/masked" if "sam/masked" in challenger.tags else "sam/full"
    score = float(challenger.tags.get(key, "nan"))
    if not math.isfinite(score):
        return Promotion(False, f"Version {version} of {name} has no {key}, so it cannot be the champion.")
    champion = _find_champion(client, name)
    if champion is not None:
        if champion.version == challenger.version:
            return Promotion(True, f"Version {version} of {name} is the champion already.")
        if refusal := _compare(challenger, champion, key):
            return Promotion(False, refusal)
    client.set_registered_model_alias(name, CHAMPION, version)
    before = "there was none" if champion is None else f"{key} {float(champion.tags.get(key, 'nan')):.4f} before"
    return Promotion(True, f"Version {version} of {name} is the champion: {key} {score:.4f}, {before}.")


def _compare(challenger: Any, champion: Any, key: str) -> str:
    """Return why the challenger does not replace the champion; empty if it does."""
    if challenger.tags["evaluation"] != champion.tags.get("evaluation"):
        return (
            f"Version {challenger.version} and the champion, version {champion.version}, were scored on different "
            f"test sets, so neither is better; to change the champion, set the alias {CHAMPION!r} by hand."
        )
    score, best = float(challenger.tags[key]), float(champion.tags.get(key, "inf"))
    if score < best:
        return ""
    return (
        f"Version {challenger.version} has {key} {score:.4f}, not below the {best:.4f} of the champion, "
        f"version {champion.version} ({champion.tags['model']})."
    )


def _find_champion(client: MlflowClient, name: str) -> Any | None:
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException:  # MLflow has no question "is there one"
        return None


@contextlib.contextmanager
def global_store(uri: str) -> Iterator[None]:
    """Point MLflow's global functions at our experiment; they write to the environment, so the old address returns."""
    before = MLFLOW_TRACKING_URI.get_raw()  # type: ignore[no-untyped-call] # MLflow annotates only parts of itself
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=experiment_id(uri))  # else files land in the default experiment's folder
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow and torch.export remark on their own insides
            yield
    finally:
        mlflow.set_tracking_uri(before)


def _export(network: nn.Module, *, run_id: str, pair: Pair) -> str:
    """Store the network as a traced graph without pickle, load it back, compare; return its address."""
    exported = copy.deepcopy(network).cpu().float().eval()
    signature = ModelSignature(_frames(pair.in_channels), _frames(pair.out_channels))
    stored = Model.log(
        artifact_path=None,
        flavor=mlflow.pytorch,
        run_id=run_id,
        name="model",
        pytorch_model=exported,
        signature=signature,
        input_example=_random_frames(_EXAMPLE_SHAPE, pair.in_channels),
        pip_requirements=[f"torch=={torch.__version__.split('+')[0]}"],
        serialization_format="pt2",
        validate_serving_input=False,  # MLflow would load the file once more to try it; `_require_equal` does
    )
    _require_equal(stored.model_uri, exported, _random_frames(_PROBE_SHAPE, pair.in_channels))
    return str(stored.model_uri)


def _require_equal(model_uri: str, network: nn.Module, frames: npt.NDArray[np.float32]) -> None:
    """Raise DataError unless the stored file computes what the network computes."""
    loaded = mlflow.pyfunc.load_model(model_uri).predict(frames)
    with torch.inference_mode():
        expected = network(torch.from_numpy(frames)).numpy()
    difference = float(np.abs(loaded - expected).max()) if loaded.shape == expected.shape else math.inf
    if not difference <= _TOLERANCE:
        raise DataError(
            f"A registered file must compute what its network computes; {model_uri} differs by {difference:g} on "
            f"frames of shape {frames.shape}."
        )


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
    """Return what the list of versions shows, and what prediction and promotion read."""
    scores = {key: f"{run.data.metrics[key]:.6g}" for key in SCORES if key in run.data.metrics}
    names = {key: run.data.params[key] for key in ("model", "pair", "size") if key in run.data.params}
    provenance = {name: run.data.tags[name] for name in _SHOWN}
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
    return "; ".join([", ".join(scores) or "not scored", f"{data.params['model']}{size}"])


def _say_pair(pair: Pair) -> str:
    centres = pair.target.wavelength_nm
    return f"{len(centres)} bands from {centres[0]:g} to {centres[-1]:g} nm from {' and '.join(pair.inputs)}"


def _frames(channels: int) -> Schema:
    """Return the signature of frames (N, C, H, W) of any number and size."""
    return Schema([TensorSpec(np.dtype(np.float32), (-1, channels, -1, -1))])


def _random_frames(shape: tuple[int, int, int], channels: int) -> npt.NDArray[np.float32]:
    """Return noise (N, C, H, W), the same every time: what is stored with a model is never a face."""
    batch, height, width = shape
    return np.random.default_rng(0).random((batch, channels, height, width), dtype=np.float32)
