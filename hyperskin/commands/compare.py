"""`hyperskin compare`: which model is best, with background and without, as a table."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from hyperskin.environment import repository_root

_log = logging.getLogger(__name__)


def compare(*, output: Path = Path("reports")) -> None:
    """Print the comparison table and write it as Markdown, CSV and LaTeX.

    Each pair has a table for each test set that was scored; the one of the data as they are now stands first and says
    so. Runs that MLflow does not have yet are not in it, and are told of.

    Args:
        output: Folder that gets comparison.md, comparison.csv and comparison.tex.
    """
    from hyperskin.steps.present import present_evaluations
    from hyperskin.tracking.compare import write_comparison
    from hyperskin.tracking.store import prepare_store
    from hyperskin.tracking.waiting import say_waiting

    root = repository_root()
    if waiting := say_waiting(root):
        _log.warning("%s", waiting)
    sys.stdout.write(write_comparison(prepare_store(root), output, present=present_evaluations(root)))
    _log.info("written to %s", output / "comparison.{md,csv,tex}")
