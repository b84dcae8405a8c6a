"""How a registered model's champion changed: every change, in a hidden tag of the model, and who was before whom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient

from hyperskin.errors import DataError

HISTORY = "mlflow.champion.history"
"""Its name begins with `mlflow.`, so that the page hides it; `describe_model` shows people the last changes."""

_LARGEST = 5000  # characters: the column of a PostgreSQL store; SQLite would take more
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Change:
    """One change of champion.

    Attributes:
        version: Who became it.
        when: The time in UTC, such as 2025-01-31T12:00:00Z.
        by: "score": it was better; "hand": a person chose it; "rollback": a person took the one after it back.
        reason: Why, in a few words.
    """

    version: str
    when: str
    by: Literal["score", "hand", "rollback"]
    reason: str


def read_history(client: MlflowClient, name: str) -> list[Change]:
    """Return the changes of a registered model's champion, oldest first; the very oldest may be forgotten.

    Raises:
        DataError: The tag holds something else.
    """
    written = client.get_registered_model(name).tags.get(HISTORY, "[]")
    try:
        return [Change(**change) for change in json.loads(written)]
    except (ValueError, TypeError) as error:
        raise DataError(
            f"The tag {HISTORY!r} of {name} must be the list that hyperskin keeps there; it cannot be read: {error}; "
            "delete the tag in MLflow to begin a new one."
        ) from None


def remember(
    client: MlflowClient, name: str, version: str, *, by: Literal["score", "hand", "rollback"], reason: str
) -> list[Change]:
    """Add a change that happens now, and return all; where the tag is full the oldest go."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    short = reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "..."
    history = [*read_history(client, name), Change(version, now, by, short)]
    while len(written := json.dumps([asdict(change) for change in history], ensure_ascii=False)) > _LARGEST:
        del history[0]
    client.set_registered_model_tag(name, HISTORY, written)
    return history


def find_predecessors(history: Sequence[Change], champion: str) -> list[str]:
    """Return the versions that were champion before `champion`, the latest first, each once.

    What was rolled back counts as never chosen, so that two rollbacks go two steps back. A champion that the history
    does not know was chosen in MLflow itself, after everything in it.
    """
    line: list[str] = []
    for change in history:
        if change.by == "rollback" and change.version in line:
            del line[len(line) - line[::-1].index(change.version) :]
        else:
            line.append(change.version)
    if champion in line:
        del line[len(line) - 1 - line[::-1].index(champion) :]
    return [version for version in dict.fromkeys(reversed(line)) if version != champion]
