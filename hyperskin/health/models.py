"""Whether the champions know the data as they are now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from hyperskin.health.finding import Finding
from hyperskin.health.mlflow_server import ask_server
from hyperskin.pairs import PAIRS
from hyperskin.sqlite import rows
from hyperskin.steps.present import present_digest
from hyperskin.tracking.answers import answers
from hyperskin.tracking.store import store_address

_CHAMPIONS = """
    SELECT alias.name, alias.version, tag.value FROM registered_model_aliases AS alias
    LEFT JOIN model_version_tags AS tag
    ON tag.name = alias.name AND tag.version = alias.version AND tag.key = 'manifest'
    WHERE alias.alias = 'champion'
"""


def look(root: Path) -> Iterator[Finding]:
    """Compare the data of every champion with the manifest."""
    digest = present_digest(root)
    if digest is None:
        return
    names = {pair.registered_name: pair.name for pair in PAIRS.values()}
    for name, version, manifest in _champions(store_address(root)):
        if name in names and manifest != digest:
            what = (
                f"The champion of {names[name]} (version {version}) was trained on other data than those in data/ now; "
                "it stays champion until a person moves it."
            )
            yield Finding(
                "models", "warning", what, f"hyperskin models list  # then models promote {names[name]} VERSION"
            )


def _champions(uri: str) -> list[tuple[str, str, str | None]]:
    """Return name, version and data of every champion; those of other databases are seen in `hyperskin models list`."""
    if uri.startswith("sqlite"):
        database = Path(uri.removeprefix("sqlite:///"))
        try:
            return [(name, str(version), manifest) for name, version, manifest in rows(database, _CHAMPIONS)]
        except sqlite3.Error:
            return []  # no store yet, or another check's
    if not uri.startswith("http") or not answers(uri):
        return []
    found = []
    for pair in PAIRS.values():
        question = f"registered-models/alias?name={quote(pair.registered_name)}&alias=champion"
        version = ask_server(uri, question).get("model_version")
        if version:
            tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
            found.append((pair.registered_name, str(version["version"]), tags.get("manifest")))
    return found
