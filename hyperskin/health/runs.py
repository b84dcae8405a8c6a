"""Whether MLflow can read its store, and whether what it keeps there lies where it looks for it."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Collection, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hyperskin.health.finding import Finding
from hyperskin.health.mlflow_server import ask_server
from hyperskin.sqlite import fault, rows
from hyperskin.tracking.answers import answers
from hyperskin.tracking.store import ARTIFACTS, EXPERIMENT, STORE, STUDIES, SWEEPS, find_known, store_address
from hyperskin.tracking.waiting import runs_told

_REVISION = re.compile(r"""^(down_)?revision\s*=\s*["'](\w+)["']""", re.MULTILINE)
_LOCATIONS = "SELECT experiment_id, name, artifact_location FROM experiments WHERE lifecycle_stage = 'active'"
_SHOWN = 3
_MOST_ASKED = 100
_GONE = "RESOURCE_DOES_NOT_EXIST"
_DEFAULT = "Default"  # MLflow's own; nothing of ours goes there
# Where the store keeps the place of files, all of them below the experiment's.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)


def look(root: Path) -> Iterator[Finding]:
    """Look at the store that this repository uses."""
    yield from _file_store(root)
    uri = store_address(root)
    if uri.startswith("http"):
        if answers(uri):
            yield from _served_places(uri)
            yield from _lost(root, partial(_find_served, uri))
    elif uri.startswith("sqlite"):
        database = Path(uri.removeprefix("sqlite:///"))
        if database.exists() and database.stat().st_size and not fault(database):
            yield from _revision(database, uri)
            yield from _places(root, database)
        if not (database.exists() and fault(database)):
            yield from _lost(root, partial(find_known, uri))


def _file_store(root: Path) -> Iterator[Finding]:
    left = sorted((root / "mlruns").glob("*/meta.yaml"))
    if left:
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        what = (
            f"{' and '.join(f'mlruns/{path.parent.name}' for path in left[:_SHOWN])}{more} must not be there: MLflow 3 "
            "refuses to read its old store of files, so that those runs are not seen."
        )
        yield Finding("runs", "warning", what, "mkdir -p mlruns-of-files && mv mlruns/[0-9]* mlruns-of-files/")


def _revision(database: Path, uri: str) -> Iterator[Finding]:
    """Compare the store's version with those that this MLflow knows."""
    try:
        found = [revision for (revision,) in rows(database, "SELECT version_num FROM alembic_version")]
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            return  # somebody writes
        what = f"{STORE} must be a store of MLflow's; it is another database."
        yield Finding("runs", "broken", what, f"mv {STORE} {STORE}.other && hyperskin prepare")
        return
    known, newest = _known_revisions()
    if not known or found == [newest]:
        return
    if found and found[0] in known:
        what = f"{STORE} must be of the version that MLflow reads ({newest}); it is older ({found[0]})."
        yield Finding("runs", "broken", what, f"cp {STORE} {STORE}.copy && mlflow db upgrade {uri}")
    else:
        what = f"{STORE} must be of a version that this MLflow knows; it is of {', '.join(map(str, found)) or 'none'}."
        yield Finding("runs", "broken", what, "pip install --upgrade 'mlflow<4'")


def _known_revisions() -> tuple[set[str], str]:
    """Return the store's versions that MLflow knows, and the newest, without loading it."""
    spec = find_spec("mlflow")
    folder = Path(str(spec.origin)).parent / "store" / "db_migrations" / "versions" if spec else Path()
    revisions, before = set[str](), set[str]()
    for path in folder.glob("*_*.py"):
        for is_before, revision in _REVISION.findall(path.read_text(encoding="utf-8")):
            (before if is_before else revisions).add(revision)
    newest = revisions - before
    return revisions, newest.pop() if len(newest) == 1 else ""


def _places(root: Path, database: Path) -> Iterator[Finding]:
    """Find experiments whose files lie in another repository, or in the one that this was before it was moved."""
    right = (root / ARTIFACTS).resolve()
    with contextlib.suppress(sqlite3.Error):  # somebody writes
        wrong: dict[str, list[str]] = {}
        for _, name, location in rows(database, _LOCATIONS):
            if name != _DEFAULT and _folder_of(location) not in (right, None):
                wrong.setdefault(location, []).append(name)
        for location, names in wrong.items():
            is_gone = not Path(str(_folder_of(location))).exists()
            what = (
                f"The files of the experiment{'s' if len(names) > 1 else ''} {', '.join(names)} must lie in "
                f"{ARTIFACTS}; MLflow looks for them in {_folder_of(location)}"
                + (", which is gone: the repository was moved." if is_gone else ", of another repository.")
            )
            if is_gone:
                fix = partial(_move, database, location, right)
                yield Finding("runs", "broken", what, "hyperskin doctor --fix", fix)
            else:
                yield Finding("runs", "broken", what, f"mv {STORE} {STORE}.other && hyperskin prepare")


def _lost(root: Path, find: Callable[[Collection[str]], set[str]]) -> Iterator[Finding]:
    """Compare the newest runs that the store acknowledged with those that it holds."""
    told = runs_told(root)
    newest = sorted(told, key=lambda run_id: told[run_id].folder.stat().st_mtime)[-_MOST_ASKED:]
    gone = set(newest) - find(newest)
    if gone:
        what = (
            f"MLflow's store must hold the runs that were told to it; {len(gone)} of {len(newest)} are gone: it was "
            "emptied, is another one or an old copy. Their numbers are in mlruns/journal; training again brings files "
            "and networks from the checkpoints."
        )
        yield Finding("runs", "broken", what, "hyperskin sync --lost; prefect deployment run train-all/train-all")


def _find_served(uri: str, run_ids: Collection[str]) -> set[str]:
    """Return the runs that a server does not say that it has not."""
    answers_by_id = {run_id: ask_server(uri, f"runs/get?run_id={run_id}") for run_id in run_ids}
    return {run_id for run_id, said in answers_by_id.items() if said.get("error_code") != _GONE}


def _folder_of(location: str) -> Path | None:
    """Return the folder that a location names; None where it is a server's or a bucket's."""
    parts = urlsplit(location)
    return Path(unquote(parts.path)).resolve() if parts.scheme in ("", "file") else None


def _move(database: Path, old: str, new: Path) -> str:
    """Let MLflow look for its files where they are now: all of it or nothing."""
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
        for table, column in _PLACES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608 - names of our own
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new.as_uri(), len(old) + 1, old, len(old) + 1, f"{old}/"),
            )
    return f"MLflow looks for its files in {new}."


def _served_places(uri: str) -> Iterator[Finding]:
    """Find experiments whose files every client would write to its own disk."""
    said = ask_server(uri, "experiments/search?max_results=1000")
    for experiment in said.get("experiments", []):
        name, location = experiment.get("name", ""), experiment.get("artifact_location", "")
        if name in (EXPERIMENT, SWEEPS, STUDIES) and _folder_of(location) is not None:
            number = experiment.get("experiment_id")
            what = (
                f"The files of the experiment {name} must go to the MLflow server; they go to {location} on the disk "
                "of whoever trains, for it was not made through the server."
            )
            remedy = f"mlflow experiments rename --experiment-id {number} --new-name {name}-before && hyperskin prepare"
            yield Finding("runs", "broken", what, remedy)
