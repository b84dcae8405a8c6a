"""A document -> report.html with everything inside, report.md, and the pictures of the Markdown beside it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hyperskin.atomic import write_text
from hyperskin.pictures import save_figure, save_picture
from hyperskin.reporting.document import Document, Drawing
from hyperskin.reporting.html import to_html
from hyperskin.reporting.markdown import to_markdown

PAGE = "report.html"
TEXT = "report.md"
PICTURES = "report"


def write_page(document: Document, folder: Path, *, publishable: Collection[str]) -> Path:
    """Write the page and return the path of its HTML.

    Pictures of an earlier page go: whoever was shown there may have withdrawn since.

    Args:
        document: What to write.
        folder: Gets report.html, report.md and the folder report with the pictures.
        publishable: Who may be shown; asked for every picture of people.

    Raises:
        ConsentError: A picture shows somebody else; then nothing is written but pictures of those who agreed.
    """
    names: dict[str, str] = {}
    for block in document.pictures():
        names[block.name] = f"{block.name}.svg" if isinstance(block, Drawing) else f"{block.name}.png"
        path = folder / PICTURES / names[block.name]
        if isinstance(block, Drawing):
            save_figure(block.figure, path=path)
        else:
            save_picture(block.pixels, subjects=block.subjects, publishable=publishable, path=path)
    contents = {name: (file, (folder / PICTURES / file).read_bytes()) for name, file in names.items()}
    write_text(folder / TEXT, to_markdown(document, {name: f"{PICTURES}/{file}" for name, file in names.items()}))
    write_text(folder / PAGE, to_html(document, contents))
    _remove_others(folder / PICTURES, set(names.values()))
    return folder / PAGE


def _remove_others(folder: Path, kept: Collection[str]) -> None:
    for path in folder.glob("*"):
        if path.name not in kept and path.suffix in (".svg", ".png"):
            path.unlink()
