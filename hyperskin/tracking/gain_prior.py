"""The prior of subject calibration on its way with a model: into its run, and out of the registry for one version."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from hyperskin.errors import MissingFileError, VersionError
from hyperskin.pairs import Pair
from hyperskin.skin.gain_prior_text import decode_prior, encode_prior
from hyperskin.skin.subject_gain import GainPrior
from hyperskin.tracking.answers import ask
from hyperskin.tracking.facts import GAIN_PRIOR_SHA256
from hyperskin.tracking.runs import RunLog

_FOLDER, _NAME = "calibration", "prior.json"


def log_prior(run: RunLog, prior: GainPrior) -> None:
    """Note a prior and its hash; the version that is registered from the run carries the hash."""
    text = encode_prior(prior)
    run.log_text(text, _NAME, folder=_FOLDER)
    run.set_tag(GAIN_PRIOR_SHA256, hashlib.sha256(text.encode()).hexdigest())


def read_prior(uri: str, pair: Pair, version: str) -> GainPrior:
    """Return the prior that a registered version brings.

    Raises:
        MissingFileError: It brings none, or its run's files are not in the store.
        VersionError: The file is not the one that was registered.
        DataError: It holds no prior that this version of the program knows.
        ServiceError: The store does not answer.
    """
    name = f"Version {version} of {pair.registered_name}"
    client = MlflowClient(uri)
    found = ask(uri, lambda: client.get_model_version(pair.registered_name, version))
    expected = found.tags.get(GAIN_PRIOR_SHA256)
    if not expected:
        raise MissingFileError(
            f"{name} must bring a prior of how it errs on people to be calibrated; it has none: train it again, on "
            "two people or more who have masks."
        )
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(client.download_artifacts(str(found.run_id), f"{_FOLDER}/{_NAME}", folder)).read_text()
    except (MlflowException, OSError) as error:
        raise MissingFileError(
            f"{name} must have its prior in the store; it cannot be had ({str(error).rstrip('.')}): bring "
            "mlruns/artifacts back from a copy, or train it again."
        ) from error
    if hashlib.sha256(text.encode()).hexdigest() != expected:
        raise VersionError(
            f"{name} must have the prior that was registered (SHA-256 {expected[:10]}); the store now holds another: "
            "bring it back from a copy, or train it again."
        )
    return decode_prior(text)
