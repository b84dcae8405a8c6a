"""A document -> one HTML file that needs nothing else: style inside, pictures inside, no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import PurePath
from string import Template

from hyperskin.reporting.document import Bullets, Document, Drawing, Grid, Line, Photo, Section, Words

_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
_TAGS = {"": "{}", "strong": "<strong>{}</strong>", "emphasis": "<em>{}</em>", "code": "<code>{}</code>"}
_DEEPEST = 6


def to_html(document: Document, pictures: Mapping[str, tuple[str, bytes]]) -> str:
    """Return the document as a page; `pictures` hold the file name and content of each, by name."""
    template = Template(files("hyperskin.reporting").joinpath("page.html").read_text(encoding="utf-8"))
    body = [part for section in document.sections for part in _section(section, 2, pictures)]
    return template.substitute(
        title=escape(document.title),
        lines="\n".join(f"<p>{_line(each)}</p>" for each in document.lines),
        contents=_contents(document),
        body="\n".join(body),
    )


def _contents(document: Document) -> str:
    """Return links to the sections and to those right below them."""
    items = []
    for section in document.sections:
        below = [block for block in section.blocks if isinstance(block, Section)]
        links = "".join(f"<li>{_link(each)}</li>" for each in below)
        items.append(f"<li>{_link(section)}{f'<ul>{links}</ul>' if links else ''}</li>")
    return "\n".join(items)


def _link(section: Section) -> str:
    return f'<a href="#{escape(section.anchor)}">{escape(section.title)}</a>'


def _section(section: Section, level: int, pictures: Mapping[str, tuple[str, bytes]]) -> Iterator[str]:
    tag = f"h{min(level, _DEEPEST)}"
    anchor = escape(section.anchor)
    yield f'<section aria-labelledby="{anchor}">\n<{tag} id="{anchor}">{escape(section.title)}</{tag}>'
    for block in section.blocks:
        if isinstance(block, Section):
            yield from _section(block, level + 1, pictures)
        elif isinstance(block, Line):
            yield f"<p>{_line(block)}</p>"
        elif isinstance(block, Bullets):
            yield "<ul>\n" + "\n".join(f"<li>{_line(item)}</li>" for item in block.lines) + "\n</ul>"
        elif isinstance(block, Grid):
            yield _grid(block)
        elif isinstance(block, Drawing | Photo):
            yield _picture(block, *pictures[block.name])
    yield "</section>"


def _picture(block: Drawing | Photo, file_name: str, content: bytes) -> str:
    kind = _TYPES[PurePath(file_name).suffix]
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    image = f'<img src="{source}" alt="{escape(block.alt)}">'
    return f"<figure>\n{image}\n<figcaption>{escape(block.caption)}</figcaption>\n</figure>"


def _grid(grid: Grid) -> str:
    """Return a table with its caption; every heading says what it heads."""
    starts = _starts(grid)
    parts = [f"<table>\n<caption>{escape(grid.caption)}</caption>\n<thead>"]
    if grid.over:
        parts.append(
            f"<tr>{''.join(_over(text, count, number) for number, (text, count) in enumerate(grid.over))}</tr>"
        )
    cells = (
        f'<th scope="col"{_class(place, grid, starts)}>{_breakable(escape(text))}</th>'
        for place, text in enumerate(grid.heading)
    )
    parts.append(f"<tr>{''.join(cells)}</tr>\n</thead>\n<tbody>")
    for number, row in enumerate(grid.rows):
        anchor = f' id="{escape(grid.anchors[number])}"' if grid.anchors else ""
        first, *rest = row
        cells = (f"<td{_class(place, grid, starts)}>{_words(cell)}</td>" for place, cell in enumerate(rest, 1))
        parts.append(f'<tr{anchor}><th scope="row">{_breakable(_words(first))}</th>{"".join(cells)}</tr>')
    return "\n".join([*parts, "</tbody>\n</table>"])


def _breakable(markup: str) -> str:
    """Let a long name break behind an underscore, but in an address."""
    return "".join(
        part if part.startswith("<") else part.replace("_", "_<wbr>") for part in re.split("(<[^>]*>)", markup)
    )


def _over(text: str, count: int, number: int) -> str:
    if not text:
        return f'<td colspan="{count}"></td>'
    start = ' class="start"' if number else ""
    return f'<th scope="colgroup" colspan="{count}"{start}>{escape(text)}</th>'


def _starts(grid: Grid) -> set[int]:
    """Return the columns that begin below a heading over several, but the first."""
    places, place = set(), 0
    for _, count in grid.over:
        places.add(place)
        place += count
    return places - {0}


def _class(place: int, grid: Grid, starts: set[int]) -> str:
    names = (["number"] if place >= grid.left else []) + (["start"] if place in starts else [])
    return f' class="{" ".join(names)}"' if names else ""


def _line(paragraph: Line) -> str:
    return "".join(map(_words, paragraph.parts))


def _words(words: Words) -> str:
    if isinstance(words, str):
        return escape(words)
    text = _TAGS[words.style].format(escape(words.text))
    if words.spread:
        text += f' <span class="spread">± {escape(words.spread)}</span>'
    return f'<a href="#{escape(words.anchor)}">{text}</a>' if words.anchor else text
