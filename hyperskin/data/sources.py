"""data/sources/<subject>.json: where a subject's captures come from, file by file or by what they are drawn from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperskin.atomic import write_json
from hyperskin.data.capture import CaptureId
from hyperskin.errors import DataError, MissingFileError

SCHEMA = 1


@dataclass(frozen=True)
class SourceFile:
    """One original file: where it was found, its name below the capture's folder, its size and hash."""

    path: str
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class SourceCapture:
    """One capture: its originals or, where nobody brought any, the recipe it is drawn from.

    Attributes:
        id: Whose it is.
        files: The originals; none where there is a recipe.
        recipe: Plain values that decide a drawn capture; empty where there are originals.
        layout: Which of the source's layouts the originals were found in; empty where there is but one.
    """

    id: CaptureId
    files: tuple[SourceFile, ...] = ()
    recipe: dict[str, int | str] = field(default_factory=dict)
    layout: str = ""


def read_sources(folder: Path, source: str) -> list[SourceCapture]:
    """Return every capture listed below `folder`, sorted by name.

    Args:
        folder: data/sources.
        source: The source that params.yaml names; every file must come from it.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise MissingFileError(
            f"{folder} must list the subjects, one JSON file each; it lists none: "
            "run `hyperskin init --rescan`, or `hyperskin init --help` for another source."
        )
    captures = [capture for path in paths for capture in _read_subject(path, source)]
    return sorted(captures, key=lambda capture: capture.id.name)


def write_sources(folder: Path, source: str, captures: Iterable[SourceCapture]) -> None:
    """Write one file per subject and remove the files of subjects that are no more."""
    by_subject: dict[str, list[SourceCapture]] = {}
    for capture in captures:
        by_subject.setdefault(capture.id.subject, []).append(capture)
    for subject, own in by_subject.items():
        write_json(
            folder / f"{subject}.json",
            {
                "schema": SCHEMA,
                "source": source,
                "subject": subject,
                **({"layout": own[0].layout} if own[0].layout else {}),
                "captures": {capture.id.name: capture.recipe or _encode(capture.files) for capture in own},
            },
        )
    for path in folder.glob("*.json"):
        if path.stem not in by_subject:
            path.unlink()


def _encode(files: Iterable[SourceFile]) -> list[dict[str, Any]]:
    return [{"path": file.path, "name": file.name, "bytes": file.size_bytes, "sha256": file.sha256} for file in files]


def _decode(name: str, origin: Any, layout: str) -> SourceCapture:
    """Return the capture whose originals are a list, or whose recipe is a mapping; either must hold something."""
    capture = CaptureId.parse(name)
    if not origin:
        raise ValueError(f"{name} has neither files nor a recipe")
    if isinstance(origin, dict):
        return SourceCapture(capture, recipe=origin)
    files = tuple(SourceFile(file["path"], _safe(file["name"]), file["bytes"], file["sha256"]) for file in origin)
    return SourceCapture(capture, files, layout=layout)


def _read_subject(path: Path, source: str) -> list[SourceCapture]:
    try:
        values = json.loads(path.read_text())
        if values["source"] != source:
            raise DataError(
                f"{path} must come from the source {source!r} that params.yaml names; "
                f"it comes from {values['source']!r}: run `hyperskin init --rescan`."
            )
        layout = str(values.get("layout", ""))
        captures = [_decode(name, origin, layout) for name, origin in values["captures"].items()]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} must be written by `hyperskin init`; it cannot be read: {error}.") from None
    strangers = [capture.id.name for capture in captures if capture.id.subject != path.stem]
    if strangers:
        raise DataError(f"{path} must hold captures of {path.stem} alone; it holds {', '.join(strangers)}.")
    return captures


def _safe(name: str) -> str:
    """Refuse a name that would leave the capture's folder."""
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise DataError(f"A file's name must lie below its capture's folder; got {name!r}.")
    return name
