"""Maps a step over captures: only what changed is remade, one failure undoes no other, stamps tell what is finished."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

import hyperskin
from hyperskin.atomic import file_sha256, remove_stale, write_json, write_text
from hyperskin.errors import DataError, HyperSkinError
from hyperskin.processes import interrupted_by_signals
from hyperskin.steps.workers import make_here

_log = logging.getLogger(__name__)
_PACKAGE = Path(hyperskin.__file__).parent

_MARK = ".stage"

SOURCE = "source"
"""The fact under which `acquire` notes where a capture comes from; whose pictures may be shown follows from it."""

Facts = dict[str, Any]
"""Plain values a worker found out about its capture: counts, signal to noise."""


@dataclass(frozen=True)
class Job:
    """One capture's share of a step.

    Attributes:
        subject: The folder it belongs in.
        name: The capture.
        key: Hash of all that decides its output.
        work: Makes the output: called with `target` and `arguments`, returns its files below the subject's folder
            and the facts it found. Must be a module's function, so that another process can import it.
        arguments: What `work` needs, small and picklable: paths and numbers, never cubes.
    """

    subject: str
    name: str
    key: str
    work: Callable[..., tuple[list[str], Facts]]
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Stamp:
    """What stands beside a finished output: its key, the hash of each of its files, and facts about it."""

    key: str
    files: dict[str, str]
    facts: Facts

    @classmethod
    def path(cls, folder: Path, subject: str, name: str) -> Path:
        """Return where the stamp of a capture stands."""
        return folder / subject / f"{name}.json"

    @classmethod
    def read(cls, folder: Path, subject: str, name: str) -> Stamp | None:
        """Return the stamp of a capture, or None where there is none that can be read."""
        try:
            values = json.loads(cls.path(folder, subject, name).read_text())
            return cls(values["key"], values["files"], values["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def map_captures(step: str, jobs: Sequence[Job], folder: Path, *, workers: int, dask: str = "") -> None:
    """Bring `folder` to the state that `jobs` describe.

    An output whose stamp carries the job's key and whose files still have their hashes is kept; every other is made;
    what belongs to no job is removed.

    Args:
        step: Name for the log and the progress bar.
        jobs: One for every capture there should be.
        folder: The step's output folder.
        workers: Processes of this machine to use; 0 = one per core.
        dask: Address of the Dask scheduler whose workers make the captures; empty: this machine does.

    Raises:
        DataError: The folder holds something else than this step's outputs, which would be removed; or captures
            failed, and those that did not are kept.
        ServiceError: The cluster is not there, or cannot give the results that this machine would.
    """
    started = time.monotonic()
    _require_own(folder, step)
    remove_stale(folder)
    removed_count = _remove_strangers(folder, jobs)
    failures: dict[str, str] = {}
    made_count = 0
    with interrupted_by_signals(), tqdm(total=len(jobs), desc=step, unit="capture", disable=None) as bar:
        for job, (made, message) in _each_made(jobs, folder, workers, dask):
            bar.update()
            made_count += made
            if message:
                failures[job.name] = message
    _log.info(
        "%s: %d made, %d kept, %d removed, %d failed in %.1f s",
        step, made_count, len(jobs) - made_count - len(failures), removed_count, len(failures),
        time.monotonic() - started,
    )  # fmt: skip
    if failures:
        first = min(failures)
        raise DataError(
            f"{step}: {len(failures)} of {len(jobs)} captures failed ({', '.join(sorted(failures))}); "
            f"the others are kept. {first}: {failures[first]}"
        )


def make_key(*parts: Any) -> str:
    """Return the SHA-256 over plain values; equal values give equal keys in every process."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, allow_nan=False).encode()).hexdigest()


@cache
def code_version(*modules: str) -> str:
    """Return the SHA-256 over the sources of modules, given as paths below the package."""
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update(module.encode() + b"\0" + (_PACKAGE / module).read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def package_version() -> str:
    """Return the SHA-256 over all sources and tables of the package."""
    files = (path for path in _PACKAGE.rglob("*") if path.suffix in {".py", ".csv"})
    return code_version(*(path.relative_to(_PACKAGE).as_posix() for path in files))


def require_stamp(folder: Path, subject: str, name: str, stage: str) -> Stamp:
    """Return the stamp of a capture that an earlier stage must have finished."""
    stamp = Stamp.read(folder, subject, name)
    if stamp is None:
        raise DataError(f"{folder} must hold {subject}/{name}, finished; it does not: run `dvc repro {stage}`.")
    return stamp


def finished_captures(folder: Path) -> list[tuple[str, str]]:
    """Return (subject, capture) of every stamp below `folder`, sorted."""
    return sorted((path.parent.name, path.stem) for path in folder.glob("*/*.json") if path.is_file())


def _each_made(jobs: Sequence[Job], folder: Path, workers: int, dask: str) -> Iterator[tuple[Job, tuple[bool, str]]]:
    """Yield each job with whether it was made and its error, as they come."""
    make = partial(_make, folder=folder.resolve())
    if not dask:
        return make_here(make, jobs, workers=workers)
    from hyperskin.steps.cluster import make_on_cluster  # here: most machines have no use for it

    jobs = [replace(job, arguments=_from_anywhere(job.arguments)) for job in jobs]
    return make_on_cluster(make, jobs, address=dask, shared=folder.resolve())


def _from_anywhere(value: Any) -> Any:
    """Return arguments with every path absolute, for processes with another working folder."""
    if isinstance(value, Path):
        return value.resolve()
    if isinstance(value, dict):
        return {key: _from_anywhere(one) for key, one in value.items()}
    return type(value)(map(_from_anywhere, value)) if isinstance(value, list | tuple) else value


def _make(job: Job, folder: Path) -> tuple[bool, str]:
    """Make one output unless it stands finished; return whether it was made, and the error if it failed."""
    stamp_path = Stamp.path(folder, job.subject, job.name)
    try:
        if _is_finished(job, folder):
            return False, ""
        stamp_path.unlink(missing_ok=True)
        files, facts = job.work(folder / job.subject, job.name, **job.arguments)
        hashes = {name: file_sha256(folder / job.subject / name) for name in sorted(files)}
        write_json(stamp_path, {"key": job.key, "files": hashes, "facts": facts})
    except HyperSkinError as error:
        return False, str(error)
    except Exception as error:  # whatever it is, it must not cost the other captures
        _log.debug("%s", job.name, exc_info=True)
        return False, f"{type(error).__name__}: {error}"
    return True, ""


def _is_finished(job: Job, folder: Path) -> bool:
    stamp = Stamp.read(folder, job.subject, job.name)
    if stamp is None or stamp.key != job.key:
        return False
    paths = {folder / job.subject / name: sha256 for name, sha256 in stamp.files.items()}
    return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in paths.items())


def _require_own(folder: Path, step: str) -> None:
    """Mark a folder that is empty or holds stamps as this step's; refuse one that anything else has filled."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = folder / _MARK
    if mark.is_file():
        is_own = mark.read_text().strip() == step
    else:
        is_own = not any(folder.iterdir()) or any(Stamp.read(folder, *names) for names in finished_captures(folder))
    if not is_own:
        raise DataError(
            f"{folder} must be empty or filled by the stage {step!r}, which removes what it does not know there; "
            "it holds something else: name another folder."
        )
    if not mark.is_file():
        write_text(mark, f"{step}\n")


def _remove_strangers(folder: Path, jobs: Sequence[Job]) -> int:
    """Remove files and folders of captures that no job describes; return how many captures went."""
    wanted: dict[str, set[str]] = {}
    for job in jobs:
        wanted.setdefault(job.subject, set()).add(job.name)
    removed = set()
    for subject in sorted(path for path in folder.iterdir() if path.is_dir()):
        names = wanted.get(subject.name, set())
        for path in sorted(subject.iterdir()):
            name = path.stem if path.is_file() else path.name
            if name not in names:
                removed.add((subject.name, name))
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not names:
            subject.rmdir()
    return len(removed)
