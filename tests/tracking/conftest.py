"""One MLflow database for the whole session, copied for each test; a run and a small network to fill it with."""

import dataclasses
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from torch import nn

from hyperskin.environment import closed_settings
from hyperskin.pairs import find_pair
from hyperskin.tracking import courier, registry
from hyperskin.tracking.runs import Provenance, RunLog
from hyperskin.tracking.store import prepare_store
from hyperskin.tracking.stored import StoredFile
from tests.stores import copy_store

PROVENANCE = Provenance(
    unit_key="unit-1", manifest="manifest-aaaa", split="split", evaluation="test-set-a", code="code", params="params"
)
SCORES = {
    "sam/masked": 0.1,
    "sam/masked_std": 0.01,
    "sam/full": 0.12,
    "ssim/masked": 0.95,
    "ssim/full": 0.92,
    "n_images": 6.0,
    "cost/parameters": 868.0,
}


class SmallNetwork(nn.Module):
    """A network of one convolution."""

    size_multiple = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convolution(frames))


@pytest.fixture
def provenance() -> Provenance:
    """Where every run of the tests comes from, unless it says otherwise."""
    return PROVENANCE


@pytest.fixture
def scores() -> dict[str, float]:
    """The scores of every finished run, unless it says otherwise."""
    return dict(SCORES)


@pytest.fixture
def small_network() -> type[SmallNetwork]:
    """A network of one convolution, by its channels."""
    return SmallNetwork


@pytest.fixture
def root(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a fresh store of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy_store(empty_store, tmp_path)
    return tmp_path


@pytest.fixture
def uri(root: Path) -> str:
    """The address of the fresh store."""
    return prepare_store(root)


@pytest.fixture
def start(root, uri):
    """Make a run, the fields that matter to a test by keyword; MLflow has all of it once its context is left."""

    def make(*, model="mst_plus_plus", pair="rgb_vis", params=None, provenance=PROVENANCE, **fields) -> RunLog:
        about = {"model": model, "pair": pair, "params": params or {}, "provenance": provenance}
        return RunLog(fields.pop("uri", uri), **about, data_name="phantom", root=root, **fields)

    return make


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client be as patient as in our processes, where alone it tries for minutes, and nothing be known."""
    monkeypatch.setattr(courier, "_known", courier._Known())
    for name, value in closed_settings(Path()).items():
        if name.startswith("MLFLOW_HTTP_REQUEST"):
            monkeypatch.setenv(name, value)


@pytest.fixture
def dead_uri() -> str:
    """The address of a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def hanging_uri() -> Iterator[str]:
    """The address of a server that takes every connection and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)  # the system accepts for it
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def answer() -> Iterator[Callable[..., str]]:
    """Start a server that gives the same answer to everything but `/health`; a None never comes."""
    servers: list[ThreadingHTTPServer] = []
    is_over = threading.Event()

    def start(code: int | None, *, health: int = 200, content: bytes = b"no") -> str:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status = health if self.path == "/health" else code
                if status is None:
                    is_over.wait()
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    is_over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def wait_until():
    """Return what waits until something is so, for a while."""

    def wait(is_so: Callable[[], object], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, "it never was"
            time.sleep(0.01)

    return wait


@pytest.fixture
def finish(start):
    """Make a finished run with scores, and with those of subjects where they matter, and return its id."""

    def make(scores=SCORES, subjects=None, **fields) -> str:
        with start(**fields) as run:
            run.log_summary(scores)
            if subjects:
                rows = [{"subject": name, "n_images": 6, "sam/masked": angle} for name, angle in subjects.items()]
                run.log_tables({"per_subject": rows})
        return run.run_id

    return make


@pytest.fixture
def add_version(uri, finish, monkeypatch):
    """Register a finished run of rgb_vis without the cost of an export; each is a unit of its own."""
    numbers = itertools.count(1)
    client = MlflowClient(uri)

    def store_nothing(network, *, run_id, pair) -> StoredFile:
        experiment = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment, name="model", source_run_id=run_id)
        return StoredFile(client.finalize_logged_model(model.model_id, LoggedModelStatus.READY).model_uri, "0" * 64)

    monkeypatch.setattr(registry, "store_network", store_nothing)

    def make(scores, subjects=None, tags=None, **fields) -> str:
        own = dataclasses.replace(PROVENANCE, unit_key=f"unit-{next(numbers)}", **fields)
        return registry.register(
            uri,
            None,
            run_id=finish(scores, subjects, provenance=own, tags=tags),
            pair=find_pair("rgb_vis"),
            manifest=own.manifest,
            parameter_count=1,
            size_multiple=1,
        )

    return make
