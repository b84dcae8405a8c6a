"""What the tracking costs a training: the store, an epoch, a whole run, one without MLflow, the registry.

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
from mlflow.entities import Metric
from torch import nn

from hyperskin.pairs import find_pair
from hyperskin.tracking.compare import make_tables, read_rows, to_markdown
from hyperskin.tracking.delivery import deliver
from hyperskin.tracking.journal import Journal
from hyperskin.tracking.registry import promote, register
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import prepare_store

EPOCHS = 30
NUMBERS = {f"val_{metric}/{region}": 0.1 for metric in ("sam", "ssim", "rmse", "psnr") for region in ("masked", "full")}
ROUNDS = 3
AWAY = "http://127.0.0.1:9"  # the port of a service that throws everything away, and that nobody runs
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
    seconds |= {"run, start to end": timed(lambda: run_of(root, uri, "empty", epochs=0))}
    seconds |= {f"run with {EPOCHS} epochs": timed(lambda: run_of(root, uri, "trained", epochs=EPOCHS))}
    seconds |= {"run while MLflow is away": timed(lambda: run_of(root, AWAY, "away", epochs=EPOCHS))}
    seconds |= {"its delivery, later": timed(lambda: deliver(Journal(root, "away"), uri))}
    run_id = client.search_runs(["1"], "tags.unit_key = 'trained'")[0].info.run_id
    seconds |= {"epoch, written down": epochs_written_down(root, uri) / EPOCHS}
    seconds |= {"epoch, one request": epochs_by_batch(client, run_id) / EPOCHS}
    seconds |= {"epoch, a request a number": timed(lambda: epochs_one_by_one(client, run_id)) / EPOCHS}
    network = nn.Conv2d(PAIR.in_channels, PAIR.out_channels, 3, padding=1)
    seconds |= {"register": timed(lambda: register_and_promote(uri, network, run_id))}
    seconds |= {"compare": timed(lambda: to_markdown(make_tables(read_rows(uri))))}
    return seconds


def run_of(root: Path, uri: str, key: str, *, epochs: int) -> None:
    """Log a run of so many epochs with scores."""
    with open_run(root, uri, key) as log:
        for epoch in range(epochs):
            log.log_epoch(NUMBERS, epoch)
        log.log_summary({key.removeprefix("val_"): value for key, value in NUMBERS.items()})


def open_run(root: Path, uri: str, key: str) -> RunLog:
    """Return a run that differs from the others by its key."""
    provenance = Provenance(key, "manifest", "split", "evaluation", "code", "params")
    about = {"model": "hrnet", "pair": PAIR.name, "params": {"seed": key}, "data_name": "none"}
    return RunLog(uri, provenance=provenance, root=root, **about)


def epochs_written_down(root: Path, uri: str) -> float:
    """Return the seconds that a training waits for its epochs, as we log them."""
    with open_run(root, uri, "written down") as log:
        return timed(lambda: [log.log_epoch(NUMBERS, epoch) for epoch in range(EPOCHS)])


def epochs_by_batch(client: MlflowClient, run_id: str) -> float:
    """Return the seconds of epochs that are sent while the training waits, each in one request."""
    batches = [
        [Metric(f"batch_{key}", value, epoch, epoch) for key, value in NUMBERS.items()] for epoch in range(EPOCHS)
    ]
    return timed(lambda: [client.log_batch(run_id, metrics=batch) for batch in batches])


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
    waited = medians["epoch, written down"]
    for slower in ("epoch, one request", "epoch, a request a number"):
        print(f"{slower}: a training waits {medians[slower] / waited:.0f} x longer")


if __name__ == "__main__":
    main()
