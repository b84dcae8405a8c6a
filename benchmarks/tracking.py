"""What the tracking costs a training: the store, an epoch beside one request per number, a whole run, the registry.

Each round uses a store of its own in a temporary folder. Read the ratios; the seconds belong to this machine.

    python benchmarks/tracking.py
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mlflow import MlflowClient
from torch import nn

from hyperskin.pairs import find_pair
from hyperskin.tracking.compare import make_tables, read_rows, to_markdown
from hyperskin.tracking.registry import promote, register
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import prepare_store

EPOCHS = 30
NUMBERS = {f"val_{metric}/{region}": 0.1 for metric in ("sam", "ssim", "rmse", "psnr") for region in ("masked", "full")}
ROUNDS = 3
PAIR = find_pair("rgb_vis")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_round(root: Path) -> dict[str, float]:
    """Return the seconds of every step on a fresh store."""
    seconds = {"store, made": timed(lambda: prepare_store(root)), "store, there": timed(lambda: prepare_store(root))}
    uri = prepare_store(root)
    client = MlflowClient(uri)
    seconds |= {"run, start to end": timed(lambda: run_of(uri, "empty", epochs=0))}
    seconds |= {f"run with {EPOCHS} epochs": timed(lambda: run_of(uri, "trained", epochs=EPOCHS))}
    run_id = client.search_runs(["1"], "tags.unit_key = 'trained'")[0].info.run_id
    seconds |= {"epoch, one request": timed(lambda: epochs_by_batch(uri)) / EPOCHS}
    seconds |= {"epoch, a request a number": timed(lambda: epochs_one_by_one(client, run_id)) / EPOCHS}
    network = nn.Conv2d(PAIR.in_channels, PAIR.out_channels, 3, padding=1)
    seconds |= {"register": timed(lambda: register_and_promote(uri, network, run_id))}
    seconds |= {"compare": timed(lambda: to_markdown(make_tables(read_rows(uri))))}
    return seconds


def run_of(uri: str, key: str, *, epochs: int) -> None:
    """Log a run of so many epochs with scores."""
    with open_run(uri, key) as log:
        for epoch in range(epochs):
            log.log_epoch(NUMBERS, epoch)
        log.log_summary({key.removeprefix("val_"): value for key, value in NUMBERS.items()})


def open_run(uri: str, key: str) -> RunLog:
    """Return a run that differs from the others by its key."""
    provenance = Provenance(key, "manifest", "split", "evaluation", "code")
    return RunLog(uri, model="hrnet", pair=PAIR.name, params={"seed": key}, provenance=provenance, data_name="none")


def epochs_by_batch(uri: str) -> None:
    """Log epochs as we do."""
    with open_run(uri, "batch") as log:
        for epoch in range(EPOCHS):
            log.log_epoch(NUMBERS, epoch)


def epochs_one_by_one(client: MlflowClient, run_id: str) -> None:
    """Log epochs as most people do."""
    for epoch in range(EPOCHS):
        for key, value in NUMBERS.items():
            client.log_metric(run_id, f"naive_{key}", value, step=epoch)


def register_and_promote(uri: str, network: nn.Module, run_id: str) -> None:
    """Register a network of one convolution: what the registry itself costs."""
    version = register(
        uri, network, run_id=run_id, pair=PAIR, manifest="manifest", parameter_count=868, size_multiple=1
    )
    promote(uri, PAIR.registered_name, version)


def main() -> None:
    """Print the median of the rounds."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rounds = [one_round(Path(folder) / str(number)) for number in range(ROUNDS)]
    medians = {step: statistics.median(found[step] for found in rounds) for step in rounds[0]}
    for step, seconds in medians.items():
        print(f"{step:28} {1000 * seconds:9.1f} ms")
    print(
        f"one request an epoch is {medians['epoch, a request a number'] / medians['epoch, one request']:.1f} x faster"
    )


if __name__ == "__main__":
    main()
