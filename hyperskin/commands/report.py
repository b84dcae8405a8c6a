"""`hyperskin report`: all finished runs on the present data as one page to hand on."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import hyperskin
from hyperskin.environment import repository_root

_log = logging.getLogger(__name__)


def report(*, output: Path = Path("reports")) -> None:
    """Write one page about the finished runs on the present data, as HTML and as Markdown.

    The HTML holds its style and pictures, needs no network and prints. It has the paper's Tables 3 and 4 in form, ours
    beside what was published and never ranked together; scores by subject with intervals and paired differences; by
    band, skin type, expression and direction; what is left of the skin; costs; the data's quality; and for every
    number its run, data, code, commit and parameters. Same runs and data, same bytes: its only dates are the runs'.

    Args:
        output: Folder that gets report.html, report.md, and the folder report with the pictures of the Markdown.
    """
    sys.stdout.write(f"{write_report(repository_root(), output)}\n")


def write_report(root: Path, output: Path) -> Path:
    """Write the page to the folder `output` and return the path of its HTML.

    Args:
        root: The repository.
        output: The folder.

    Raises:
        MissingFileError: There is no manifest.
        ServiceError: MLflow does not answer; then nothing is written.
    """
    from hyperskin.data.manifest import Manifest
    from hyperskin.params import Params
    from hyperskin.reporting.examination import Examination, count_of
    from hyperskin.reporting.files import write_page
    from hyperskin.reporting.page import Findings, make_page
    from hyperskin.reporting.people import wanted_pictures
    from hyperskin.sources.catalog import find_source
    from hyperskin.steps.consent import publishable_subjects
    from hyperskin.steps.cost import read_costs
    from hyperskin.steps.present import present_evaluations
    from hyperskin.tracking.compare import make_tables, read_rows
    from hyperskin.tracking.results import fetched_pictures, read_results, read_unfinished
    from hyperskin.tracking.store import prepare_store
    from hyperskin.tracking.waiting import say_waiting

    params = Params.read(root / "params.yaml")
    manifest = Manifest.read(root / "data" / "manifest.json")
    everyone = {entry.id.subject for entry in manifest.captures.values()}
    shown = publishable_subjects(manifest.source, everyone, params.privacy.publishable_subjects)
    store = prepare_store(root)
    present = present_evaluations(root) or frozenset()
    rows = read_rows(store)
    tables = make_tables([row for row in rows if row.evaluation in present])
    exams = Examination.of_all(tables, read_results(store, tables))
    wanted = wanted_pictures(exams, shown)
    with fetched_pictures(store, wanted) as paths:
        page = make_page(
            Findings(
                manifest=manifest,
                is_invented=find_source(manifest.source).invented,
                publishable=shown,
                exams=exams,
                pictures=tuple(zip((result for result, _ in wanted), paths, strict=True)),
                unfinished=tuple(read_unfinished(store, present)),
                others=sum(row.evaluation not in present for row in rows),
                waiting=say_waiting(root),
                measured=tuple(read_costs(root, params)),
                version=hyperskin.__version__,
            )
        )
    path = write_page(page, output, publishable=shown)
    runs, pairs = sum(len(table.rows) for table in tables), len({table.pair for table in tables})
    counts = (count_of(runs, "finished run"), count_of(pairs, "pair"))
    _log.info("%s of %s on %s", *counts, count_of(len(manifest.of_split("test")), "test capture"))
    return path
