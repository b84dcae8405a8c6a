"""The prior of subject calibration as text beside its model: numbers alone, equal to the last bit when read again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from hyperskin.bands import Bands
from hyperskin.errors import DataError
from hyperskin.skin.subject_gain import GainPrior

_FORM = 1


def encode_prior(prior: GainPrior) -> str:
    """Return a prior as JSON: its bands in nm, mean and covariances, and of how many people it is."""
    content = {
        "form": _FORM,
        "wavelength_nm": list(prior.bands.wavelength_nm),
        "mean": prior.mean.tolist(),
        "covariance": prior.covariance.tolist(),
        "reading_covariance": prior.reading_covariance.tolist(),
        "subject_count": prior.subject_count,
    }
    return json.dumps(content, allow_nan=False)


def decode_prior(text: str) -> GainPrior:
    """Return the prior of a text.

    Raises:
        DataError: The text holds none of this form.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        if content["form"] != _FORM:
            raise DataError(f"A prior of subject calibration must be of form {_FORM}; got {content['form']!r}.")
        arrays = {name: np.array(content[name], dtype=np.float64) for name in _SHAPES}
        prior = GainPrior(Bands(tuple(content["wavelength_nm"])), **arrays, subject_count=int(content["subject_count"]))
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"A prior of subject calibration must be JSON that this version wrote; got {error!r}."
        ) from None
    for name, axes in _SHAPES.items():
        found = arrays[name]
        if found.shape != (len(prior.bands),) * axes or not np.isfinite(found).all():
            raise DataError(
                f"The {name} of a prior must be finite for its {len(prior.bands)} bands; got {found.shape}."
            )
    return prior


_SHAPES = {"mean": 1, "covariance": 2, "reading_covariance": 2}
