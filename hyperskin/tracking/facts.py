"""What a run says of itself: where it comes from, on what it ran, what it scored."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from hyperskin.errors import DataError

PRETRAINED = "pretrained"
"""The tag of a run and of a version that were trained elsewhere: the name of the file that the network came in."""
PRETRAINED_SHA256 = "pretrained.sha256"
"""The tag that holds the hash of that file."""

GAIN_PRIOR_SHA256 = "gain_prior.sha256"
"""The tag of a run and of its version that holds the hash of the prior by which the model is calibrated to people."""

_FLOOR = "regression_"
_TEXT_SUFFIXES = frozenset({".json", ".csv", ".txt", ".md", ".yaml", ".tex", ".diff"})
_LEADING_COLUMNS = ("sam/masked", "sam/full", "ssim/masked", "ssim/full")


@dataclass(frozen=True)
class Provenance:
    """Which data and code a result comes from, each as a digest.

    Attributes:
        unit_key: Model, pair, parameters, data and code together: equal keys are the same training.
        manifest: Every file that may be read.
        split: Which subjects train, select and test.
        evaluation: What decides whether two scores may be compared: test cubes, masks and metric. Empty for a run that
            sees no test capture.
        code: The modules that decide the weights.
        params: The parameters that decide the result.
    """

    unit_key: str
    manifest: str
    split: str
    evaluation: str
    code: str
    params: str


def is_floor(model: str) -> bool:
    """Tell whether a model is a regression, which every network must beat."""
    return model.startswith(_FLOOR)


def require_text(path: Path) -> None:
    """Raise DataError unless a file is text by its name and by its bytes."""
    if path.suffix not in _TEXT_SUFFIXES:
        raise DataError(f"Only text may be logged as a file ({', '.join(sorted(_TEXT_SUFFIXES))}); got {path.name!r}.")
    try:
        content = path.read_bytes().decode()
    except UnicodeDecodeError:
        content = "\0"
    if "\0" in content:
        raise DataError(f"Only text may be logged as a file; {path.name!r} holds other bytes than its name says.")


def to_text(value: object) -> str:
    """Return a parameter as people read it: floats as %g."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def environment_facts() -> dict[str, str]:
    """Return the tags that say on what it ran."""
    return {
        "environment.python": platform.python_version(),
        "environment.torch": version("torch"),
        "environment.mlflow": version("mlflow"),
        "environment.cpu_count": str(os.cpu_count()),
    }


def git_facts() -> dict[str, str]:
    """Say which commit the code is and, if it was edited since, the digest of the edit."""
    commit = _ask_git("rev-parse", "HEAD")
    if commit is None:
        return {"git.commit": "none"}
    difference = _ask_git("diff", "HEAD") or ""
    facts = {"git.commit": commit, "git.dirty": str(bool(_ask_git("status", "--porcelain"))).lower()}
    if difference:
        facts["git.diff"] = hashlib.sha256(difference.encode()).hexdigest()
    return facts


def describe(model: str, pair: str, size: str, origin: str = "") -> str:
    """Return the first line of a run's description, as Markdown."""
    network = ", ".join(word for word in ("network", size or "published size", origin) if word)
    kind = "the floor a network must beat" if is_floor(model) else network
    return f"**{model}** on **{pair}** ({kind})\n"


def score_table(metrics: Mapping[str, float]) -> str:
    """Return the four numbers of the benchmark as Markdown."""
    lines = ["", "| | with background | masked |", "|---|---|---|"]
    for key, label in (("ssim", "SSIM, higher is better"), ("sam", "SAM in rad, lower is better")):
        cells = [_mean_and_spread(metrics, f"{key}/{region}") for region in ("full", "masked")]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    images = metrics.get("n_images")
    return "\n".join([*lines, "", "" if images is None else f"Mean ± spread over {images:g} captures."])


def to_split_json(rows: Sequence[Mapping[str, str | float | None]]) -> str:
    """Return rows in the form that MLflow's page shows as a table; numbers that are none become null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    leading = [name for name in _LEADING_COLUMNS if name in names[1:]]
    columns = names[:1] + leading + [name for name in names[1:] if name not in leading]
    return json.dumps({"columns": columns, "data": [[_to_cell(row.get(name)) for name in columns] for row in rows]})


def _ask_git(*arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    here = Path(__file__).parent
    answer = subprocess.run([git, *arguments], cwd=here, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    return answer.stdout.strip() if answer.returncode == 0 else None


def _mean_and_spread(metrics: Mapping[str, float], key: str) -> str:
    if key not in metrics:
        return "no mask"
    spread = metrics.get(f"{key}_std")
    return f"{metrics[key]:.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def _to_cell(value: str | float | None) -> str | float | None:
    if not isinstance(value, str | int | float | None):
        raise DataError(f"A table may hold only text and numbers; got {type(value).__name__}.")
    return None if isinstance(value, float) and not math.isfinite(value) else value
