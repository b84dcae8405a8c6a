"""`hyperskin VERB`: registers the verbs, sets up logging, turns errors into exit codes."""

from __future__ import annotations

import atexit
import difflib
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Never

from cyclopts import App, CycloptsError, Group, Parameter

import hyperskin
from hyperskin.environment import apply_closed_settings, repository_root
from hyperskin.errors import HyperSkinError, MissingFileError

_PEOPLE = Group.create_ordered("What people type")
_STAGES = Group.create_ordered("What `dvc repro` and the flows run")

_VERBS = (
    ("init", "hyperskin.commands.init:init", _PEOPLE, "Choose where captures come from, and how big."),
    ("demo", "hyperskin.commands.demo:demo", _PEOPLE, "Everything on made-up people: data, training, table, picture."),
    ("up", "hyperskin.commands.up:up", _PEOPLE, "Start the Prefect server and serve the deployments."),
    ("train", "hyperskin.steps.train:train", _PEOPLE, "Train one model on one pair, evaluate, log and register it."),
    ("compare", "hyperskin.commands.compare:compare", _PEOPLE, "Print the table; write it as Markdown, CSV, LaTeX."),
    ("report", "hyperskin.commands.report:report", _PEOPLE, "Write one page about all finished runs, to hand on."),
    ("study", "hyperskin.commands.study:study", _PEOPLE, "What seeds, light and cost say of the models."),
    ("skin-maps", "hyperskin.commands.skin_maps:skin_maps", _PEOPLE, "Melanin, blood, oxygen, water of a face."),
    ("predict", "hyperskin.commands.predict:predict", _PEOPLE, "The spectra that a model sees behind a photo."),
    ("sync", "hyperskin.commands.sync:sync", _PEOPLE, "Bring to MLflow what it missed while it was away."),
    ("ui", "hyperskin.commands.ui:ui", _PEOPLE, "Open the MLflow pages: runs, charts, comparison, registry."),
    ("doctor", "hyperskin.commands.doctor:doctor", _PEOPLE, "Say all that is wrong here; --fix mends what is safe."),
    ("models list", "hyperskin.commands.models:list_models", _PEOPLE, "Every version: scores, data, code, champion."),
    ("models promote", "hyperskin.commands.models:promote", _PEOPLE, "Make a version the champion by hand."),
    ("models rollback", "hyperskin.commands.models:rollback", _PEOPLE, "Make the champion before this one champion."),
    ("models import", "hyperskin.steps.import_model:import_model", _PEOPLE, "Examine a network trained elsewhere."),
    ("models export", "hyperskin.commands.models:export", _PEOPLE, "Write a version's weights to a file."),
    ("acquire", "hyperskin.steps.acquire:acquire", _STAGES, "Bring the originals into data/raw; draw the phantom."),
    ("calibrate", "hyperskin.steps.calibrate:calibrate", _STAGES, "Counts to reflectance, on 31 + 31 bands."),
    ("render", "hyperskin.steps.render:render", _STAGES, "What consumer cameras would have stored."),
    ("mask", "hyperskin.steps.mask:mask", _STAGES, "Face and neck, without hair, clothes and wall."),
    ("split", "hyperskin.steps.split:split", _STAGES, "Subjects to train, valid and test."),
    ("manifest", "hyperskin.steps.manifest:manifest", _STAGES, "Every file with hash, shape and quality."),
    ("tune", "hyperskin.steps.tune:tune", _STAGES, "Search the best recipe of a network on one pair."),
    ("cost", "hyperskin.steps.cost:cost", _STAGES, "Measure what one frame costs a model."),
    ("prepare", "hyperskin.steps.prepare:prepare", _STAGES, "Check the data and create the MLflow database."),
)  # fmt: skip
_log = logging.getLogger(__name__)
_GROUPS = {"models": "Registered models: list, choose the champion, take it back, bring one in from elsewhere."}


def make_app(tokens: Sequence[str]) -> App:
    """Return the command line; every verb but the one asked for is known by name and one line, and not imported."""
    app = App(
        name="hyperskin",
        version=hyperskin.__version__,
        help=(
            "Reconstruct facial skin spectra from RGB, from raw counts to a compared, registered model.\n\n"
            "The way from nothing to a table: `hyperskin init` (people made by the computer; `--help` names other "
            "sources), `dvc repro`, `hyperskin up` in one terminal, `prefect deployment run train-all` in another, "
            "then `hyperskin compare` and `hyperskin ui`. `make demo` does all of it."
        ),
        default_parameter=Parameter(  # --test p002 p035
            consume_multiple=True, negative_iterable=(), show_default=_tell_default
        ),
        suppress_keyboard_interrupt=False,  # `main` says that it was stopped
    )
    groups: dict[str, App] = {}
    for place, (verb, where, group, line) in enumerate(_VERBS):
        *above, name = verb.split()
        is_asked = verb.split() == list(tokens[: 1 + len(above)])
        if above and above[0] not in groups:
            groups[above[0]] = App(name=above[0], group=group, sort_key=place, help=_GROUPS[above[0]])
            app.command(groups[above[0]])
        home, panel = (groups[above[0]], None) if above else (app, group)
        home.command(where, name=name, group=panel, sort_key=place, help=None if is_asked else line)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb.

    Exit code 0: done; 1: refused, in one sentence on stderr; 2: wrong usage; 130: stopped by Ctrl-C; 143: by SIGTERM.
    """
    try:
        _run(arguments)
    except SystemExit as end:
        _leave_couriers(end.code if isinstance(end.code, int) else 0)
        raise
    _leave_couriers(0)


def _run(arguments: Sequence[str] | None) -> None:
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    verb = tokens[0] if tokens else None
    _refuse_unknown_verb(verb)
    apply_closed_settings(_home())
    atexit.register(gc.freeze)  # else the end of a process looks for garbage in all of torch and MLflow, for a second
    _set_up_logging()
    try:
        _load(tokens)
        make_app(tokens)(tokens, exit_on_error=False)
    except CycloptsError:
        sys.exit(2)
    except HyperSkinError as error:
        sys.stderr.write(f"hyperskin: {error}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # no permission, no room, a path that is a folder: the file's name says enough
        what = f"{error.filename} cannot be used: {error.strerror}." if error.filename else f"{error}."
        sys.stderr.write(f"hyperskin: {what}\n")
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        _end_as_asked(interrupt)
    except Exception as error:  # a library that is interrupted in the middle may answer with an error of its own
        if asked := _find_interrupt(error):
            _end_as_asked(asked)
        raise
    finally:
        _tell_kept()


def _load(tokens: Sequence[str]) -> None:
    """Load the module of the verb, while whoever asks this process to end ends it at once: nothing is begun."""
    from hyperskin.processes import ended_by_signals

    for verb, where, *_ in _VERBS:
        words = verb.split()
        if words == list(tokens[: len(words)]):
            with ended_by_signals():
                importlib.import_module(where.partition(":")[0])


def _end_as_asked(interrupt: KeyboardInterrupt) -> Never:
    sys.stderr.write("hyperskin: stopped.\n")
    number = next((number for number in interrupt.args if isinstance(number, int)), signal.SIGINT)
    sys.exit(128 + number)


def _find_interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interruption that an error came of, if it came of one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _tell_kept() -> None:
    """Say once, after all else, what MLflow does not have of what this command made."""
    courier = sys.modules.get("hyperskin.tracking.courier")
    if courier is not None and (said := courier.say_kept()):
        _log.warning("%s", said)


def _leave_couriers(code: int) -> None:
    """End at once where a thread still waits for MLflow, or makes a file of a network.

    Python would abort when it stops a thread that is deep in torch, and wait for threads that MLflow loads files with.
    """
    courier = sys.modules.get("hyperskin.tracking.courier")
    if courier is not None and courier.is_any_at_work():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _home() -> Path:
    """Return where caches and Prefect's files go: the repository we are in, else this folder."""
    try:
        return repository_root()
    except MissingFileError:
        return Path.cwd()


def _tell_default(value: object) -> str | None:
    """Return a default for the help; an empty one tells nobody anything."""
    return str(value) if value not in (None, "", (), False) else None


def _refuse_unknown_verb(verb: str | None) -> None:
    known = list(dict.fromkeys(words.split()[0] for words, *_ in _VERBS))
    if verb is None or verb.startswith("-") or verb in known:
        return
    near = difflib.get_close_matches(verb, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    sys.stderr.write(f"hyperskin: there is no verb {verb!r}; {hint}\n")
    sys.exit(2)


def _set_up_logging() -> None:
    """Send our own INFO and everyone's warnings to stderr, past any progress bar."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hyperskin").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
