"""Everything a training needs to go on where it stopped, in one file that holds no code."""

from __future__ import annotations

import hashlib
import pickle
import random
import struct
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from hyperskin.atomic import atomic_path
from hyperskin.errors import DataError, VersionError

SCHEMA = 1
State = dict[str, Any]

# What torch raises for a damaged file, depending on which of its bytes are wrong.
_UNREADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs.

    Attributes:
        unit_key: Which training it is: model, pair, parameters, data and code in one hash.
        epoch: Epochs done.
        step: Optimiser steps done; with `elapsed_s` the position on the learning-rate curve.
        elapsed_s: Seconds spent so far, over all attempts.
        skipped_count: Steps left out because half-precision gradients overflowed.
        network: Weights after `epoch`.
        optimiser: Adam's moments.
        scaler: Scale of half-precision gradients.
        best: Weights of the best epoch, None before one was validated.
        best_epoch: Its number, 0 before there is one.
        best_value: Its monitored metric.
        history: One plain row per epoch.
        random: States of the global generators.
    """

    unit_key: str
    epoch: int
    step: int
    elapsed_s: float
    skipped_count: int
    network: State
    optimiser: State
    scaler: State
    best: State | None
    best_epoch: int
    best_value: float
    history: list[dict[str, Any]]
    random: State


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint`, whole or not at all, with a digest of its content: torch itself notices no flipped bit."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    with atomic_path(path) as temporary:
        torch.save({"schema": SCHEMA, "digest": _digest(content), "content": content}, temporary)


def load_checkpoint(path: Path, *, unit_key: str) -> Checkpoint | None:
    """Return the checkpoint at `path` on the CPU, None where there is no file.

    Raises:
        DataError: The file is damaged.
        VersionError: It belongs to another unit, or to another version of this file format.
    """
    if not path.is_file():
        return None
    damaged = f"The checkpoint {path} must be whole; it is damaged: delete it to train from the start."
    try:
        with path.open("rb") as opened:  # torch leaves a file it cannot read open
            file = torch.load(opened, map_location="cpu", weights_only=True)
        schema, digest, content = file["schema"], file["digest"], file["content"]
    except _UNREADABLE as error:
        raise DataError(damaged) from error
    if schema != SCHEMA:
        raise VersionError(f"The checkpoint {path} must have schema {SCHEMA}; got {schema!r}: delete it.")
    if digest != _digest(content):
        raise DataError(damaged)
    checkpoint = Checkpoint(**content)
    if checkpoint.unit_key != unit_key:
        raise VersionError(
            f"The checkpoint {path} must belong to the unit {unit_key!r}; it belongs to {checkpoint.unit_key!r}, "
            "trained with another model, pair, data, code or parameters: choose another folder or delete it."
        )
    return checkpoint


def random_states() -> State:
    """Return the states of torch's and Python's global generators."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
    }


def restore_random_states(states: State) -> None:
    """Put the global generators back; CUDA's only where there are as many devices as then."""
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    random.setstate(states["python"])


def _digest(value: Any) -> str:
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Feed a nest of dictionaries, lists, tensors and plain values to `digest`."""
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)}".encode())
        for key, item in value.items():
            digest.update(repr(key).encode())
            _add(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"list {len(value)}".encode())
        for item in value:
            _add(digest, item)
    else:
        digest.update(repr(value).encode())
