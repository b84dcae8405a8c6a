"""One literal table: the name of a source -> where its class is."""

from __future__ import annotations

from importlib import import_module

from hyperskin.errors import UnknownNameError
from hyperskin.sources.source import Source

ARCHIVE = "hyperskin"
"""The released archive, the one source with test sets that others published."""

SOURCES = {
    "phantom": "hyperskin.sources.phantom:Phantom",
    "lumo": "hyperskin.sources.lumo:Lumo",
    "cave": "hyperskin.sources.cave:Cave",
    ARCHIVE: "hyperskin.sources.release:Release",
}


def find_source(name: str) -> Source:
    """Return the source called `name`, importing only its own module.

    Raises:
        UnknownNameError: There is none; the message lists those there are.
    """
    if name not in SOURCES:
        raise UnknownNameError(f"`source` must be one of {', '.join(SOURCES)}; got {name!r}.")
    module, _, maker = SOURCES[name].partition(":")
    source: Source = getattr(import_module(module), maker)()
    return source
