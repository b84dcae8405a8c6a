"""What a page is made of, whatever it is written as: sections of lines, lists, grids and pictures; all text is data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

Style = Literal["", "strong", "emphasis", "code"]


@dataclass(frozen=True)
class Span:
    """Words of one style.

    Attributes:
        text: The words, as they are; whoever writes them escapes them.
        spread: What stands behind ±, in smaller print; empty for none.
        style: How they look.
        anchor: The anchor of this page that they lead to; empty for none.
    """

    text: str
    spread: str = ""
    style: Style = ""
    anchor: str = ""


Words = str | Span


@dataclass(frozen=True)
class Line:
    """A paragraph."""

    parts: tuple[Words, ...]


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Grid:
    """A table whose first column names its rows.

    Attributes:
        caption: What it shows, whole enough to be read alone.
        heading: One heading for every column.
        rows: Cells, as many as headings.
        over: Headings over several columns, each with how many; together as many as there are columns. Empty for none.
        left: So many columns hold words, the others numbers.
        anchors: One anchor for every row, where rows are led to; empty for none.
    """

    caption: str
    heading: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]
    over: tuple[tuple[str, int], ...] = ()
    left: int = 1
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Drawing:
    """Curves, which show nobody: a figure, what it shows for whoever cannot see it, and a caption."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture of people: pixels (H, W, 3) uint8, everyone in it, a description and a caption."""

    name: str
    pixels: npt.NDArray[np.uint8]
    subjects: tuple[str, ...]
    alt: str
    caption: str


@dataclass(frozen=True, eq=False)
class Section:
    """A heading with an anchor, and what stands below it."""

    title: str
    anchor: str
    blocks: tuple[Any, ...]  # Line, Bullets, Grid, Drawing, Photo or Section


@dataclass(frozen=True, eq=False)
class Document:
    """The page: its title, the lines below it, and its sections."""

    title: str
    lines: tuple[Line, ...]
    sections: tuple[Section, ...]

    def pictures(self) -> Iterator[Drawing | Photo]:
        """Yield every picture, in order."""
        for section in self.sections:
            yield from _pictures(section)


def line(*parts: Words) -> Line:
    """Return a paragraph."""
    return Line(parts)


def said(sentence: str) -> Line:
    """Return a sentence of ours as a paragraph; what stands between backticks is code.

    Examples:
        >>> [text_of(part) for part in said("Run `dvc repro` now.").parts]
        ['Run ', 'dvc repro', ' now.']
    """
    pieces = sentence.split("`")
    if len(pieces) % 2 == 0:
        return line(sentence)
    return line(*(Span(text, style="code") if place % 2 else text for place, text in enumerate(pieces) if text))


def bullets(*lines: Line) -> Bullets:
    """Return a list."""
    return Bullets(lines)


def text_of(words: Words) -> str:
    """Return words as plain text."""
    if isinstance(words, str):
        return words
    return f"{words.text} ± {words.spread}" if words.spread else words.text


def _pictures(section: Section) -> Iterator[Drawing | Photo]:
    for block in section.blocks:
        if isinstance(block, Drawing | Photo):
            yield block
        elif isinstance(block, Section):
            yield from _pictures(block)
