"""Parts of tables side by side, as many as a page is wide; the rest goes below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperskin.reporting.document import Grid, Words

MOST_COLUMNS = 9
"""Columns of numbers that a page of paper takes."""


@dataclass(frozen=True)
class Part:
    """Columns about one thing.

    Attributes:
        over: What they are about.
        heading: One heading for each.
        rows: Cells, as many as headings, for every row of the table.
    """

    over: str
    heading: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]

    def split(self, most: int) -> list[Part]:
        """Return the same columns in parts of at most so many."""
        places = [slice(first, first + most) for first in range(0, len(self.heading), most)]
        return [Part(self.over, self.heading[at], tuple(row[at] for row in self.rows)) for at in places]


def side_by_side(
    caption: str, first: str, names: Sequence[Words], parts: Sequence[Part], *, most: int = MOST_COLUMNS
) -> list[Grid]:
    """Return the parts as few tables.

    Args:
        caption: Of the first; the others say that they continue it.
        first: Heading of the names.
        names: One for every row.
        parts: In order.
        most: Columns of numbers in a table.
    """
    grids: list[list[Part]] = []
    room = 0
    for part in (piece for whole in parts for piece in whole.split(most)):
        if len(part.heading) > room:
            grids.append([])
            room = most
        grids[-1].append(part)
        room -= len(part.heading)
    return [
        Grid(
            caption=f"{caption}." if number == 0 else f"{caption}, continued.",
            heading=(first, *(text for part in chosen for text in part.heading)),
            rows=tuple(
                (name, *(cell for part in chosen for cell in part.rows[place])) for place, name in enumerate(names)
            ),
            over=(("", 1), *((part.over, len(part.heading)) for part in chosen)),
        )
        for number, chosen in enumerate(grids)
    ]


def with_count(name: str, captures: int, people: int = 0) -> str:
    """Return a heading that says how many captures, and people, stand behind it; no number stands alone on a line.

    Examples:
        >>> with_count("smile", 9, 3).replace("\N{NO-BREAK SPACE}", " ")
        'smile (n 9, 3 people)'
    """
    if not captures:
        return name
    who = f", {people}\N{NO-BREAK SPACE}{'person' if people == 1 else 'people'}" if people else ""
    return f"{name} (n\N{NO-BREAK SPACE}{captures}{who})"
