"""A pair's champion, taken out of the registry and ready to reconstruct frames of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from mlflow import MlflowClient

from hyperskin.data.tensors import cube_to_tensor, tensor_to_cube
from hyperskin.pairs import Pair
from hyperskin.tracking.facts import PRETRAINED
from hyperskin.tracking.paired import TEST_CAMERA
from hyperskin.tracking.promotion import CHAMPION, CHAMPION_CAMERA
from hyperskin.tracking.stored import open_version


@dataclass(frozen=True)
class Champion:
    """A registered model.

    Attributes:
        version: Its version in the registry.
        model: Which network it is.
        size: How big, such as "blocks 8".
        manifest: Digest of the data it was trained on; empty where nobody knows.
        camera: The camera with whose pictures it was examined; empty where nobody knows.
        reconstruct: Input (H, W, C_in) to cube (H, W, C_out), both float32.
        run_id: The run it comes from; empty where nobody knows.
    """

    version: str
    model: str
    size: str
    manifest: str
    camera: str
    reconstruct: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    run_id: str = ""

    def knows(self, manifest: str) -> bool:
        """Tell whether data with this digest are those it was trained on."""
        return self.manifest == manifest


def load_champion(uri: str, pair: Pair, *, evaluation: str) -> Champion | None:
    """Return the model of `pair` that is best on one test set: the champion, if it was examined there.

    A champion of another test set keeps its alias until a person moves it; shown on these captures it would mislead,
    and it may have been trained on them. Then the version with the lowest masked angle on this test set stands in, of
    those that may become champion if there are any.

    Args:
        uri: Address of the store.
        pair: What is to be reconstructed.
        evaluation: Fingerprint of the test set.

    Returns:
        The model, or None where no version was examined on this test set.

    Raises:
        MissingFileError: Its file is not in the store.
        VersionError: It is not the file that was registered.
    """
    client = MlflowClient(uri)
    versions = client.search_model_versions(f"name = '{pair.registered_name}'")
    examined = [version for version in versions if version.tags.get("evaluation") == evaluation]
    if not examined:
        return None
    version = _choose(examined, client.get_registered_model(pair.registered_name).aliases.get(CHAMPION))
    stored = open_version(uri, version)
    multiple = int(version.tags.get("size_multiple", "1"))
    return Champion(
        version=str(version.version),
        model=version.tags["model"],
        size=version.tags.get("size", ""),
        manifest="" if PRETRAINED in version.tags else version.tags.get("manifest", ""),
        camera=version.tags.get(TEST_CAMERA, ""),
        reconstruct=lambda frame: _reconstruct(stored, frame, multiple),
        run_id=str(version.run_id or ""),
    )


def _choose(examined: Sequence[Any], champion: str | None) -> Any:
    """Return the version called champion, or else the one with the lowest angle, if possible trained here."""

    def angle(version: Any) -> float:
        return float(version.tags.get("sam/masked") or version.tags.get("sam/full") or "inf")

    named = [version for version in examined if str(version.version) == str(champion)]
    ours = [version for version in examined if PRETRAINED not in version.tags] or examined
    competing = [version for version in ours if version.tags.get(TEST_CAMERA) == version.tags.get(CHAMPION_CAMERA)]
    return named[0] if named else min(competing or ours, key=angle)


def _reconstruct(stored: Any, frame: npt.NDArray[np.float32], multiple: int) -> npt.NDArray[np.float32]:
    """Mirror the frame up to a size that the stored graph takes, and cut the cube back to the frame."""
    height, width, _ = frame.shape
    padded = np.pad(frame, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="reflect")
    cube = tensor_to_cube(torch.from_numpy(stored.predict(cube_to_tensor(padded)[None].numpy())[0]))
    return np.asarray(cube[:height, :width], dtype=np.float32)
