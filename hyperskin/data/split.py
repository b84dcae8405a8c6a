"""Subjects to train, valid and test: a person stands on one side, and stays there when others come or go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from hyperskin.atomic import write_json
from hyperskin.errors import DataError, LeakageError, MissingFileError

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def assign_splits(
    subjects: Iterable[str],
    *,
    test: Sequence[str],
    valid: Sequence[str],
    test_fraction: float,
    valid_fraction: float,
    seed: int,
) -> dict[str, Split]:
    """Return the split of every subject, sorted by name.

    Named subjects go where they are named. Every other has a number of its own in [0, 1), made of `seed` and its name
    alone: test below `test_fraction`, valid in the next `valid_fraction`, else train. So no subject ever moves because
    another came or went.

    Args:
        subjects: All of them, in any order.
        test: Subjects to test on.
        valid: Subjects to choose the epoch with.
        test_fraction: Share of the unnamed subjects to expect in test.
        valid_fraction: Share of the unnamed subjects to expect in valid.
        seed: Another seed draws another split.

    Raises:
        LeakageError: A subject is named for both, or a named one does not exist: misspelt, it would be trained on.
        DataError: The fractions leave nothing for training.
    """
    if min(test_fraction, valid_fraction) < 0 or test_fraction + valid_fraction >= 1:
        raise DataError(
            f"`test_fraction` and `valid_fraction` must not be negative and must stay below 1 together; "
            f"got ({test_fraction=:g}, {valid_fraction=:g})."
        )
    known = sorted(set(subjects))
    _require_named_once(test, valid)
    _require_known(test, valid, known)
    assigned: dict[str, Split] = {}
    for subject in known:
        if subject in test:
            assigned[subject] = "test"
        elif subject in valid:
            assigned[subject] = "valid"
        else:
            assigned[subject] = _draw(subject, test_fraction, valid_fraction, seed)
    return assigned


def choose_held_out(subjects: Iterable[str], seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (valid, test) of one subject each, for sets so small that the fractions may leave a side empty.

    They are the two with the smallest numbers, which growing fractions would take first: one to test, one to valid.

    Raises:
        DataError: There are fewer than two subjects.
    """
    by_number = sorted(set(subjects), key=lambda subject: (_number(subject, seed), subject))
    if len(by_number) < 2:
        raise DataError(
            f"Two subjects must be there to hold out, one for valid and one for test; got {len(by_number)}."
        )
    return (by_number[1],), (by_number[0],)


def check_no_leak(
    captures: Mapping[str, str], split: Mapping[str, str], content_hashes: Mapping[str, Iterable[str]]
) -> None:
    """Refuse one recording under two subjects that stand in different splits.

    Args:
        captures: Subject of every capture.
        split: Split of every subject.
        content_hashes: Hashes of what was measured in each capture. What several captures rightly share, such as a
            white reference or a header, does not belong here.

    Raises:
        LeakageError: Two captures hold the same content on two sides; the message names both.
        DataError: A capture's subject is in no split.
    """
    first_with: dict[str, str] = {}
    for capture, subject in sorted(captures.items()):
        if subject not in split:
            raise DataError(f"Every subject must stand in a split; {subject!r} of the capture {capture!r} does not.")
        for content in content_hashes.get(capture, ()):
            twin = first_with.setdefault(content, capture)
            if split[captures[twin]] != split[subject]:
                raise LeakageError(
                    f"One recording must stand in one split; {twin} ({split[captures[twin]]}) and {capture} "
                    f"({split[subject]}) hold a file with the same content: remove one of them."
                )


def write_split(path: Path, split: Mapping[str, Split]) -> None:
    """Write `split` as JSON, subject -> split."""
    write_json(path, dict(split))


def read_split(path: Path) -> dict[str, Split]:
    """Return the split stored at `path`.

    Raises:
        MissingFileError: There is no such file.
        LeakageError: A subject stands in it twice.
        DataError: It is no JSON object, or a value is none of train, valid and test.
    """
    if not path.is_file():
        raise MissingFileError(f"A split must be at {path}; there is none: run `dvc repro`.")
    try:
        split = json.loads(path.read_text(), object_pairs_hook=lambda pairs: _refuse_twins(pairs, path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} must be JSON; it cannot be read: {error}.") from None
    if not isinstance(split, dict):
        raise DataError(f"{path} must map every subject to its split; got a {type(split).__name__}.")
    for subject, side in split.items():
        if side not in SPLITS:
            raise DataError(
                f"{path} must put every subject into {', '.join(SPLITS)}; it puts {subject!r} into {side!r}."
            )
    return cast("dict[str, Split]", split)


def _require_named_once(test: Sequence[str], valid: Sequence[str]) -> None:
    both = sorted(set(test) & set(valid))
    if both:
        raise LeakageError(
            f"A subject must stand in one split; `test` and `valid` both name {', '.join(both)}: take it out of one."
        )


def _require_known(test: Sequence[str], valid: Sequence[str], known: Sequence[str]) -> None:
    for name, listed in (("test", test), ("valid", valid)):
        strangers = sorted(set(listed) - set(known))
        if strangers:
            raise LeakageError(
                f"`{name}` must name subjects that exist; {', '.join(strangers)} is none of {_abridge(known)}."
            )


def _draw(subject: str, test_fraction: float, valid_fraction: float, seed: int) -> Split:
    number = _number(subject, seed)
    if number < test_fraction:
        return "test"
    return "valid" if number < test_fraction + valid_fraction else "train"


def _number(subject: str, seed: int) -> float:
    """Return the subject's own number in [0, 1), the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{subject}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def _refuse_twins(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """Refuse a JSON object that repeats a key, of which the plain reader would keep the last."""
    subjects: dict[str, Any] = {}
    for subject, side in pairs:
        if subject in subjects:
            raise LeakageError(f"A subject must stand in one split; {path} lists {subject!r} twice.")
        subjects[subject] = side
    return subjects


def _abridge(names: Sequence[str]) -> str:
    if len(names) <= 8:
        return ", ".join(names)
    return f"{', '.join(names[:4])} ... {names[-1]} ({len(names)} subjects)"
