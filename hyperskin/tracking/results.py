"""Finished runs as plain values: numbers, tables by subject and band, curves of the training, and where they come from.

All of it is read before anybody draws or writes, so that whoever does needs no MLflow and is not stopped half-way.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from hyperskin.tracking.answers import ask, is_gone
from hyperskin.tracking.compare import Row, Table
from hyperskin.tracking.runs import is_floor
from hyperskin.tracking.store import find_runs

Record = dict[str, str | float]

CURVES = ("val_sam/masked", "val_sam/full")
"""What is followed while a network trains, the first that the run has."""
STEPS, SECONDS = "train/steps", "train/seconds"
"""What a training had taken when an epoch ended; runs of earlier versions do not say."""

_PICTURES = "pictures"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes:
        row: Its place in the comparison: model, pair, parameters and final numbers.
        label: What it is called among the rows of its table.
        ended_ms: When it ended.
        tags: All that it says of itself: digests of data, code and parameters, commit, machine.
        tables: Rows by name ("per_image", "per_subject", ...), without the cells that hold nothing.
        curve_key: Which of `CURVES` was followed; empty for a regression.
        curve: Epoch and value.
        steps: Epoch and steps taken so far, seconds alike; empty where the run does not say.
        files: Address of its files.
        pictures: Names of the pictures among them.
    """

    row: Row
    label: str
    ended_ms: int
    tags: dict[str, str]
    tables: dict[str, list[Record]]
    curve_key: str
    curve: tuple[tuple[int, float], ...]
    files: str
    pictures: tuple[str, ...]
    steps: tuple[tuple[int, float], ...] = ()
    seconds: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Unfinished:
    """A run that began and did not finish: what it would have been, and MLflow's word for how it stands."""

    model: str
    pair: str
    status: str


def read_results(uri: str, tables: Sequence[Table]) -> list[list[Result]]:
    """Return the runs of each table with all that they hold, in its order.

    Raises:
        ServiceError: The store does not answer.
    """

    def read() -> list[list[Result]]:
        client = MlflowClient(uri)
        named = [zip(table.rows, table.labels, strict=True) for table in tables]
        return [[_read(client, uri, row, label) for row, label in rows] for rows in named]

    return ask(uri, read, may_take_long=True)


def read_unfinished(uri: str, evaluations: Collection[str]) -> list[Unfinished]:
    """Return the runs on these test sets that did not finish, those of searches left out, by pair and model.

    Raises:
        ServiceError: The store does not answer.
    """
    runs = ask(uri, lambda: find_runs(uri, "attributes.status != 'FINISHED'"))
    found = [run for run in runs if run.data.tags.get("evaluation") in evaluations]
    named = [
        Unfinished(run.data.params.get("model", "?"), run.data.params.get("pair", "?"), str(run.info.status))
        for run in found
    ]
    return sorted(named, key=lambda run: (run.pair, run.model, run.status))


@contextmanager
def fetched_pictures(uri: str, wanted: Sequence[tuple[Result, str]]) -> Iterator[list[Path]]:
    """Give the files of some pictures, each named by its run and its name there; they are gone afterwards.

    Raises:
        ServiceError: The store does not answer.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        yield ask(uri, lambda: _download(uri, wanted, folder), may_take_long=True)


def _download(uri: str, wanted: Sequence[tuple[Result, str]], folder: Path) -> list[Path]:
    paths = []
    for number, (result, name) in enumerate(wanted):
        (own := folder / str(number)).mkdir()
        files: Any = get_artifact_repository(result.files, tracking_uri=uri)
        paths.append(Path(files.download_artifacts(f"{_PICTURES}/{name}", str(own))))
    return paths


def _read(client: MlflowClient, uri: str, row: Row, label: str) -> Result:
    run = client.get_run(row.run_id)
    learns = not is_floor(row.model)  # a regression is validated once, and has no epochs
    curve_key = next((key for key in CURVES if learns and key in run.data.metrics), "")

    def read_history(key: str) -> tuple[tuple[int, float], ...]:
        points = client.get_metric_history(row.run_id, key) if key in run.data.metrics else []
        return tuple(sorted({point.step: float(point.value) for point in points}.items()))

    # Of a file at a time, the client asks for the whole run, twice.
    files = get_artifact_repository(run.info.artifact_uri, tracking_uri=uri)
    names = _list(files, None)
    return Result(
        row=row,
        label=label,
        ended_ms=int(run.info.end_time or run.info.start_time),
        tags=dict(run.data.tags),
        tables=_read_tables(files, [name for name in names if name.endswith(".json")]),
        curve_key=curve_key,
        curve=read_history(curve_key),
        files=run.info.artifact_uri,
        pictures=tuple(sorted(_list(files, _PICTURES))) if _PICTURES in names else (),
        steps=read_history(STEPS) if curve_key else (),
        seconds=read_history(SECONDS) if curve_key else (),
    )


def _list(files: Any, folder: str | None) -> list[str]:
    """Return the names in a folder of a run; none where its files are gone."""
    try:
        return [PurePosixPath(file.path).name for file in files.list_artifacts(folder)]
    except Exception as error:
        if not is_gone(error):
            raise
        return []


def _read_tables(files: Any, names: Iterable[str]) -> dict[str, list[Record]]:
    tables = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(files.download_artifacts(name, folder))
            if (rows := _decode(path)) is not None:
                tables[path.stem] = rows
    return tables


def _decode(path: Path) -> list[Record] | None:
    """Return the rows of a table; None where the file holds no table of text and numbers."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        rows = [dict(zip(content["columns"], values, strict=True)) for values in content["data"]]
    except (ValueError, TypeError, KeyError):
        _log.warning("%s is left out: it holds no table", path.name)
        return None
    return [{str(key): value for key, value in row.items() if isinstance(value, str | int | float)} for row in rows]
