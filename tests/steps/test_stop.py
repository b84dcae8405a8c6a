"""A real training that is asked to end, at whatever moment, is gone in time and leaves nothing half done."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from hyperskin.ledger import Ledger
from hyperskin.steps.claim import GOES_ON
from hyperskin.steps.settle import settle
from hyperskin.steps.unit import CHECKPOINTS
from hyperskin.tracking.journal import find_journals
from hyperskin.tracking.store import find_finished, running, store_address
from tests.mlflow_server import MlflowServer

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Project

pytestmark = pytest.mark.slow

SMALL = {
    "hscnn_plus: {blocks: 3, learning_rate: 1e-3}": "hscnn_plus: {blocks: 1}",
    "seconds: 75": "seconds: 45",
    "crop_px: 32": "crop_px: 16",
}
ONE_SHORT_TRIAL = {
    "trials: 8": "trials: 1",
    "epochs: null                            # of one trial": "epochs: 1  # of one trial",
    "seconds: 15                             # of one trial": "seconds: null  # of one trial",
    "steps_per_epoch: 100": "steps_per_epoch: 2",
}


@pytest.fixture
def prepared(project: Project) -> Project:
    for old, new in SMALL.items():
        project.edit(old, new)
    return project


def _start(project: Project, model: str, *, verb: str = "train", **environment: str) -> "subprocess.Popen[str]":
    """Start a training or a search as a flow does: as the leader of its own group."""
    return subprocess.Popen(
        [sys.executable, "-m", "hyperskin.cli", verb, "--model", model, "--pair", "rgb_vis"],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(project.root), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _at_work(folder: Path) -> list[int]:
    """Return the processes whose working folder this is."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == folder:
                found.append(process.pid)
    return found


def _has_checkpoint(project: Project) -> bool:
    return any((project.root / CHECKPOINTS).glob("*/last.pt"))


@pytest.mark.parametrize(("number", "moment_count"), [(signal.SIGTERM, 20), (signal.SIGINT, 6)])
def test_a_training_is_gone_in_time_whenever_it_is_asked_to_end_and_goes_on_afterwards(
    prepared: Project, number: signal.Signals, moment_count: int
) -> None:
    """While Python starts, while torch loads, while MLflow does, while it trains."""
    took_s = {}
    for moment_s in np.linspace(0.1, 6.0, moment_count):
        with _start(prepared, "hscnn_plus") as process:
            time.sleep(moment_s)
            assert process.poll() is None
            started = time.monotonic()
            os.killpg(process.pid, number)
            said = process.communicate(timeout=60)[1]
            took_s[round(float(moment_s), 2)] = time.monotonic() - started
        assert process.returncode in (-number, 128 + number), said
        if number == signal.SIGTERM:  # Python itself shows where it was interrupted before our first line
            assert "Traceback" not in said
        assert "without an orderly end" not in said
        if process.returncode == 128 + number and "hyperskin: stopped." in said:
            assert (GOES_ON in said) == _has_checkpoint(prepared)
        assert _at_work(prepared.root) == []
    assert max(took_s.values()) < 5, took_s
    ledger = Ledger.of(prepared.root)
    assert {attempt.state for attempt in ledger.newest()} <= {"killed"}
    assert settle(prepared.root) == []
    prepared.run("hyperskin", "train", "--model", "hscnn_plus", "--pair", "rgb_vis")
    [journal] = find_journals(prepared.root)
    assert {attempt.state for attempt in ledger.newest()} == {"finished"}
    assert list(find_finished(store_address(prepared.root), [journal.key])) == [journal.key]
    assert running(store_address(prepared.root)) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_finished_training_that_waits_for_mlflow_ends_at_once_and_stays_finished(
    prepared: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    prepared.edit("seconds: 45", "seconds: 3")
    (tmp_path / "server").mkdir()
    server = MlflowServer(tmp_path / "server")
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    try:
        with _start(prepared, "hscnn_plus") as process:
            said = []
            for line in process.stderr:
                said.append(line)
                if line.startswith("epoch 1:"):
                    server.send(signal.SIGSTOP)  # it was there, so that it is waited for: it may come back
                if line.startswith("hscnn_plus on rgb_vis: sam/"):
                    break
            time.sleep(4.0)
            assert process.poll() is None, "".join(said)
            started = time.monotonic()
            process.send_signal(number)
            said += process.communicate(timeout=60)[1].splitlines(keepends=True)
            took_s = time.monotonic() - started
        server.send(signal.SIGCONT)
        assert process.returncode == 128 + number, "".join(said)
        assert took_s < 0.5 + 1.5  # of which 1.5 s are the machine's
        assert "Traceback" not in "".join(said)
        assert f"{GOES_ON}\n" not in said  # nothing is left to do
        [journal] = find_journals(prepared.root)
        assert journal.history().end.status == "FINISHED"
        [attempt] = Ledger.of(prepared.root).newest()
        assert attempt.state == "finished"
        prepared.run("hyperskin", "sync")
        again = prepared.run("hyperskin", "train", "--model", "hscnn_plus", "--pair", "rgb_vis").stderr
        assert "finished already" in again
    finally:
        server.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_search_is_gone_in_time_whenever_it_is_asked_to_end_and_goes_on_afterwards(
    prepared: Project, number: signal.Signals
) -> None:
    for moment_s in np.linspace(0.5, 9.0, 8):
        with _start(prepared, "hscnn_plus", verb="tune") as process:
            time.sleep(moment_s)
            assert process.poll() is None
            started = time.monotonic()
            os.killpg(process.pid, number)
            said = process.communicate(timeout=60)[1]
            took_s = time.monotonic() - started
        assert process.returncode in (-number, 128 + number), said
        assert took_s < 5
        assert "without an orderly end" not in said
        if process.returncode == 128 + number and "hyperskin: stopped." in said:
            assert (GOES_ON in said) == _has_checkpoint(prepared)
    for old, new in ONE_SHORT_TRIAL.items():
        prepared.edit(old, new)
    assert (
        "complete, 0 pruned, 0 failed"
        in prepared.run("hyperskin", "tune", "--model", "hscnn_plus", "--pair", "rgb_vis").stderr
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_search_that_is_asked_to_end_in_its_last_wait_says_so_and_is_whole(
    prepared: Project, number: signal.Signals
) -> None:
    for old, new in ONE_SHORT_TRIAL.items():
        prepared.edit(old, new)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)  # it takes every connection and never answers
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with _start(prepared, "hscnn_plus", verb="tune", MLFLOW_TRACKING_URI=address) as process:
            said = []
            for line in process.stderr:
                said.append(line)
                if "complete, 0 pruned, 0 failed" in line:
                    break
            process.send_signal(number)
            said += process.communicate(timeout=60)[1].splitlines(keepends=True)
    assert process.returncode == 128 + number, "".join(said)
    assert f"{GOES_ON}\n" not in said  # nothing is left to do
    assert (prepared.root / "params.tuned.yaml").is_file()
    again = prepared.run("hyperskin", "tune", "--model", "hscnn_plus", "--pair", "rgb_vis").stderr
    assert "searched already, skipped" in again
