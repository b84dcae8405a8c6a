"""Who is champion: by a better score on the same test set, by a person's word, or the one before."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient

from hyperskin.errors import UnknownNameError, VersionError
from hyperskin.tracking.facts import PRETRAINED
from hyperskin.tracking.history import find_predecessors, read_history, remember
from hyperskin.tracking.notes import describe_model
from hyperskin.tracking.paired import PREFIX, TEST_CAMERA, Comparison, compare_subjects, differing_camera

CHAMPION = "champion"
CHAMPION_CAMERA = "champion_camera"
"""Tag of a version: the camera with whose pictures a champion is examined."""

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Promotion:
    """Whether a version is the champion now, and the sentence that says why."""

    is_champion: bool
    reason: str


def promote(uri: str, name: str, version: str) -> Promotion:
    """Call a version champion if its SAM is lower than the champion's on the same test set, seen by the same camera.

    Masked SAM decides; where the test set has no masks, SAM over everything. How the two compare subject by subject is
    told, and kept in the version's tags; it decides nothing, since a demo's three subjects could never convince. What
    a person took back does not return by its score. A network that was trained elsewhere is never champion by its
    score: it may have seen the very people that it is examined on. Where models are trained on several cameras, those
    that are examined with another camera's pictures than the first training's do not compete.

    Args:
        uri: Address of the store.
        name: Name of the registered model.
        version: The challenger.
    """
    client = MlflowClient(uri)
    challenger = client.get_model_version(name, version)
    if PRETRAINED in challenger.tags:
        return Promotion(
            False,
            f"Version {version} was trained elsewhere, perhaps on the people that it is examined on, so no score makes "
            f"it the champion; `hyperskin models promote {name} {version}` does.",
        )
    key = _deciding_key(challenger)
    if not math.isfinite(_score(challenger, key)):
        return Promotion(False, f"Version {version} of {name} has no {key}, so it cannot be the champion.")
    if refusal := _refuse_camera(challenger):
        return Promotion(False, refusal)
    with _one_at_a_time(uri):
        while (decided := _decide(client, challenger, find_champion(client, name), key)) is None:
            pass  # another one became champion while these two were compared
        return decided


def promote_by_hand(uri: str, name: str, version: str, *, because: str = "") -> Promotion:
    """Call a version champion because a person says so, on whichever test set it was scored.

    Raises:
        UnknownNameError: There is no such version.
        VersionError: Its file is not the one that was registered.
        MissingFileError: Its file is gone.
    """
    from hyperskin.tracking.stored import require_intact

    client = MlflowClient(uri)
    challenger = find_version(client, name, version)
    require_intact(uri, challenger)
    with _one_at_a_time(uri):
        champion = find_champion(client, name)
        if champion is not None and champion.version == challenger.version:
            return Promotion(True, f"Version {version} of {name} is the champion already.")
        told = because.strip().rstrip(".") or "no reason given"
        _crown(client, challenger, by="hand", reason=told)
        if champion is None:
            return Promotion(True, f"Version {version} of {name} is the champion, by hand ({told}); there was none.")
        comparison = _compare(client, challenger, champion, _deciding_key(challenger))
        return Promotion(
            True,
            f"Version {version} of {name} is the champion, by hand ({told}); version {champion.version} was; "
            f"{comparison.say()}.",
        )


def roll_back(uri: str, name: str) -> Promotion:
    """Call the version champion that was it before the present one.

    Raises:
        VersionError: There was none before, or the file of the one before is not the one that was registered.
        MissingFileError: Its file is gone.
    """
    from hyperskin.tracking.stored import require_intact

    client = MlflowClient(uri)
    require_model(client, name)
    with _one_at_a_time(uri):
        champion = find_champion(client, name)
        present = _number(champion)
        there = {str(found.version): found for found in client.search_model_versions(f"name = '{name}'")}
        before = [version for version in find_predecessors(read_history(client, name), present) if version in there]
        if not before:
            raise VersionError(
                f"A champion must have been before the present one to roll back to it; of {name} none is known: choose "
                f"a version with `hyperskin models promote {name} VERSION`."
            )
        require_intact(uri, there[before[0]])
        told = f"version {present} taken back" if present else "there was none"
        _crown(client, there[before[0]], by="rollback", reason=told)
        return Promotion(True, f"Version {before[0]} of {name} is the champion again; {told}.")


def find_champion(client: MlflowClient, name: str) -> Any | None:
    """Return the version called champion, or None."""
    number = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if number is None else client.get_model_version(name, number)


def _decide(client: MlflowClient, challenger: Any, champion: Any | None, key: str) -> Promotion | None:
    """Crown the challenger or say why not; None where the champion is another one by now."""
    name, version = challenger.name, challenger.version
    told = f"{key} {_score(challenger, key):.4f}"
    if champion is None:
        told = f"{told}, there was none"
    elif champion.version == version:
        return Promotion(True, f"Version {version} of {name} is the champion already.")
    else:
        comparison = _compare(client, challenger, champion, key)
        if refusal := _refuse(client, challenger, champion, key, comparison):
            return Promotion(False, refusal)
        told = f"{told}, {_score(champion, key):.4f} before; {comparison.say()}"
    if _number(find_champion(client, name)) != _number(champion):
        return None
    _crown(client, challenger, by="score", reason=told)
    return Promotion(True, f"Version {version} of {name} is the champion: {told}.")


def _crown(client: MlflowClient, version: Any, **change: Any) -> None:
    """Write the change down, then make it: whoever stops between the two leaves a champion that can be rolled back."""
    history = remember(client, version.name, str(version.version), **change)
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    client.update_registered_model(version.name, describe_model(version.name, history))


def _compare(client: MlflowClient, challenger: Any, champion: Any, key: str) -> Comparison:
    """Compare the two by subject and keep what came out with the challenger, in place of any comparison before."""
    comparison = compare_subjects(client, challenger, champion, key)
    tags = comparison.tags()
    for tag in [tag for tag in challenger.tags if tag.startswith(PREFIX) and tag not in tags]:
        client.delete_model_version_tag(challenger.name, challenger.version, tag)
    for tag, value in tags.items():
        client.set_model_version_tag(challenger.name, challenger.version, tag, value)
    return comparison


def _refuse(client: MlflowClient, challenger: Any, champion: Any, key: str, comparison: Comparison) -> str:
    """Return why the challenger does not replace the champion; empty if it does."""
    version, by_hand = challenger.version, f"`hyperskin models promote {challenger.name} {challenger.version}`"
    if challenger.tags["evaluation"] != champion.tags.get("evaluation"):
        return (
            f"Version {version} and the champion, version {champion.version}, were scored on different test sets, so "
            f"neither is better; {by_hand} makes it the champion all the same."
        )
    if (other := differing_camera(challenger, champion)) is not None:
        return (
            f"Version {version} and the champion, version {champion.version}, were examined with pictures of different "
            f"cameras ({other[0]}, {other[1]}), so neither is better; {by_hand} makes it the champion all the same."
        )
    score, best = _score(challenger, key), _score(champion, key)
    if not score < best and math.isfinite(best):
        return (
            f"Version {version} has {key} {score:.4f}, not below the {best:.4f} of the champion, version "
            f"{champion.version} ({champion.tags['model']}); {comparison.say()}."
        )
    if any(change.version == str(version) for change in read_history(client, challenger.name)):
        return f"Version {version} was the champion and a person replaced it; only {by_hand} brings it back."
    return ""


def _refuse_camera(challenger: Any) -> str:
    """Return why a version does not compete, whoever is champion; empty where it does."""
    examined, competing = challenger.tags.get(TEST_CAMERA), challenger.tags.get(CHAMPION_CAMERA)
    if examined == competing:
        return ""
    return (
        f"Version {challenger.version} of {challenger.name} was examined with pictures of {examined}, and champions "
        f"are with those of {competing}, the first in `train.cameras`; `hyperskin models promote {challenger.name} "
        f"{challenger.version}` makes it the champion all the same."
    )


def _deciding_key(version: Any) -> str:
    return "sam/masked" if "sam/masked" in version.tags else "sam/full"


def _number(version: Any | None) -> str:
    return "" if version is None else str(version.version)


def _score(version: Any, key: str) -> float:
    return float(version.tags.get(key, "nan"))


def find_version(client: MlflowClient, name: str, version: str) -> Any:
    """Return a version of a registered model.

    Raises:
        UnknownNameError: There is no such model or version.
    """
    require_model(client, name)
    known = {str(found.version): found for found in client.search_model_versions(f"name = '{name}'")}
    if version not in known:
        raise UnknownNameError(
            f"`version` must be one of {name}'s, {', '.join(sorted(known, key=int))}; got {version!r}."
        )
    return known[version]


def require_model(client: MlflowClient, name: str) -> None:
    """Raise UnknownNameError unless there is such a registered model."""
    known = [model.name for model in client.search_registered_models()]
    if name not in known:
        raise UnknownNameError(
            f"`name` must be a registered model, one of {', '.join(known) or 'none yet'}; got {name!r}."
        )


@contextlib.contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Let no two trainings read the champion and then replace it; trainings that end together would.

    A store behind a server has no lock to take; there two that end in the same hundredth of a second may.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    with FileLock(Path(uri.removeprefix(_SQLITE)).with_name(".champion.lock")):
        yield
