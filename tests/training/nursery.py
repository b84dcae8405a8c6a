"""Trainings in processes of their own, ended by a signal at random moments and started again until they are done.

One process loads torch and forks: starting Python for each attempt would take longer than all the trainings.
"""

import hashlib
import json
import os
import pickle
import random
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from hyperskin.data.frames import PairFiles
from hyperskin.processes import stop_on_signals
from hyperskin.training.checkpoint import load_checkpoint
from tests.training.job import RECIPE, Job

LONG = replace(RECIPE, epochs=8, steps_per_epoch=12)
TRAININGS = 20


def train(folder: Path, files: list[PairFiles]) -> int:
    """Train, write down what came of it, and return the exit code."""
    job = Job(folder, files)
    try:
        with stop_on_signals() as request:
            trained = job.run(
                LONG,
                should_stop=request.is_set,
                validate=lambda network: job.validate(network, request.is_set),
            )
    except KeyboardInterrupt as interrupt:
        return 128 + int(interrupt.args[0])
    kept = load_checkpoint(job.checkpoint, unit_key="unit")
    assert kept is not None
    digest = hashlib.sha256()
    for state in (trained.network.state_dict(), kept.network, *kept.optimiser["state"].values()):
        for tensor in state.values():
            digest.update(tensor.numpy().tobytes())
    metrics = [epoch.metrics for epoch in trained.history]
    (folder / "result").write_text(json.dumps([digest.hexdigest(), metrics]))
    return 0


def attempt(folder: Path, files: list[PairFiles], number: int, wait_s: float | None) -> int:
    """Train in a fork, send it a signal after a while, and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = train(folder, files)
        finally:
            os._exit(code)
    sent_s = None
    if wait_s is not None:
        time.sleep(wait_s)
        os.kill(child, number)
        sent_s = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert sent_s is None or time.monotonic() - sent_s < 5
    return code


def position(folder: Path) -> int:
    """Return at which step the next attempt will go on."""
    path = folder / "last.pt"
    if not path.exists():
        return 0
    file: dict[str, Any] = torch.load(path, weights_only=True)
    return int(file["content"]["step"])


def rear(folder: Path, files: list[PairFiles], number: int, generator: random.Random, whole_s: float) -> dict[str, Any]:
    """Train, ended at least once, until it is done; tell how often it was ended, and where."""
    ended_at: list[int] = []
    attempts = 0
    while not (folder / "result").exists():
        attempts += 1
        code = attempt(folder, files, number, generator.uniform(0, whole_s))
        if code != 0:
            assert code in (-number, 128 + number), code  # as a training, or before it was one
            ended_at.append(position(folder))
        elif not ended_at:  # the signal came too late
            (folder / "result").unlink()
            for checkpoint in folder.glob("*.pt"):
                checkpoint.unlink()
    left = sorted(path.name for path in folder.iterdir())
    return {"attempts": attempts, "ended_at": ended_at, "result": (folder / "result").read_text(), "left": left}


def main() -> None:
    torch.set_num_threads(1)
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    files = pickle.loads((folder / "files.pickle").read_bytes())
    Job(folder / "first", files).run(replace(LONG, epochs=1, steps_per_epoch=1))  # loads what torch loads late
    begin = time.monotonic()
    assert attempt(folder / "whole", files, number, None) == 0
    whole_s = time.monotonic() - begin
    generator = random.Random(number)
    told = [rear(folder / str(i), files, number, generator, whole_s) for i in range(TRAININGS)]
    whole = {"seconds": whole_s, "result": (folder / "whole" / "result").read_text(), "recipe": asdict(LONG)}
    sys.stdout.write(json.dumps({"whole": whole, "told": told}))


if __name__ == "__main__":
    main()
