"""`hyperskin demo`: from nothing to a compared, registered model on people the computer made up."""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from hyperskin.environment import child_environment, repository_root
from hyperskin.errors import ParamsError, ServiceError
from hyperskin.params import Params
from hyperskin.processes import Children, interrupted_by_signals
from hyperskin.sources.catalog import find_source

REPORTS = Path("reports")
OVERVIEW = REPORTS / "overview.png"
TABLE = REPORTS / "comparison.md"
LOG = REPORTS / "train-all.log"

_SCORED = re.compile(r"(?P<unit>\w+ on \w+): sam/")  # what a unit says last
_PREFECT = re.compile(r"^[\d:.]+ \| (?P<level>\w+) +\| [^-]+ - (?P<text>.*)$")
_OVERHEAD_S = 15.0  # start, evaluation and export of a training, two at a time on two cores
_log = logging.getLogger(__name__)

_FAREWELL = """
What you see. Each row is a model that saw 8-bit camera pictures of some people and was examined on others. SAM is the
angle between the reconstructed and the measured spectrum of a pixel in rad, SSIM compares them as pictures; "masked"
leaves the background out. The rows in italics are regressions fitted in seconds: a network earns its keep only above
them, and the lines below the table say which do not yet. These networks are small and had {seconds:g} s each.

Look at
  {overview}    test subjects: picture, measured, reconstructed, where it is wrong, spectra
  hyperskin ui            the MLflow pages; then open
{links}
Try next (after `source .venv/bin/activate`)
  train.seconds in params.yaml, then `make demo` again: longer training; the data stay, finished models are kept
  hyperskin init --profile study                 more people, larger frames and networks; an hour or two
  hyperskin init --source lumo --path FOLDER     your own Specim captures; `cave` reads public scenes
  hyperskin up, and in another terminal          the same flow as a deployment, with Prefect's pages
    prefect deployment run train-all --watch
"""


def demo() -> None:
    """Make the phantom's data, train every model on it, compare them and draw one sheet.

    What is done already is kept: a second call takes seconds. It runs what params.yaml says, as long as that is the
    phantom; `hyperskin init` puts the shipped parameters back.
    """
    root = repository_root()
    params = Params.read(root / "params.yaml")
    if not find_source(params.source.name).invented:
        raise ParamsError(
            f"The demo shows the phantom; params.yaml is set up for {params.source.name!r}: run `dvc repro` and "
            "`python -m flows.train_all` for that, or `hyperskin init --overwrite` to get the demo back."
        )
    with interrupted_by_signals():
        data_s = _timed("Data: six stages, from sensor counts to the manifest (dvc repro)", lambda: _reproduce(root))
        trained, train_s = _train(root, params)
        from hyperskin.tracking.compare import scored_pairs
        from hyperskin.tracking.store import experiment_id, prepare_store
        from hyperskin.tracking.views import page_links

        store = prepare_store(root)
        if trained or not (root / OVERVIEW).exists():
            from hyperskin.steps.overview import overview

            _heading("Picture: what the champions make of the test subjects")
            overview(root, store=store, path=root / OVERVIEW)
    sys.stdout.write(f"\n{(root / TABLE).read_text()}")
    links = page_links("http://127.0.0.1:5000", experiment_id(store), scored_pairs(store))
    width = max(map(len, links))
    sys.stdout.write(
        _FAREWELL.format(
            seconds=params.train.seconds or float("nan"),
            overview=OVERVIEW,
            links="".join(f"    {what:{width}}  {link}\n" for what, link in links.items()),
        )
    )
    sys.stdout.write(f"\nDone: data {_clock(data_s)}, training {_clock(train_s)}.\n")


def _reproduce(root: Path) -> None:
    """Run DVC in this terminal, so that the stages' bars are seen."""
    command = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    result = subprocess.run(command, cwd=root, env=child_environment(root), check=False)  # noqa: S603 - our own words
    if result.returncode != 0:
        raise ServiceError("`dvc repro` must end well, and did not; what it said stands above: mend it and try again.")


def _train(root: Path, params: Params) -> tuple[int, float]:
    """Run the flow on what is not finished; return how many models were trained, and the seconds it took."""
    from hyperskin.steps.unit import open_units

    left = open_units(root)
    if not left and (root / TABLE).exists():
        _heading("Training: every model is finished already")
        return 0, 0.0
    trainings = sum(not model.startswith("regression_") for model, _ in left)
    _heading(f"Training: {len(left)} models, {params.train.slots} at a time (the flow train-all on a temporary server)")
    _log.info("every line it says: %s", LOG)
    (root / REPORTS).mkdir(exist_ok=True, mode=0o700)
    started = time.monotonic()
    expected_s = 30.0 + -(-trainings // params.train.slots) * ((params.train.seconds or 60.0) + _OVERHEAD_S)
    children = Children(root, child_environment(root))
    with (root / LOG).open("w") as log, _bar(len(left), expected_s) as bar, children.stopped_on_error():
        children.run([sys.executable, "-m", "flows.train_all"], on_line=lambda line: _follow(line, log, bar))
    return len(left), time.monotonic() - started


def _follow(line: str, log: TextIO, bar: tqdm[Any]) -> None:
    """Keep a line; show it if a person should see it now."""
    log.write(f"{line}\n")
    log.flush()
    match = _PREFECT.match(line)
    text = match["text"] if match else line
    if match and match["level"] in {"WARNING", "ERROR", "CRITICAL"}:
        bar.write(text, file=sys.stderr)
    elif _SCORED.match(text):
        bar.write(text, file=sys.stderr)
        bar.update()


@contextlib.contextmanager
def _bar(total: int, expected_s: float) -> Iterator[tqdm[Any]]:
    """Show how many models are finished and how long the rest may take, ticking while nothing happens."""
    form = "{desc}: {n_fmt}/{total_fmt} models |{bar}| {elapsed}, {postfix}"
    started, done = time.monotonic(), threading.Event()
    with tqdm(total=total, desc="train-all", bar_format=form, disable=None, file=sys.stderr) as bar:

        def tick() -> None:
            while not done.wait(1.0):
                left_s = expected_s - (time.monotonic() - started)
                bar.set_postfix_str(f"about {_clock(left_s)} left" if left_s > 0 else "soon done")

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield bar
        finally:
            done.set()
            ticker.join()


def _timed(heading: str, work: Callable[[], None]) -> float:
    _heading(heading)
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _heading(text: str) -> None:
    _log.info("\n== %s", text)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
