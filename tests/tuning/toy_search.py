"""A worker of a search whose trials take moments: run with the repository, the search's name, the total and a number.

It notes in a file of its own what it begins, and what it was told that the database has.
"""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from hyperskin.errors import HyperSkinError
from hyperskin.tuning import study
from hyperskin.tuning.space import Space
from hyperskin.tuning.study import Search
from hyperskin.tuning.trial import Trial

SPACE = Space(learning_rate=(1e-4, 1e-2))
DEFAULT = {"learning_rate": 1e-3, "batch_size": 2, "loss": "l1"}


def open_search(root: Path, name: str = "toy", beat_s: int = 1, grace_s: int = 3) -> Search:
    return Search.open(root, name, space=SPACE, default=DEFAULT, beat_s=beat_s, grace_s=grace_s)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _note(notes: TextIO, trial: Trial) -> None:
    notes.write(f"told {trial.number}\n")


def main() -> None:
    root, name, total, worker, seconds = (
        Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]),
    )  # fmt: skip
    if "ELSEWHERE" in os.environ:  # as seen from another machine, which cannot look for our process
        study.identity = lambda: f"not-{platform.node()}:{os.getpid()}:0"
    notes = (root / f"notes.{os.getpid()}").open("a", buffering=1)
    try:
        work(root, name, total, worker, seconds, notes)
    except HyperSkinError as error:
        notes.write(f"refused {type(error).__name__}\n")
        sys.exit(1)
    notes.write("end\n")


def work(root: Path, name: str, total: int, worker: int, seconds: float, notes: TextIO) -> None:
    search = open_search(root, name)
    search.choose(pruner="none", total=total, seed=1, worker=worker)

    def objective(trial: Trial) -> float:
        notes.write(f"begin {trial.number} {trial.recipe['learning_rate']}\n")
        value = abs(trial.recipe["learning_rate"] - 2e-3)
        for tenth in range(1, 11):
            time.sleep(seconds / 10)
            trial.report(value, tenth / 10)
        return value

    search.run(total, objective, should_stop=lambda: False, on_told=lambda trial: _note(notes, trial))


if __name__ == "__main__":
    main()
