"""A document -> Markdown, for whoever reads in a terminal or on a code forge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hyperskin.reporting.document import Bullets, Document, Drawing, Grid, Line, Photo, Section, Span, Words, text_of
from hyperskin.tracking.grid import align_table

_SPECIAL = re.compile(r"[\\`*<>\[\]|]|(?<!\w)_|_(?!\w)|^[#+-](?= )|(?<=^\d)\.(?= )")
_MARKS = {"": "{}", "strong": "**{}**", "emphasis": "*{}*", "code": "{}"}


def to_markdown(document: Document, paths: Mapping[str, str]) -> str:
    """Return the document; `paths` say where its pictures lie, by name."""
    parts = [f"# {_escape(document.title)}", *map(_line, document.lines)]
    for section in document.sections:
        parts += _section(section, 2, paths)
    return "\n\n".join(parts) + "\n"


def _section(section: Section, level: int, paths: Mapping[str, str]) -> Iterator[str]:
    yield f'<a id="{section.anchor}"></a>\n\n{"#" * level} {_escape(section.title)}'
    for block in section.blocks:
        if isinstance(block, Section):
            yield from _section(block, level + 1, paths)
        elif isinstance(block, Line):
            yield _line(block)
        elif isinstance(block, Bullets):
            yield "\n".join(f"- {_line(item)}" for item in block.lines)
        elif isinstance(block, Grid):
            yield f"{_escape(block.caption)}\n\n{_grid(block)}"
        elif isinstance(block, Drawing | Photo):
            yield f"![{_escape(block.alt)}]({paths[block.name]})\n\n{_escape(block.caption)}"


def _grid(grid: Grid) -> str:
    """Return a table; a heading over columns is repeated in each, for Markdown knows none."""
    above = [text for text, count in grid.over for _ in range(count)] or [""] * len(grid.heading)
    heading = [_escape(f"{over}: {text}" if over else text) for over, text in zip(above, grid.heading, strict=True)]
    rows = [[_cell(cell) for cell in row] for row in grid.rows]
    if grid.anchors:
        for row, anchor in zip(rows, grid.anchors, strict=True):
            row[0] = f'<a id="{anchor}"></a>{row[0]}'
    return align_table([heading, *rows], left=grid.left)


def _cell(words: Words) -> str:
    """Return the words of a cell; a bar in code, which `_escape` leaves alone, would end it."""
    text = _words(words)
    return re.sub(r"(?<!\\)\|", r"\\|", text) if isinstance(words, Span) and words.style == "code" else text


def _line(paragraph: Line) -> str:
    return "".join(map(_words, paragraph.parts))


def _words(words: Words) -> str:
    if isinstance(words, str):
        return _escape(words)
    text = _code(words.text) if words.style == "code" else _escape(text_of(words))
    text = f"[{text}](#{words.anchor})" if words.anchor else text
    return _MARKS[words.style].format(text)


def _code(text: str) -> str:
    """Return text as code, fenced by more backticks than it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    inner = f" {text} " if longest else text
    return f"{fence}{inner}{fence}"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split(" ")).replace("\n", " "))
