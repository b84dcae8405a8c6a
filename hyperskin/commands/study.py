"""`hyperskin study`: what several seeds, other light and cost say of the models, as tables, figures and a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperskin.environment import repository_root

if TYPE_CHECKING:
    from hyperskin.data.manifest import Manifest
    from hyperskin.reporting.document import Document
    from hyperskin.reporting.study.numbers import Rows
    from hyperskin.reporting.study.seeds import Pool
    from hyperskin.tracking.runs import RunLog

_log = logging.getLogger(__name__)


def study(*, output: Path = Path("reports") / "study") -> None:
    """Say of the finished runs on the present data what repeated trainings, other light and cost allow to say.

    Trainings that differ in their seed alone are one model. Each has its interval over subjects and how far its seeds
    lie apart, differences from the best regression and from basal with what chance would do, its error by how much
    light there was, its learning curves and whether it was still getting better, and what it costs. The same goes to
    an MLflow run of the experiment hyperskin-studies; asked again of the same runs, there is no second one.

    Args:
        output: Folder that gets study.md, a CSV file for every table, and the folder figures.
    """
    from hyperskin.reporting.study.page import main_tables

    root = repository_root()
    pools, path = write_study(root, output)
    sys.stdout.write(f"{main_tables(pools)}\n{path}\n")


def read_pools(root: Path, store: str) -> tuple[Pool, ...]:
    """Return the finished runs on the present data, those that differ in their seed alone together.

    Raises:
        ServiceError: MLflow does not answer.
    """
    from hyperskin.reporting.examination import Examination
    from hyperskin.reporting.study.seeds import Pool
    from hyperskin.steps.present import present_evaluations
    from hyperskin.tracking.compare import make_tables, read_rows
    from hyperskin.tracking.results import read_results

    present = present_evaluations(root) or frozenset()
    tables = make_tables([row for row in read_rows(store) if row.evaluation in present])
    return tuple(map(Pool.of, Examination.of_all(tables, read_results(store, tables))))


def write_study(root: Path, output: Path) -> tuple[tuple[Pool, ...], Path]:
    """Write the study to the folder `output` and to MLflow; return what was studied, and study.md.

    Raises:
        MissingFileError: There is no manifest.
        ServiceError: MLflow does not answer; then nothing is written.
    """
    from hyperskin.data.manifest import Manifest
    from hyperskin.params import FILE_NAME, Params
    from hyperskin.reporting.study import page
    from hyperskin.reporting.study.numbers import study_tables
    from hyperskin.steps.cost import read_costs
    from hyperskin.tracking.store import prepare_store
    from hyperskin.tracking.waiting import say_waiting

    measured = read_costs(root, Params.read(root / FILE_NAME))
    manifest = Manifest.read(root / "data" / "manifest.json")
    if waiting := say_waiting(root):
        _log.warning("%s", waiting)
    store = prepare_store(root)
    pools = read_pools(root, store)
    tables = study_tables(pools, measured)
    document = page.make_study(pools, measured, source=manifest.source, digest=manifest.digest)
    path = page.write_study(document, tables, output)
    if pools:
        _keep(root, store, manifest, pools, tables, document, path)
    return pools, path


def _keep(
    root: Path,
    store: str,
    manifest: Manifest,
    pools: Sequence[Pool],
    tables: Mapping[str, Rows],
    document: Document,
    path: Path,
) -> None:
    """Log the study as a run, unless one says the same already."""
    from hyperskin.reporting.document import Drawing
    from hyperskin.reporting.study.numbers import to_csv
    from hyperskin.steps.captures import make_key
    from hyperskin.tracking.store import STUDIES, find_finished

    key = make_key("study", path.read_text(), {name: to_csv(rows) for name, rows in tables.items()})
    if found := find_finished(store, [key], STUDIES):
        _log.info("MLflow has this study already: run %s of %s", found[key], STUDIES)
        return
    with _run(root, store, manifest, pools, key) as run:
        run.log_tables(tables)
        run.log_file(path)
        for drawing in document.pictures():
            assert isinstance(drawing, Drawing), "a study shows nobody"
            run.log_figure(drawing.figure, drawing.name)
    _log.info("told to MLflow: run %s of %s", run.run_id or "that waits", STUDIES)


def _run(root: Path, store: str, manifest: Manifest, pools: Sequence[Pool], key: str) -> RunLog:
    """Return the run of a study, whose parameters say of which runs it is."""
    from hyperskin.steps.captures import make_key
    from hyperskin.tracking.runs import Provenance, RunLog
    from hyperskin.tracking.store import STUDIES

    groups = [group for pool in pools for group in pool.groups]
    members = [member for group in groups for member in group.members]
    test_sets = [pool.exam.table.evaluation for pool in pools]
    origin = Provenance(
        unit_key=key,
        manifest=manifest.digest,
        split=manifest.split_digest(),
        evaluation=test_sets[0] if len(set(test_sets)) == 1 else make_key(sorted(set(test_sets))),
        code=make_key(sorted({member.tags.get("code", "") for member in members})),
        params=make_key(sorted(member.tags.get("params", "") for member in members)),
    )
    params = {
        "models": len(groups),
        "seeds": _join(sorted({seed for group in groups for seed in group.seeds})) or "none",
        "runs": make_key(sorted(member.row.run_id for member in members)),
        "data": manifest.digest,
        "test_sets": _join(test_sets),
    }
    said = f"What {len(members)} runs of {len(groups)} models say together; study.md among the files has it in words."
    return RunLog(
        store,
        model="study",
        pair=_join(pool.exam.pair.name for pool in pools),
        size=f"{len(members)} runs",
        params=params,
        provenance=origin,
        data_name=manifest.source,
        root=root,
        experiment=STUDIES,
        name="study",
        tags={"mlflow.source.name": "hyperskin study", "mlflow.note.content": said},
    )


def _join(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, names)))
