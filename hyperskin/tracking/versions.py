"""Which models are registered, as a table: how good, who is champion, of which data and which code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient

from hyperskin.pairs import PAIRS
from hyperskin.tracking.answers import ask
from hyperskin.tracking.facts import PRETRAINED
from hyperskin.tracking.grid import align_table
from hyperskin.tracking.history import Change, read_history
from hyperskin.tracking.promotion import CHAMPION

_HEADINGS = ("version", "alias", "model", "size", "camera", "data", "code", "sam/masked", "age")
_WORDS = 7  # of the columns hold words, the others numbers
_AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    Attributes:
        number: Which version.
        aliases: What it is called, the champion first.
        tags: What it was registered with.
        created_ms: When.
    """

    number: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created_ms: int

    @property
    def is_champion(self) -> bool:
        """Whether it is the one to use."""
        return CHAMPION in self.aliases


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model: its versions, the newest first, and how its champion changed, the last change at the end."""

    name: str
    versions: tuple[Version, ...]
    history: tuple[Change, ...]


def read_models(uri: str) -> list[RegisteredModel]:
    """Return the registered models of our pairs, in their usual order.

    Raises:
        ServiceError: The store does not answer within seconds.
    """
    return ask(uri, lambda: _read_models(MlflowClient(uri)))


def to_text(models: Sequence[RegisteredModel], *, manifest: str | None, now_s: float | None = None) -> str:
    """Return one table for each model.

    Args:
        models: What is registered.
        manifest: Digest of the data as they are now, to tell which versions were trained on them; None where there
            are none.
        now_s: The time, for the ages; None for now.
    """
    if not models:
        return "No registered model yet: every network that is trained becomes a version of its pair's model.\n"
    now_s = time.time() if now_s is None else now_s
    parts = []
    for model in models:
        rows = [_row(version, manifest, now_s) for version in model.versions]
        parts += [f"## {model.name}", align_table([_HEADINGS, *rows], left=_WORDS), *_remarks(model, manifest)]
    return "\n\n".join(parts) + "\n"


def _read_models(client: MlflowClient) -> list[RegisteredModel]:
    found = {model.name: model for model in client.search_registered_models()}
    names = [pair.registered_name for pair in PAIRS.values() if pair.registered_name in found]
    return [
        RegisteredModel(name, _read_versions(client, found[name]), tuple(read_history(client, name))) for name in names
    ]


def _read_versions(client: MlflowClient, model: Any) -> tuple[Version, ...]:
    aliases: dict[str, list[str]] = {}
    for alias, number in sorted(model.aliases.items(), key=lambda item: item[0] != CHAMPION):
        aliases.setdefault(str(number), []).append(alias)
    versions = [
        Version(
            number=str(found.version),
            aliases=tuple(aliases.get(str(found.version), ())),
            tags=dict(found.tags),
            created_ms=int(found.creation_timestamp),
        )
        for found in client.search_model_versions(f"name = '{model.name}'")
    ]
    return tuple(sorted(versions, key=lambda version: -int(version.number)))


def _row(version: Version, manifest: str | None, now_s: float) -> list[str]:
    tags = version.tags
    return [
        version.number,
        ", ".join(version.aliases),
        tags.get("model", "-"),
        tags.get("size", "-"),
        "-" if PRETRAINED in tags else tags.get("camera", "-"),  # which it was trained on, not examined with
        _say_data(version, manifest),
        _say_code(tags),
        f"{float(tags['sam/masked']):.4f}" if "sam/masked" in tags else "-",
        _say_age(now_s - version.created_ms / 1000),
    ]


def _say_data(version: Version, manifest: str | None) -> str:
    if PRETRAINED in version.tags:
        return PRETRAINED
    if manifest is None:
        return "-"
    return "now" if version.tags.get("manifest") == manifest else "other"


def _say_code(tags: dict[str, str]) -> str:
    commit = tags.get("git.commit", "none")
    return commit[:7] + (" dirty" if tags.get("git.dirty") == "true" else "")


def _say_age(age_s: float) -> str:
    """Return an age in the largest unit that it fills."""
    unit_s, unit = next(((unit_s, unit) for unit_s, unit in _AGES if age_s >= unit_s), _AGES[-1])
    return f"{max(0, int(age_s // unit_s))} {unit}"


def _remarks(model: RegisteredModel, manifest: str | None) -> list[str]:
    """Say how the champion came to be, and whether it knows the data as they are now."""
    champion = next((version for version in model.versions if version.is_champion), None)
    if champion is None:
        return ["There is no champion."]
    last = model.history[-1] if model.history else None
    if last is None or last.version != champion.number:
        said = f"Champion: version {champion.number}, chosen in MLflow itself."
    else:
        how = {"score": "by its score", "hand": "by hand", "rollback": "by a rollback"}[last.by]
        said = f"Champion: version {champion.number}, {how} on {last.when[:10]} ({last.reason})."
    if _say_data(champion, manifest) == PRETRAINED:
        said += f" It was trained elsewhere, and came in {champion.tags[PRETRAINED]}."
    if _say_data(champion, manifest) == "other":
        said += " It was trained on other data than those in data/ now."
    return [said]
