"""data/sources -> data/raw: brings every original in by reflink or hard link, else by copy; draws the phantom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from hyperskin.atomic import bring_file, file_sha256
from hyperskin.data.capture import CaptureId
from hyperskin.data.sources import SourceCapture, SourceFile, read_sources
from hyperskin.errors import DataError, MissingFileError
from hyperskin.params import Params, PhantomParams
from hyperskin.phantom.recipe import Recipe
from hyperskin.sources.catalog import find_source
from hyperskin.steps.captures import SOURCE, Facts, Job, code_version, make_key, map_captures

CODE = (
    "bands.py",
    "data/cubefile.py",
    "data/truth.py",
    "envi.py",
    "phantom/capture.py",
    "phantom/face.py",
    "phantom/fields.py",
    "phantom/head.py",
    "phantom/materials.py",
    "phantom/person.py",
    "phantom/recipe.py",
    "phantom/scene.py",
    "phantom/sensor.py",
    "skin/chromophores.py",
    "skin/optics.py",
    "skin/tables/haemoglobin.csv",
    "skin/tables/water.csv",
)
"""What decides a drawn capture; one that is brought is decided by its bytes."""


def acquire(sources: Path, raw: Path, *, params_file: Path = Path("params.yaml")) -> None:
    """Bring the originals that data/sources lists into data/raw, checking each file's hash; draw what is made up.

    Args:
        sources: Folder with one JSON file per subject, written by `hyperskin init`.
        raw: Folder that gets `<subject>/<capture>/` with the originals.
        params_file: Parameters; this step reads `source` and `phantom`.
    """
    params = Params.read(params_file)
    source = find_source(params.source.name)
    captures = read_sources(sources, source.name)
    if source.invented:
        size = params.phantom
        planned = source.plan(subjects=size.subjects, captures=size.captures, seed=size.seed)
        _require_planned(captures, planned, sources)
        jobs = [_drawing(capture, size, source.name) for capture in planned]
    else:
        jobs = [_bringing(capture, source.name) for capture in captures]
    map_captures("acquire", jobs, raw, workers=params.execution.workers, dask=params.execution.dask)


def _require_planned(captures: Sequence[SourceCapture], planned: Sequence[SourceCapture], sources: Path) -> None:
    """Refuse a list of captures that was written for other subjects, captures or another seed than params.yaml has."""
    listed = {capture.id.name: capture for capture in captures}
    wanted = {capture.id.name: capture for capture in planned}
    if listed != wanted:
        first = min(name for name in listed.keys() | wanted.keys() if listed.get(name) != wanted.get(name))
        raise DataError(
            f"{sources} must list the {len(wanted)} captures that `phantom` of params.yaml describes; it lists "
            f"{len(listed)}, and {first} differs: run `hyperskin init --rescan`."
        )


def _bringing(capture: SourceCapture, source: str) -> Job:
    return Job(
        subject=capture.id.subject,
        name=capture.id.name,
        key=make_key("acquire", source, [(file.name, file.sha256) for file in capture.files]),
        work=bring_capture,
        arguments={"files": capture.files, "source": source, "layout": capture.layout},
    )


def _drawing(capture: SourceCapture, size: PhantomParams, source: str) -> Job:
    recipe = Recipe(
        seed=size.seed,
        skin_type=str(capture.recipe["skin_type"]),
        height_px=size.height_px,
        width_px=size.width_px,
        reference_lines=size.reference_lines,
        noise=size.noise,
        extended_optics=size.extended_optics,
    )
    return Job(
        subject=capture.id.subject,
        name=capture.id.name,
        key=make_key("acquire", source, capture.id.name, asdict(recipe), code_version(*CODE)),
        work=draw_capture,
        arguments={"recipe": recipe, "source": source},
    )


def bring_capture(
    folder: Path, name: str, *, files: tuple[SourceFile, ...], source: str, layout: str = ""
) -> tuple[list[str], Facts]:
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
    _remove_others(target, [file.name for file in files])
    return [f"{name}/{file.name}" for file in files], {SOURCE: source} | ({"layout": layout} if layout else {})


def draw_capture(folder: Path, name: str, *, recipe: Recipe, source: str) -> tuple[list[str], Facts]:
    """Draw one capture of the phantom into `folder`/`name`, with its references and its truth."""
    from hyperskin.phantom.capture import write_capture  # here: who brings files needs none of it

    target = folder / name
    files = write_capture(target, CaptureId.parse(name), recipe)
    _remove_others(target, files)
    return [f"{name}/{file}" for file in files], {SOURCE: source, "skin_type": recipe.skin_type}


def _remove_others(target: Path, files: Iterable[str]) -> None:
    """Remove what lies in a capture's folder and is none of its files."""
    wanted = {target / file for file in files}
    for path in sorted(target.rglob("*")):
        if path.is_file() and path not in wanted:
            path.unlink()
