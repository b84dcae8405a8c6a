"""Whose pictures may leave the data folders."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hyperskin.sources.catalog import find_source


def publishable_subjects(source: str, subjects: Iterable[str], listed: Collection[str]) -> frozenset[str]:
    """Return the subjects whose pictures may be shown: everyone where the source invents people, else those listed.

    It follows from the source, not from a list of invented names: p001 of the phantom and p001 of a recorder are two.

    Args:
        source: Where the data come from, as their manifest says.
        subjects: Everyone in the data.
        listed: `privacy.publishable_subjects`.

    Raises:
        UnknownNameError: There is no such source.
    """
    return frozenset(subjects) if find_source(source).invented else frozenset(listed)
