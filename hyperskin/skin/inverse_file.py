"""The regression that read a face, as a file beside its maps: it reads others alike when the code has moved on."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperskin.atomic import atomic_path
from hyperskin.errors import DataError, MissingFileError
from hyperskin.skin.chromophore_regression import InverseModel

_FORM = 1
_PLAIN = {"int": int, "float": float, "str": str}


def write_inverse(path: Path, model: InverseModel) -> None:
    """Write a model as .npz without pickle: its arrays in float64, and what they were made with."""
    stored = {field.name: getattr(model, field.name) for field in fields(InverseModel)}
    with atomic_path(path) as temporary, temporary.open("wb") as temporary_file:
        np.savez(temporary_file, form=_FORM, **stored)


def read_inverse(path: Path) -> InverseModel:
    """Return the model at `path`, equal to the one that was written in every bit.

    Raises:
        MissingFileError: There is no such file.
        DataError: It is no model of this form.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} must be a regression of skin; there is no such file.")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            stored = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} must be a regression of skin; it cannot be read: {error}.") from error
    missing = [name for name in ("form", *(field.name for field in fields(InverseModel))) if name not in stored]
    if missing or int(stored["form"]) != _FORM:
        what = f"it lacks {', '.join(missing)}" if missing else f"it is of form {int(stored['form'])}"
        raise DataError(f"{path} must be a regression of skin of form {_FORM}; {what}: make the maps again.")
    return InverseModel(**_take_fields(stored))


def _take_fields(stored: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    for field in fields(InverseModel):
        plain = _PLAIN.get(str(field.type))
        value = stored[field.name]
        taken[field.name] = value.astype(np.float64) if plain is None else plain(value.item())
    return taken
