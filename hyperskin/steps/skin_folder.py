"""Where the results of a face go, and how all of them get there at once: a run that stops halfway leaves nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hyperskin.atomic import temporary_path, write_json
from hyperskin.errors import ConsentError, DataError
from hyperskin.processes import deaf_to_signals

ABOUT = "about.json"
FILES, AGAINST = "files", "against"
"""What `ABOUT` says of a folder: its files, and the earlier visits that its face was held against."""

_PLACES = {True: Path("reports") / "skin", False: Path("data") / "skin"}  # by whether everyone may be shown
_SAME_READING = ("hyperskin", "made_from", "method", "parameters", "subject")


def choose_folder(root: Path, name: str, out: Path | None, *, unshown: str = "") -> Path:
    """Return where results go.

    Maps show a face as a picture does, so those of a subject who may not be shown stay below data/skin. No others go
    into a data folder that a stage writes either.

    Args:
        root: The repository.
        name: What the results are called.
        out: The folder that a person wants, or None.
        unshown: A subject in them who may not be shown; empty: there is none.

    Raises:
        ConsentError: They are wanted where they may not be.
        DataError: They are wanted in a file, or among what a stage writes.
    """
    if out is None:
        return root / _PLACES[not unshown] / name
    require_place(root, out, kept=_PLACES[False], unshown=unshown, what="Maps")
    if out.exists() and not out.is_dir():
        raise DataError(f"`--out` must be a folder; {out} is a file.")
    return out


def require_place(root: Path, out: Path, *, kept: Path, unshown: str, what: str) -> None:
    """Refuse a place where results may not be.

    Args:
        root: The repository.
        out: Where a person wants them.
        kept: Below the repository, where those of everybody may be.
        unshown: A subject in them who may not be shown; empty: there is none.
        what: What they are.

    Raises:
        ConsentError: They show somebody who may not be shown, and would not stay in `kept`.
        DataError: They would lie among what a stage writes.
    """
    if out.resolve().is_relative_to((root / kept).resolve()):
        return
    if unshown:
        raise ConsentError(
            f"{what} of {unshown}, who is not in `privacy.publishable_subjects`, must stay below {kept.as_posix()}; "
            f"got {out}: leave out `--out`, or add the subject once the written consent is at hand."
        )
    if out.resolve().is_relative_to((root / "data").resolve()):
        raise DataError(f"`--out` must leave data/ to the stages that write it, but for {kept.as_posix()}; got {out}.")


def require_free(folder: Path, source: str) -> None:
    """Raise DataError where `folder` holds the results of another file than `source`, which would be lost."""
    made_from = _read_about(folder).get("made_from")
    before = made_from.get("input") if isinstance(made_from, dict) else None
    if before and before != source:
        raise DataError(
            f"{folder} holds the maps of {before}; those of {source} must go elsewhere: choose a folder with `--out`, "
            "or rename the file."
        )


@contextlib.contextmanager
def all_at_once(folder: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """Give an empty folder; what it holds at the end becomes the content of `folder`, with `about` beside it.

    After a failure `folder` is as before. Files of an earlier reading that was made otherwise are removed; those of an
    equal reading stay, such as other formats and other visits.
    """
    earlier = _read_about(folder)
    is_same = all(earlier.get(key) == about.get(key) for key in _SAME_READING)
    is_new = not folder.exists()
    stage = temporary_path(folder / "results")  # within, for what lies beside may be another disk, or read-only
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stage.mkdir(mode=0o700)
        yield stage
        made = {path.name for path in stage.iterdir()}
        old = {name for name in earlier.get(FILES, []) if Path(name).name == name and (folder / name).is_file()}
        merged = {**about, FILES: sorted(made | {ABOUT} | (old if is_same else set()))}
        if is_same and AGAINST in earlier:
            merged[AGAINST] = {**earlier[AGAINST], **about.get(AGAINST, {})}
        write_json(stage / ABOUT, merged)
        with deaf_to_signals():
            _move(stage, folder)
            for name in old - set(merged[FILES]):
                (folder / name).unlink()
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()  # which it lets happen as long as nothing came to lie in it


def _move(stage: Path, folder: Path) -> None:
    """Move files into `folder`, what it says of itself last."""
    names = sorted((path.name for path in stage.iterdir()), key=lambda name: (name == ABOUT, name))
    if blocked := [name for name in names if (folder / name).is_dir()]:
        raise DataError(f"{folder / blocked[0]} must be a file or nothing; it is a folder: choose another `--out`.")
    for name in names:
        (stage / name).replace(folder / name)


def _read_about(folder: Path) -> dict[str, Any]:
    """Return what a folder says of itself; nothing where it says nothing, or is not ours."""
    try:
        said = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
