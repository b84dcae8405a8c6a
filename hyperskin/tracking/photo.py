"""What turns a picture into a cube: a pair's champion, whatever it was examined on, and whose pictures it knows."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hyperskin.errors import MissingFileError
from hyperskin.pairs import Pair
from hyperskin.tracking.answers import ask
from hyperskin.tracking.champion import Champion, load_champion
from hyperskin.tracking.facts import PRETRAINED
from hyperskin.tracking.promotion import CHAMPION


@dataclass(frozen=True)
class PhotoModel:
    """A champion, and the camera whose pictures it was trained on, or several of them in words."""

    champion: Champion
    camera: str


def load_photo_model(uri: str, pair: Pair) -> PhotoModel:
    """Return the champion of `pair`.

    Args:
        uri: Address of the store.
        pair: What is to be reconstructed.

    Raises:
        MissingFileError: There is no champion, or its file is not in the store.
        VersionError: It is not the file that was registered.
        ServiceError: The store does not answer within seconds.
    """
    camera, evaluation = ask(uri, lambda: _find(MlflowClient(uri), pair))
    champion = load_champion(uri, pair, evaluation=evaluation)
    assert champion is not None, "a version was examined where its own tag says"
    return PhotoModel(champion, camera)


def _find(client: MlflowClient, pair: Pair) -> tuple[str, str]:
    """Return the champion's camera and the test set it was examined on."""
    try:
        version = client.get_model_version_by_alias(pair.registered_name, CHAMPION)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise MissingFileError(
            f"A reconstruction needs a champion of {pair.registered_name}; there is none: train one with `hyperskin "
            f"train --model mst_plus_plus --pair {pair.name}`, or choose one with `hyperskin models promote`."
        ) from None
    run_id = None if PRETRAINED in version.tags else version.run_id  # nobody knows whose pictures that was trained on
    params = client.get_run(run_id).data.params if run_id else {}
    camera = version.tags.get("cameras", "").replace(", ", " or ") or params.get("camera", "unknown")
    return camera, version.tags.get("evaluation", "")
