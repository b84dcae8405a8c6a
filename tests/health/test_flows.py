"""A real Prefect server is asked for what it holds for nobody: runs, slots, and a pool without workers."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from pathlib import Path

import pytest
from filelock import FileLock

from hyperskin.environment import child_environment
from hyperskin.health import flows
from hyperskin.health.flows import look
from hyperskin.health.prefect_server import PrefectServer
from hyperskin.ledger import Ledger
from hyperskin.processes import lines, start, stop
from tests.health.repository import SECRET, free_port

START_UP_S = 180


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefect")
    port = free_port()
    environment = child_environment(
        folder, {"PREFECT_SERVER_API_AUTH_STRING": SECRET, "PREFECT_SERVER_API_PORT": str(port)}
    )
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = start(command, folder=folder, environment=environment)
    listener = threading.Thread(target=lambda: [None for _ in lines(process)], daemon=True)
    listener.start()
    asked = PrefectServer(f"http://127.0.0.1:{port}/api", SECRET)
    try:
        deadline = time.monotonic() + START_UP_S
        while not asked.answers():
            assert time.monotonic() < deadline
            time.sleep(0.3)
        assert asked.lets_us_in()
        yield asked
    finally:
        stop(process)
        listener.join()


@pytest.fixture
def served(root, server):
    """A repository whose Prefect server runs."""
    (root / ".env").write_text(f"PREFECT_API_URL={server.address}\nPREFECT_API_AUTH_STRING={SECRET}\n")
    return root


def _send(server, path, text):
    with contextlib.suppress(ValueError):  # some answers are empty
        return server._send(path, text.encode())


def _run(server, flow, *, state="RUNNING", parameters="{}"):
    of = _send(server, "/flows/", f'{{"name": "{flow}"}}')["id"]
    text = f'{{"flow_id": "{of}", "name": "{flow} run", "state": {{"type": "{state}"}}, "parameters": {parameters}}}'
    return _send(server, "/flow_runs/", text)["id"]


@contextlib.contextmanager
def _unfinished(server, flow, **fields):
    run = _run(server, flow, **fields)
    try:
        yield run
    finally:
        address = f"{server.address}/flow_runs/{run}"
        urllib.request.urlopen(urllib.request.Request(address, headers=server._headers, method="DELETE")).close()


@pytest.mark.slow
def test_a_server_with_nothing_of_ours_is_fine(served):
    assert list(look(served)) == []


@pytest.mark.slow
def test_a_password_that_is_refused_is_broken(served):
    (served / ".env").write_text((served / ".env").read_text().replace(SECRET, "hyperskin:another"))
    [finding] = look(served)
    assert (finding.severity, "must take our password" in finding.what) == ("broken", True)


@pytest.mark.slow
def test_a_tag_limit_with_taken_slots_is_broken(served, server):
    _send(server, "/concurrency_limits/", '{"tag": "gpu", "concurrency_limit": 1}')
    assert list(look(served)) == []
    _send(server, "/concurrency_limits/increment", f'{{"names": ["gpu"], "task_run_id": "{uuid.uuid4()}"}}')
    [finding] = look(served)
    assert "one of 1, with 1 taken" in finding.what
    environment = {**os.environ, "PREFECT_API_URL": server.address, "PREFECT_API_AUTH_STRING": SECRET}
    command = [str(Path(sys.executable).parent / "prefect"), *finding.remedy.split()[1:]]
    subprocess.run(command, env=environment, cwd=served, check=True, capture_output=True, input=b"y\n")
    assert list(look(served)) == []


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["train-all", "study", "sweep"])
def test_a_run_is_gone_when_its_lock_is_free(served, server, flow):
    with _unfinished(server, flow) as run:
        lock = served / ".prefect" / "alive" / f"{run}.lock"
        lock.parent.mkdir(parents=True, mode=0o700)
        with FileLock(lock):
            assert list(look(served)) == []
        lock.touch()
        [finding] = look(served)
        assert f"the run {flow} run for running" in finding.what
        assert run in finding.remedy
        lock.unlink()
        assert len(list(look(served))) == 1
    assert list(look(served)) == []


@pytest.mark.slow
def test_a_run_that_is_pending_has_time_to_start(served, server, monkeypatch):
    with _unfinished(server, "train-all", state="PENDING"):
        assert list(look(served)) == []
        monkeypatch.setattr(flows, "_START_UP_S", 0.0)
        assert len(list(look(served))) == 1


@pytest.mark.slow
def test_a_run_on_a_worker_is_gone_when_its_unit_gives_no_sign(served, server, monkeypatch):
    parameters = '{"models": ["hrnet"], "pair": "rgb_vis", "keys": ["unit"]}'
    with _unfinished(server, "train-unit", parameters=parameters):
        assert list(look(served)) == []
        monkeypatch.setattr(flows, "_age_s", lambda run: 1000.0)
        assert len(list(look(served))) == 1
        with Ledger.of(served).claim("unit", about={}, stale_s=60) as claim:
            assert list(look(served)) == []
            claim.finish()
        assert len(list(look(served))) == 1


@pytest.mark.slow
def test_workers_are_missed_only_where_they_train(served, server):
    path = served / "params.yaml"
    path.write_text(path.read_text().replace("training: here", "training: workers"))
    [finding] = look(served)
    assert (finding.severity, finding.remedy) == ("broken", "hyperskin up")
    _send(server, "/work_pools/", '{"name": "gpu", "type": "process"}')
    assert len(list(look(served))) == 1
    _send(server, "/work_pools/gpu/workers/heartbeat", '{"name": "gpu0"}')
    assert list(look(served)) == []


def test_a_server_that_hangs_costs_seconds_and_is_none(root, monkeypatch):
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        address = f"http://127.0.0.1:{hanging.getsockname()[1]}/api"
        (root / ".env").write_text(f"PREFECT_API_URL={address}\n")
        started = time.monotonic()
        assert list(look(root)) == []
        monkeypatch.setenv("PREFECT_API_URL", address)
        [finding] = look(root)
        assert "must answer; it does not" in finding.what
        assert time.monotonic() - started < 6
