"""params.tuned.yaml: params.yaml with the best recipes of all searches that are whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from filelock import FileLock

from hyperskin.atomic import write_text
from hyperskin.data.manifest import Manifest
from hyperskin.params import Params, profile_file, with_own_recipes
from hyperskin.steps.search import Plan, plans
from hyperskin.tuning.storage import SWEEPS

PROFILE = "tuned"
_HEADER = """\
# Written by `hyperskin tune` from {origin}: the same, with the best recipes found in `by_pair`. Every search that
# ends writes it anew, so edit {origin}. To train with it: `prefect deployment run train-all --param profile=tuned`.

"""
_log = logging.getLogger(__name__)


def write_profile(root: Path, params_file: Path, params: Params, manifest: Manifest) -> Path:
    """Write the profile beside params.yaml unless it is there as it must be, and return where it is.

    It is made of params.yaml and the searches on the present data alone, and not of what it was before, so that workers
    that end together cannot undo each other's, and nothing old stays.
    """
    path = params_file.with_name(profile_file(PROFILE))
    with FileLock(root / SWEEPS / ".profile.lock"):
        recipes = best_recipes(root, plans(params, manifest))
        text = with_own_recipes(params_file.read_text(encoding="utf-8"), recipes, origin=str(params_file))
        text = _HEADER.format(origin=params_file.name) + text
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            count = sum(map(len, recipes.values()))
            _log.info("%s: recipes that beat those of %s: %d", path.name, params_file.name, count)
    return path


def best_recipes(root: Path, searches: list[Plan]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return by network and pair the recipes that beat those of params.yaml, of searches that came to an end."""
    from hyperskin.tuning.storage import study_names

    known = study_names(root)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for plan in searches:
        if plan.name not in known:
            continue
        search = plan.open(root)
        best = search.best()
        if search.was_concluded() and best is not None and search.is_beaten():
            found.setdefault(plan.unit.model, {})[plan.unit.pair.name] = best.recipe
    return found
