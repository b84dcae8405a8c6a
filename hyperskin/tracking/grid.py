"""Rows of cells -> a Markdown table that reads well in a terminal too."""

from __future__ import annotations

from collections.abc import Sequence


def align_table(lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a Markdown table whose columns stand below each other.

    Args:
        lines: The heading, then the rows, all of one length.
        left: So many columns hold words and begin on the left; the others end on the right, as numbers do.
    """
    widths = [max(2, *map(len, column)) for column in zip(*lines, strict=True)]  # a rule has a dash and a colon
    rules = ["-" * width if place < left else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    first, *rest = (_join(cells, widths, left) for cells in lines)
    return "\n".join([first, _join(rules, widths, left), *rest])


def _join(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = [
        cell.ljust(width) if place < left else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
