"""data/sources -> data/raw: brings every original file in by reflink or hard link, else by copy."""

from __future__ import annotations

from pathlib import Path

from hyperskin.atomic import bring_file, file_sha256
from hyperskin.data.sources import SourceFile, read_sources
from hyperskin.errors import DataError, MissingFileError
from hyperskin.params import Params
from hyperskin.steps.captures import Facts, Job, make_key, map_captures


def acquire(sources: Path, raw: Path, *, params_file: Path = Path("params.yaml")) -> None:
    """Bring the originals that data/sources lists into data/raw, checking each file's hash.

    Args:
        sources: Folder with one JSON file per subject, written by `hyperskin init`.
        raw: Folder that gets `<subject>/<capture>/` with the originals.
        params_file: Parameters.
    """
    params = Params.read(params_file)
    jobs = [
        Job(
            subject=capture.id.subject,
            name=capture.id.name,
            key=make_key("acquire", [(file.name, file.sha256) for file in capture.files]),
            work=bring_capture,
            arguments={"files": capture.files},
        )
        for capture in read_sources(sources, params.source.name)
    ]
    map_captures("acquire", jobs, raw, workers=params.execution.workers)


def bring_capture(folder: Path, name: str, *, files: tuple[SourceFile, ...]) -> tuple[list[str], Facts]:
    """Bring one capture's files into `folder`/`name`; a file that changed since `init` is refused."""
    target = folder / name
    for file in files:
        origin = Path(file.path)
        if not origin.is_file():
            raise MissingFileError(
                f"{origin} must be there, as it was at `hyperskin init`; it is gone: "
                "bring it back or run `hyperskin init --rescan`."
            )
        if origin.stat().st_size != file.size_bytes or file_sha256(origin) != file.sha256:
            raise DataError(
                f"{origin} must be the file that `hyperskin init` saw; it has changed: run `hyperskin init --rescan`."
            )
        bring_file(origin, target / file.name)
    wanted = {target / file.name for file in files}
    for path in sorted(target.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()
    return [f"{name}/{file.name}" for file in files], {}
