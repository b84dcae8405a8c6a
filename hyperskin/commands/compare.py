"""`hyperskin compare`: which model is best, with background and without, as a table."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from hyperskin.environment import repository_root

_log = logging.getLogger(__name__)


def compare(*, output: Path = Path("reports")) -> None:
    """Print the comparison table and write it as Markdown, CSV and LaTeX; and how models survive other cameras.

    Each pair has a table for each test set that was scored; the one of the data as they are now stands first and says
    so. Runs that MLflow does not have yet are not in it, and are told of. Where models were examined with the pictures
    of several cameras, cameras.md and .csv hold which training scores what with which camera, and the folder cameras
    a heat map of each model.

    Args:
        output: Folder that gets comparison.md, comparison.csv and comparison.tex.
    """
    from hyperskin.steps.present import present_evaluations
    from hyperskin.tracking.compare import read_rows, write_comparison
    from hyperskin.tracking.store import prepare_store
    from hyperskin.tracking.waiting import say_waiting

    root = repository_root()
    if waiting := say_waiting(root):
        _log.warning("%s", waiting)
    store, present = prepare_store(root), present_evaluations(root)
    sys.stdout.write(write_comparison(store, output, present=present))
    _log.info("written to %s", output / "comparison.{md,csv,tex}")
    rows = read_rows(store)
    if any(len(row.tested) > 1 for row in rows):
        from hyperskin.tracking.matrix import make_matrices, write_matrices  # which loads matplotlib

        sys.stdout.write(write_matrices(output, make_matrices(rows, present=present)))
        _log.info("written to %s", output / "cameras{.md,.csv,/*.png}")
