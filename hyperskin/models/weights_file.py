"""A file of weights, of whatever form and whoever's: its numbers by name, and nothing that it would run."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

import torch
from torch import Tensor

from hyperskin.errors import DataError, MissingFileError
from hyperskin.models.digest import UNREADABLE, content_digest

SHOWN = 5
"""How many keys of many a message names."""

_ZIP = b"PK\x03\x04"
_PARALLEL = "module."
_NAMED = re.compile(r"(?:GLOBAL |class |Trying to (?:call reduce for|instantiate) )\W*([\w.]+)")


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
        path: Where it is.
        state: The weights by name, on the CPU.
        made_with: What a checkpoint of ours was made with, as plain text by name; empty for any other file.
    """

    path: Path
    state: dict[str, Tensor]
    made_with: dict[str, str]


def read_weights(path: Path) -> WeightsFile:
    """Return the weights that a file of `torch.save` holds.

    It may be a bare state_dict; a dict that holds one under "state_dict", as the MST++ authors' training leaves it,
    with epoch and optimiser beside it; or a checkpoint of ours, of which the weights of the best epoch are taken, or
    the latest where none was validated yet. Names may all begin with "module.", as DataParallel has them. No code in
    the file is run.

    Raises:
        MissingFileError: There is no such file.
        DataError: It holds something else, is damaged, or names code.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "none"
        raise MissingFileError(f"A checkpoint must be at {path}; there is {what}.")
    size_bytes = path.stat().st_size
    if not size_bytes:
        raise DataError(f"{path} must be a checkpoint of weights; it is empty: copy it here again.")
    state, made_with = _find_state(_load(path), path)
    _require_plain(state, path, size_bytes)
    if all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    return WeightsFile(path, state, made_with)


def abridge(keys: list[str]) -> str:
    """Return keys for a message, a few of many."""
    shown = ", ".join(keys[:SHOWN]) or "none"
    return shown if len(keys) <= SHOWN else f"{shown} and {len(keys) - SHOWN} more"


def _load(path: Path) -> Any:
    try:
        _require_stored(path)
        with path.open("rb") as opened, warnings.catch_warnings():  # torch leaves a file it cannot read open
            warnings.simplefilter("ignore")  # of what only other files than these bring
            return torch.load(opened, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except UNREADABLE as error:
        _refuse(path, error)


def _require_stored(path: Path) -> None:
    """Refuse an archive that is packed: torch packs none, and a small one could fill the memory."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError("it is a packed archive")


def _refuse(path: Path, error: Exception) -> Never:
    """Say in one sentence what a file is that torch would not read."""
    said = str(error)
    if isinstance(error, pickle.UnpicklingError) and (named := _NAMED.search(said)):
        raise DataError(
            f"{path} must be a checkpoint of weights and plain values only; it names {named[1]}, and code of a file "
            "is never run: ask for a file of the network's state_dict alone."
        ) from error
    with path.open("rb") as opened:
        is_cut = opened.read(len(_ZIP)) == _ZIP and not zipfile.is_zipfile(path)
    if is_cut:
        raise DataError(
            f"{path} must be a whole checkpoint; it begins like a file of torch's and its end is missing: copy it "
            "here again."
        ) from error
    reason = said.partition("\n")[0].partition(". ")[0].strip()
    told = f" ({reason[:160]})" if isinstance(error, RuntimeError | ValueError | EOFError) and reason else ""
    raise DataError(
        f"{path} must be a checkpoint of weights, a file of torch.save; it cannot be read as one{told}."
    ) from error


def _find_state(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the state_dict in whichever of the forms it comes, and what a checkpoint of ours was made with."""
    state, made_with = content, {}
    if isinstance(content, Mapping) and {"schema", "digest", "content"} <= content.keys():
        own = _own_content(content, path)
        state, made_with = own.get("best") or own.get("network"), own.get("made_with", {})
    elif isinstance(content, Mapping):
        state = content.get("state_dict", content)
    if isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values()):
        return {str(name): value for name, value in state.items()}, dict(made_with)
    holds = f"a dict of {abridge([str(key) for key in state])}" if isinstance(state, Mapping) else type(state).__name__
    raise DataError(f"{path} must hold a state_dict, names and tensors; got {holds}.")


def _own_content(file: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    content: Any = file["content"]
    if file["digest"] != content_digest([file["schema"], content]) or not isinstance(content, Mapping):
        raise DataError(f"{path} must be a whole checkpoint; its content is not what its digest says: it is damaged.")
    return content


def _require_plain(state: Mapping[str, Tensor], path: Path, size_bytes: int) -> None:
    """Refuse tensors that are no weights: of whole numbers, without numbers, or more numbers than the file can hold."""
    strange = [
        name
        for name, value in state.items()
        if not value.is_floating_point() or value.layout != torch.strided or value.device.type != "cpu"
    ]
    if strange:
        raise DataError(f"{path} must hold weights, dense floating-point numbers; others are {abridge(strange)}.")
    if sum(value.numel() * value.element_size() for value in state.values()) > size_bytes:
        raise DataError(f"{path} must hold every number that it names; it is smaller than its tensors.")
