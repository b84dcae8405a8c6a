"""`hyperskin VERB`: registers the verbs, sets up logging, turns errors into exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, Group

import hyperskin
from hyperskin.environment import apply_closed_settings
from hyperskin.errors import HyperSkinError

_PEOPLE = Group.create_ordered("What people type")
_STAGES = Group.create_ordered("What `dvc repro` and the flows run")

app = App(
    name="hyperskin",
    version=hyperskin.__version__,
    help=(
        "Reconstruct facial skin spectra from RGB, from raw counts to a compared, registered model.\n\n"
        "The way from nothing to a table: `hyperskin init --source cave --path FOLDER`, `dvc repro`, `hyperskin up` "
        "in one terminal, `prefect deployment run train-all` in another, then `hyperskin compare` and `hyperskin ui`."
    ),
)

_VERBS = (
    ("init", "hyperskin.commands.init:init", _PEOPLE, "Choose a source and a profile: writes params.yaml and lists the subjects."),
    ("up", "hyperskin.commands.up:up", _PEOPLE, "Start the Prefect server and serve the deployments."),
    ("train", "hyperskin.steps.train:train", _PEOPLE, "Train one model on one pair, evaluate, log and register it."),
    ("compare", "hyperskin.commands.compare:compare", _PEOPLE, "Print the comparison table; write it as Markdown, CSV and LaTeX."),
    ("ui", "hyperskin.commands.ui:ui", _PEOPLE, "Open the MLflow pages: runs, charts, comparison, registry."),
    ("acquire", "hyperskin.steps.acquire:acquire", _STAGES, "Bring the originals into data/raw."),
    ("calibrate", "hyperskin.steps.calibrate:calibrate", _STAGES, "Counts to reflectance, on 31 + 31 bands."),
    ("render", "hyperskin.steps.render:render", _STAGES, "What consumer cameras would have stored."),
    ("mask", "hyperskin.steps.mask:mask", _STAGES, "Subject against background."),
    ("split", "hyperskin.steps.split:split", _STAGES, "Subjects to train, valid and test."),
    ("manifest", "hyperskin.steps.manifest:manifest", _STAGES, "Every file with hash, shape and quality."),
    ("prepare", "hyperskin.steps.prepare:prepare", _STAGES, "Check the data and create the MLflow database."),
)  # fmt: skip

for _name, _where, _group, _help in _VERBS:
    app.command(_where, name=_name, group=_group, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb; a refusal is one sentence on stderr and exit code 1."""
    apply_closed_settings(Path.cwd())
    _set_up_logging()
    try:
        app(arguments)
    except HyperSkinError as error:
        sys.stderr.write(f"hyperskin: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("hyperskin: stopped.\n")
        sys.exit(130)


def _set_up_logging() -> None:
    """Send our own INFO and everyone's warnings to stderr, past any progress bar."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hyperskin").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
