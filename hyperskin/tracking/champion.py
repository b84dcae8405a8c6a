"""A pair's champion, taken out of the registry and ready to reconstruct frames of any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hyperskin.pairs import Pair
from hyperskin.tracking.registry import CHAMPION, global_store


@dataclass(frozen=True)
class Champion:
    """A registered model.

    Attributes:
        version: Its version in the registry.
        model: Which network it is.
        size: How big, such as "blocks 8".
        reconstruct: Input (H, W, C_in) to cube (H, W, C_out), both float32.
    """

    version: str
    model: str
    size: str
    reconstruct: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def load_champion(uri: str, pair: Pair) -> Champion | None:
    """Return the champion of `pair` from the store at `uri`, or None where no version is one yet."""
    try:
        version = MlflowClient(uri).get_model_version_by_alias(pair.registered_name, CHAMPION)
    except MlflowException:  # MLflow has no question "is there one"
        return None
    with global_store(uri):
        stored = mlflow.pyfunc.load_model(f"models:/{pair.registered_name}/{version.version}")
    multiple = int(version.tags.get("size_multiple", "1"))
    return Champion(
        version=str(version.version),
        model=version.tags["model"],
        size=version.tags.get("size", ""),
        reconstruct=lambda frame: _reconstruct(stored, frame, multiple),
    )


def _reconstruct(stored: Any, frame: npt.NDArray[np.float32], multiple: int) -> npt.NDArray[np.float32]:
    """Mirror the frame up to a size that the stored graph takes, and cut the cube back to the frame."""
    height, width, _ = frame.shape
    padded = np.pad(frame, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="reflect")
    cube = stored.predict(np.ascontiguousarray(padded.transpose(2, 0, 1)[None]))[0]
    return np.asarray(cube.transpose(1, 2, 0)[:height, :width], dtype=np.float32)
