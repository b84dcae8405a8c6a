"""A model's file in the store: kept without pickle, and opened only if it is the one that was registered."""

from __future__ import annotations

import contextlib
import copy
import math
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import torch
from mlflow.environment_variables import MLFLOW_TRACKING_URI
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

from hyperskin.atomic import file_sha256
from hyperskin.errors import DataError, MissingFileError, VersionError
from hyperskin.pairs import Pair
from hyperskin.tracking.store import experiment_id

SHA256 = "sha256"
"""The tag of a version that holds the hash of its file."""

_FILE = Path("data") / "model.pt2"
_EXAMPLE_SHAPE = (2, 64, 64)  # batch, H, W: a batch of one would be frozen into the file
_PROBE_SHAPE = (1, 96, 80)  # another size than the example, to catch a file that learnt the example's
_TOLERANCE = 1e-4
_OURS = re.compile(r"models:/m-[0-9a-f]{32}")
_LOADER = "mlflow.pytorch"


@dataclass(frozen=True)
class StoredFile:
    """Where MLflow keeps a model, and the hash of its file."""

    address: str
    sha256: str


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


def store_network(network: nn.Module, *, run_id: str, pair: Pair) -> StoredFile:
    """Store the network as a traced graph without pickle, fetch it back, compare; call it within `global_store`.

    Raises:
        DataError: What came back is another file, or does not compute what the network computes.
    """
    exported = copy.deepcopy(network).cpu().float().eval()
    flavor = _HashedFlavor()
    stored = Model.log(
        artifact_path=None,
        flavor=flavor,
        flavor_name=_LOADER,
        run_id=run_id,
        name="model",
        pytorch_model=exported,
        signature=ModelSignature(_frames(pair.in_channels), _frames(pair.out_channels)),
        input_example=_random_frames(_EXAMPLE_SHAPE, pair.in_channels),
        pip_requirements=[f"torch=={torch.__version__.split('+')[0]}"],
        serialization_format="pt2",
        validate_serving_input=False,  # MLflow would load the file once more to try it; `_require_equal` does
    )
    with tempfile.TemporaryDirectory() as folder:
        _download(stored.model_uri, folder)
        found = file_sha256(Path(folder) / _FILE)
        if found != flavor.sha256:
            raise DataError(
                f"The store must give back what it was sent; {stored.model_uri} was sent with the SHA-256 "
                f"{flavor.sha256[:10]} and came back with {found[:10]}."
            )
        _require_equal(folder, exported, _random_frames(_PROBE_SHAPE, pair.in_channels))
    return StoredFile(str(stored.model_uri), flavor.sha256)


def open_version(uri: str, version: Any) -> Any:
    """Return the model of an MLflow model version, whose `predict` takes frames (N, C, H, W).

    Raises:
        MissingFileError: Its file is not in the store.
        VersionError: It is not the file that was registered.
    """
    with _fetched(uri, version) as folder:
        return mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)


def read_weights(uri: str, version: Any) -> dict[str, torch.Tensor]:
    """Return the weights of an MLflow model version under its network's names, with the errors of `open_version`."""
    with _fetched(uri, version) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.export, on its own insides
        graph: nn.Module = mlflow.pytorch.load_model(str(folder))
        return {name: value.detach().cpu().clone() for name, value in graph.state_dict().items()}


def require_intact(uri: str, version: Any) -> None:
    """Refuse a model version that could not be opened, with the errors of `open_version`, without opening it."""
    with _fetched(uri, version):
        pass


class _HashedFlavor:
    """Saves as MLflow does for torch, and remembers the hash of the file before it leaves."""

    sha256 = ""

    def save_model(self, path: str, **kwargs: Any) -> None:
        mlflow.pytorch.save_model(path=path, **kwargs)
        self.sha256 = file_sha256(Path(path) / _FILE)


@contextlib.contextmanager
def _fetched(uri: str, version: Any) -> Iterator[Path]:
    """Give a folder with a version's files, which are those that were registered."""
    name, expected = f"Version {version.version} of {version.name}", version.tags.get(SHA256)
    if not _OURS.fullmatch(version.source or ""):
        raise VersionError(
            f"{name} must come from a model in this store (models:/m-...); it comes from {version.source!r}: delete "
            "it in MLflow."
        )
    if not expected:
        raise VersionError(
            f"{name} must name the SHA-256 of its file to be opened; it names none: delete it in MLflow."
        )
    with global_store(uri), tempfile.TemporaryDirectory() as folder:
        try:
            _download(version.source, folder)
            found = file_sha256(Path(folder) / _FILE)
        except (MlflowException, OSError) as error:
            raise MissingFileError(
                f"{name} must have its file in the store; it cannot be had ({str(error).rstrip('.')}): bring "
                "mlruns/artifacts back from a copy, or choose another version."
            ) from error
        if found != expected:
            raise VersionError(
                f"{name} must be the file that was registered (SHA-256 {expected[:10]}); the store now holds another "
                f"({found[:10]}): bring it back from a copy, or choose another version."
            )
        _require_plain(Path(folder), name)
        yield Path(folder)


def _require_plain(folder: Path, name: str) -> None:
    """Raise VersionError if anything but the traced graph would be loaded: other code, or a pickle beside it."""
    try:
        flavors = Model.load(str(folder)).flavors.values()
        code = [flavor["code"] for flavor in flavors if flavor.get("code")]
        loaders = {flavor.get("loader_module", _LOADER) for flavor in flavors}
    except Exception as error:  # whatever the file holds instead: it was not written by us
        raise VersionError(f"{name} must be described by MLflow's own file; it cannot be read: {error!r}.") from error
    beside = {path.relative_to(folder) for path in (folder / _FILE.parent).rglob("*")} - {_FILE}
    strange = [*sorted(loaders - {_LOADER}), *code, *map(str, sorted(beside))]
    if strange:
        raise VersionError(
            f"{name} must be a traced graph and nothing else; it also brings {', '.join(map(str, strange))}: delete it "
            "in MLflow."
        )


def _download(address: str, folder: str) -> None:
    mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=folder)


def _require_equal(folder: str, network: nn.Module, frames: npt.NDArray[np.float32]) -> None:
    """Raise DataError unless the stored file computes what the network computes."""
    loaded = mlflow.pyfunc.load_model(folder).predict(frames)
    with torch.inference_mode():
        expected = network(torch.from_numpy(frames)).numpy()
    difference = float(np.abs(loaded - expected).max()) if loaded.shape == expected.shape else math.inf
    if not difference <= _TOLERANCE:
        raise DataError(
            f"A registered file must compute what its network computes; it differs by {difference:g} on frames of "
            f"shape {frames.shape}."
        )


def _frames(channels: int) -> Schema:
    """Return the signature of frames (N, C, H, W) of any number and size."""
    return Schema([TensorSpec(np.dtype(np.float32), (-1, channels, -1, -1))])


def _random_frames(shape: tuple[int, int, int], channels: int) -> npt.NDArray[np.float32]:
    """Return noise (N, C, H, W), the same every time: what is stored with a model is never a face."""
    batch, height, width = shape
    return np.random.default_rng(0).random((batch, channels, height, width), dtype=np.float32)
