"""What people read about a registered model and its versions on MLflow's pages, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hyperskin.pairs import PAIRS, Pair
from hyperskin.tracking.facts import PRETRAINED
from hyperskin.tracking.history import Change

SCORES = ("sam/masked", "sam/full", "ssim/masked", "ssim/full")

_SHOWN_CHANGES = 5


def describe_model(name: str, history: Sequence[Change]) -> str:
    """Return what a model is for, and who became champion last, the newest first."""
    parts = [f"Networks that reconstruct {_say_pair(pair)}." for pair in PAIRS.values() if pair.registered_name == name]
    if history:
        rows = [
            f"| {change.version} | {change.when.replace('T', ' ').rstrip('Z')} | {change.by} | {_cell(change.reason)} |"
            for change in reversed(history[-_SHOWN_CHANGES:])
        ]
        parts.append("\n".join(["| champion | since (UTC) | by | why |", "|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def describe_version(data: Any) -> str:
    """Return one line from the data of its MLflow run, which begins with what the page's narrow column can show."""
    size = "" if data.params.get("size", "full") == "full" else f" ({data.params['size']})"
    scores = [f"{key} {data.metrics[key]:.4f}" for key in SCORES if key in data.metrics]
    file = data.tags.get(PRETRAINED)
    told = [", ".join(scores) or "not scored", f"{data.params['model']}{size}", _say_code(data.tags)]
    return "; ".join([*told[:2], *([f"trained elsewhere, from {_cell(file)}"] if file else []), *told[2:]])


def _say_code(tags: Mapping[str, str]) -> str:
    """Say which code it was, and whether anyone could have it: what was not committed is on one disk only."""
    commit = tags.get("git.commit", "none")
    if commit == "none":
        return "code not under git"
    return f"commit {commit[:7]}" + (" with uncommitted changes" if tags.get("git.dirty") == "true" else "")


def _cell(text: str) -> str:
    """Return text that stays in its cell and writes no Markdown of its own."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>()#+!|" else sign for sign in " ".join(text.split()))


def _say_pair(pair: Pair) -> str:
    centres = pair.target.wavelength_nm
    return f"{len(centres)} bands from {centres[0]:g} to {centres[-1]:g} nm from {' and '.join(pair.inputs)}"
