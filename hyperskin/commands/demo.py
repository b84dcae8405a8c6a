"""`hyperskin demo`: from nothing to a compared, registered model on people the computer made up."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from hyperskin.atomic import write_text
from hyperskin.environment import child_environment, repository_root
from hyperskin.errors import ParamsError, ServiceError
from hyperskin.params import Params
from hyperskin.processes import FLOW_PATIENCE_S, Children, deaf_to_signals, interrupted_by_signals, start, stop
from hyperskin.sources.catalog import find_source

REPORTS = Path("reports")
OVERVIEW = REPORTS / "overview.png"
TABLE = REPORTS / "comparison.md"
PAGE = REPORTS / "report.html"
LOG = REPORTS / "train-all.log"
MADE_FROM = REPORTS / ".demo"  # hash of the work that table and sheet show

_SCORED = re.compile(r"\w+ on \w+(, camera [\w +]+)?: sam/")  # what a unit says last
_PREFECT = re.compile(r"[\d:.]+ \| (?P<level>\w+) +\| (?:Flow|Task) run '[^']*' - (?P<text>.*)")
_STATES = ("Task run failed with exception", "Finished in state")  # the sentence behind them comes at the end
_LOUD = {"WARNING", "ERROR", "CRITICAL"}
_OVERHEAD_S = 15.0  # start, evaluation and export of a training, two at a time on two cores
_START_UP_S = 30.0
_log = logging.getLogger(__name__)

_FAREWELL = """
What you see. Each row is a model that saw 8-bit camera pictures of some people and was examined on others. SAM is the
angle between the reconstructed and the measured spectrum of a pixel in rad, SSIM compares them as pictures; "masked"
counts face and neck alone, without hair, clothes and wall. The rows in italics are regressions fitted in seconds: a
network earns its keep only above them, and the lines below a table say which do not. {effort}

Look at
  {page}     all of this and more on one page: intervals, bands, groups, data, where each number comes from
{sheet}  hyperskin ui            the MLflow pages; then open
{links}
Try next (after `source .venv/bin/activate`)
  train.seconds in params.yaml, then `make demo` again: longer training; the data stay, finished models are kept
  hyperskin init --profile study --overwrite     more people, larger frames and networks; an hour or two
  hyperskin init --source lumo --path FOLDER     your own Specim captures; `cave` reads public scenes
  hyperskin up, and in another terminal          the same flow as a deployment, with Prefect's pages
    prefect deployment run train-all --watch

Done: data {data}, training {training}.
"""


def demo() -> None:
    """Make the phantom's data, train every model on it, compare them and draw one sheet.

    What is done already is kept: a second call takes seconds. It runs what params.yaml says, as long as that is the
    phantom; `hyperskin init --overwrite` puts the shipped parameters back.
    """
    root = repository_root()
    params = Params.read(root / "params.yaml")
    if not find_source(params.source.name).invented:
        raise ParamsError(
            f"The demo shows the phantom; params.yaml is set up for {params.source.name!r}: run `dvc repro` and "
            "`python -m flows.train_all` for that, or `hyperskin init --overwrite` to get the demo back."
        )
    with interrupted_by_signals("stopping; what is finished is kept ..."):
        data_s = _timed(lambda: _reproduce(root))
        train_s = _timed(lambda: _train(root, params))
        store = _report(root)
    sys.stdout.write(f"\n{(root / TABLE).read_text()}")
    sys.stdout.write(_farewell(root, params, store, data_s, train_s))


def _reproduce(root: Path) -> None:
    """Run DVC in this terminal, so that the stages' bars and DVC's errors are seen; it ends with us, however we end."""
    _heading("Data: six stages, from sensor counts to the manifest (dvc repro)")
    command = [sys.executable, "-m", "dvc", "repro"]
    process = start(command, folder=root, environment=child_environment(root), in_sight=True)
    try:
        returncode = process.wait()
    except BaseException:
        with deaf_to_signals():
            stop(process)
        raise
    if returncode != 0:
        raise ServiceError("`dvc repro` must end well, and did not; what it said stands above: mend it and try again.")


def _train(root: Path, params: Params) -> None:
    """Run the flow on what is not finished."""
    from hyperskin.steps.finished import open_units
    from hyperskin.steps.unit import is_regression

    left = open_units(root)
    if not left:
        _heading("Training: every model is finished already")
        return
    models = "1 model" if len(left) == 1 else f"{len(left)} models"
    _heading(f"Training: {models}, {params.train.slots} at a time (the flow train-all on a temporary server)")
    _log.info("every line it says: %s", LOG)
    networks = sum(not is_regression(model) for model, *_ in left)
    expected_s = _expect(networks, params.train.slots, params.train.seconds)
    children = Children(root, child_environment(root), patience_s=FLOW_PATIENCE_S)
    (root / REPORTS).mkdir(exist_ok=True, mode=0o700)
    with (root / LOG).open("w") as log, _bar(len(left), expected_s) as bar, children.stopped_on_error():
        children.run([sys.executable, "-m", "flows.train_all"], on_line=lambda line: _follow(line, log, bar))


def _report(root: Path) -> str:
    """Write table, sheet and page unless they show the present work already; return the store's address."""
    from hyperskin.steps.unit import work_digest
    from hyperskin.tracking.store import prepare_store

    store = prepare_store(root)
    digest = work_digest(root)
    mark = root / MADE_FROM
    if mark.is_file() and mark.read_text().strip() == digest and (root / TABLE).is_file() and (root / PAGE).is_file():
        return store
    _heading("Report: the table, a page, and what the champions make of the test subjects")
    from hyperskin.commands.report import write_report
    from hyperskin.steps.overview import overview
    from hyperskin.steps.present import present_evaluations
    from hyperskin.tracking.compare import write_comparison

    mark.unlink(missing_ok=True)
    write_comparison(store, root / REPORTS, present=present_evaluations(root))
    if overview(root, store=store, path=root / OVERVIEW) is None:
        (root / OVERVIEW).unlink(missing_ok=True)
    write_report(root, root / REPORTS)
    write_text(mark, f"{digest}\n")
    return store


def _farewell(root: Path, params: Params, store: str, data_s: float, train_s: float) -> str:
    from hyperskin.tracking.compare import scored_pairs
    from hyperskin.tracking.store import experiment_id
    from hyperskin.tracking.views import page_links

    links = page_links("http://127.0.0.1:5000", experiment_id(store), scored_pairs(store))
    width = max(map(len, links))
    seconds, epochs = params.train.seconds, params.train.epochs
    effort = " and ".join(
        ([f"{seconds:g} s"] if seconds is not None else [])
        + ([f"{epochs} epoch{'' if epochs == 1 else 's'}"] if epochs is not None else [])
    )
    sheet = f"  {OVERVIEW}    test subjects: picture, measured, reconstructed, where it is wrong, spectra\n"
    return _FAREWELL.format(
        effort=f"Each network had at most {effort}.",
        page=PAGE,
        sheet=sheet if (root / OVERVIEW).exists() else "",
        links="".join(f"    {what:{width}}  {link}\n" for what, link in links.items()),
        data=_clock(data_s),
        training=_clock(train_s),
    )


def _expect(networks: int, slots: int, seconds: float | None) -> float | None:
    """Return how long the flow may take, in seconds; None where the trainings are not limited by time."""
    return None if seconds is None else _START_UP_S + -(-networks // slots) * (seconds + _OVERHEAD_S)


def _follow(line: str, log: TextIO, bar: tqdm[Any]) -> None:
    """Keep a line; show it if a person should see it now."""
    log.write(f"{line}\n")
    log.flush()
    match = _PREFECT.match(line)
    text = match["text"] if match else line
    if _SCORED.match(text):
        bar.write(text, file=sys.stderr)
        bar.update()
    elif match and match["level"] in _LOUD and not text.startswith(_STATES):
        bar.write(text, file=sys.stderr)


@contextlib.contextmanager
def _bar(total: int, expected_s: float | None) -> Iterator[tqdm[Any]]:
    """Show how many models are finished and how long the rest may take, ticking while nothing happens."""
    form = "{desc}: {n_fmt}/{total_fmt} models |{bar}| {elapsed}{postfix}"
    started, done = time.monotonic(), threading.Event()
    with tqdm(total=total, desc="train-all", bar_format=form, disable=None, file=sys.stderr) as bar:

        def tick() -> None:
            while not done.wait(1.0):
                left_s = None if expected_s is None else expected_s - (time.monotonic() - started)
                bar.set_postfix_str("" if left_s is None else _say_left(left_s))

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield bar
        finally:
            done.set()
            ticker.join()


def _say_left(seconds: float) -> str:
    return f"about {_clock(seconds)} left" if seconds > 0 else "soon done"


def _timed(work: Callable[[], None]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _heading(text: str) -> None:
    _log.info("\n== %s", text)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
