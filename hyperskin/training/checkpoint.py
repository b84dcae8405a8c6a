"""Everything a training needs to go on where it stopped, in a file that holds no code, with the one before it."""

from __future__ import annotations

import logging
import random
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from hyperskin.atomic import atomic_path, bring_file, remove_stale
from hyperskin.errors import DataError, ServiceError, VersionError
from hyperskin.models.digest import UNREADABLE, content_digest

SCHEMA = 2
State = dict[str, Any]

_HASH = re.compile(r"[0-9a-f]{32,}")
_HASH_DIGITS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps.

    Attributes:
        unit_key: Which training it is: model, pair, parameters, data and code in one hash.
        made_with: The same as plain text by name, to tell what differs.
        epoch: Epochs done.
        under_way: How far the epoch under way is, as a plain row; empty between two epochs.
        step: Optimiser steps done; with `elapsed_s` the position on the learning-rate curve.
        elapsed_s: Seconds spent so far, over all attempts.
        skipped_count: Steps left out because half-precision gradients overflowed.
        network: Weights after `step`.
        optimiser: Adam's moments.
        scaler: Scale of half-precision gradients.
        best: Weights of the best epoch, None before one was validated.
        best_epoch: Its number, 0 before there is one.
        best_value: Its monitored metric.
        history: One plain row per epoch.
        random: States of the global generators.
    """

    unit_key: str
    made_with: dict[str, str]
    epoch: int
    under_way: dict[str, Any]
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


def previous_path(path: Path) -> Path:
    """Return where the checkpoint before the one at `path` is kept: a folder holds one training."""
    return path.with_name("previous.pt")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint`, whole or not at all, and keep the one before it.

    A digest of the content goes with it: torch itself notices no flipped bit.

    Raises:
        ServiceError: It cannot be written; the one before it is as it was.
    """
    content = {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    with atomic_path(path) as temporary:
        save_content({"schema": SCHEMA, "digest": content_digest([SCHEMA, content]), "content": content}, temporary)
        if path.is_file():  # only now, so that a full disk costs neither; until the next rename both names hold it
            bring_file(path, previous_path(path))


def save_content(content: object, temporary: Path) -> None:
    """Write tensors and plain values to a file of torch's, which has its name only when it is whole.

    Raises:
        ServiceError: It cannot be written.
    """
    try:
        torch.save(content, temporary)
    except RuntimeError as error:  # all that torch says of a full disk is that a position is not the expected one
        raise ServiceError(
            f"A file of {temporary.parent} must be written whole; torch could not, as when the disk is full "
            f"({str(error).splitlines()[0]}): make room and run the same command again, which goes on from what was "
            "saved before."
        ) from error


def load_checkpoint(path: Path, *, unit_key: str, made_with: Mapping[str, str] = {}) -> Checkpoint | None:
    """Return the checkpoint at `path` on the CPU, the one before it where that is damaged, None where there is none.

    What killed writers left half-written is cleared away.

    Args:
        path: Where it was saved.
        unit_key: Which training it must belong to.
        made_with: What that is made with; where empty, only the key is compared.

    Raises:
        DataError: The file and the one before it are damaged.
        VersionError: It belongs to another unit, or to another version of this file format.
    """
    remove_stale(path.parent)
    there = [each for each in (path, previous_path(path)) if each.is_file()]
    for found in there:
        checkpoint = _read(found)
        if checkpoint is None:
            continue
        _require_same(checkpoint, found, unit_key, made_with)
        if found != path:
            _reinstate(found, path)
        return checkpoint
    if there:
        others, them = ("", "it") if len(there) == 1 else (f", and so is {there[1].name} beside it", "both")
        raise DataError(
            f"The checkpoint {there[0]} must be whole; it is damaged{others}: delete {them} to train from the start."
        )
    return None


def _read(path: Path) -> Checkpoint | None:
    """Return a checkpoint, None where it is damaged."""
    try:
        with path.open("rb") as opened, warnings.catch_warnings():  # torch leaves a file it cannot read open
            warnings.simplefilter("ignore")  # of names that only damage can have brought there
            file = torch.load(opened, map_location="cpu", weights_only=True)
        schema, digest, content = file["schema"], file["digest"], file["content"]
        is_whole = digest == content_digest([schema, content])
    except PermissionError:  # it may be whole
        raise
    except UNREADABLE:
        _log.debug("%s cannot be read", path, exc_info=True)
        return None
    if not is_whole:
        return None
    if schema != SCHEMA:
        raise VersionError(f"The checkpoint {path} must have schema {SCHEMA}; got {schema!r}: delete it.")
    return Checkpoint(**content)


def _require_same(checkpoint: Checkpoint, path: Path, unit_key: str, made_with: Mapping[str, str]) -> None:
    then, now = checkpoint.made_with, made_with or checkpoint.made_with
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if names:
        differences = ", ".join(f"{name} {_shorten(then, name)} (now {_shorten(now, name)})" for name in names)
        raise VersionError(
            f"The checkpoint {path} must be continued with what it was made with; it was made with {differences}: "
            "go back to that, choose another folder or delete it."
        )
    if checkpoint.unit_key != unit_key:
        raise VersionError(
            f"The checkpoint {path} must belong to the unit {unit_key!r}; it belongs to {checkpoint.unit_key!r}, "
            "trained with another model, pair, data, code or parameters: choose another folder or delete it."
        )


def _shorten(facts: Mapping[str, str], name: str) -> str:
    """Return a fact as people read it: a hash by its first digits."""
    value = facts.get(name, "nothing")
    return value[:_HASH_DIGITS] if _HASH.fullmatch(value) else value


def _reinstate(previous: Path, path: Path) -> None:
    """Put the checkpoint before the last one in its place; a damaged one stays beside it, for whoever asks."""
    _log.warning("%s is %s; going on from the checkpoint before it", path, "damaged" if path.is_file() else "missing")
    if path.is_file():
        path.replace(path.with_name("damaged.pt"))
    bring_file(previous, path)


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
