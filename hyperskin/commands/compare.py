"""`hyperskin compare`: which model is best, with background and without, as a table."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from hyperskin.environment import repository_root

_log = logging.getLogger(__name__)


def compare(*, output: Path = Path("reports")) -> None:
    """Print the comparison table and write it as Markdown, CSV and LaTeX.

    Args:
        output: Folder that gets comparison.md, comparison.csv and comparison.tex.
    """
    from hyperskin.tracking.compare import write_comparison
    from hyperskin.tracking.store import prepare_store

    sys.stdout.write(write_comparison(prepare_store(repository_root()), output))
    _log.info("written to %s", output / "comparison.{md,csv,tex}")
