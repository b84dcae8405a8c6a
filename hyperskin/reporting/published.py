"""Published scores: one data file -> tables that stand apart from ours, each with its test set."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from hyperskin.reporting.document import Bullets, Grid, Line, Span, Words, bullets, line
from hyperskin.tracking.compare import PUBLISHED

HEADINGS = tuple(column.heading for column in PUBLISHED)
_KEYS = ("ssim/full", "sam/full", "ssim/masked", "sam/masked")  # in the order of HEADINGS


def published_blocks(pair: str) -> list[Line | Bullets | Grid]:
    """Return what was published for a pair: a table for each test set, and what to know of it."""
    known = read_published()
    blocks: list[Line | Bullets | Grid] = []
    for table in known["tables"]:
        if table["pair"] == pair:
            test_set = known["sets"][table["set"]]
            blocks.append(_grid(table))
            about = f"{table['set']}: {test_set['what']}. Source: {test_set['source']}."
            blocks.append(bullets(*(line(note) for note in (about, *table["notes"]))))
    return blocks


def read_published() -> dict[str, Any]:
    """Return the data file: test sets by their short name, and tables whose rows hold mean and spread by metric."""
    text = files("hyperskin.reporting").joinpath("published_scores.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known


def _grid(table: dict[str, Any]) -> Grid:
    """Return a table in the paper's form: its halves side by side, and in each the columns that it has."""
    halves = table["halves"]
    names = list(dict.fromkeys(name for half in halves for name in half["rows"]))
    columns = [[key for key in _KEYS if any(key in row for row in half["rows"].values())] for half in halves]
    heading = [text for half in columns for text in [*(HEADINGS[_KEYS.index(key)] for key in half), "n"]]
    rows = [
        (name, *(cell for half, keys in zip(halves, columns, strict=True) for cell in _cells(half, name, keys)))
        for name in names
    ]
    return Grid(
        caption=f"Published, test set {table['set']}: {table['title']}. Mean ± spread (population) over captures.",
        heading=("model", *heading),
        rows=tuple(rows),
        over=(("", 1), *((half["name"], len(keys) + 1) for half, keys in zip(halves, columns, strict=True))),
    )


def _cells(half: dict[str, Any], name: str, keys: list[str]) -> list[Words]:
    row, digits = half["rows"].get(name, {}), half["digits"]
    cells: list[Words] = []
    for key in keys:
        mean, *spread = (f"{value:.{digits}f}" for value in row.get(key, [])) if key in row else ("-",)
        cells.append(Span(mean, "".join(spread)))
    count = half["images"].get(name)
    return [*cells, "-" if count is None else str(count)]
