"""Whatever asks MLflow ends within seconds and in one sentence where MLflow is away, from the start or later."""

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hyperskin.environment import closed_settings
from hyperskin.tracking.store import STORE, prepare_store

HERE = Path(__file__).parent.parent.parent
VERBS = (
    ["compare"],
    ["models", "list"],
    ["models", "promote", "rgb_vis", "1"],
    ["models", "rollback", "rgb_vis"],
    ["ui"],
)
SOME = (VERBS[0], *(pytest.param(words, marks=pytest.mark.slow) for words in VERBS[1:]))
LIMIT_S = 10.0
EXPERIMENT = json.dumps({"experiment": {"experiment_id": "7", "name": "hyperskin", "lifecycle_stage": "active"}})


@contextlib.contextmanager
def serving(code: int | None, *, good: int = 0, is_healthy: bool = False) -> Iterator[str]:
    """Answer every request but the first `good` ones, which are answered as one likes, with `code`; a None never.

    Whether it is healthy is not counted, and answered with yes for as long as all is good, or always.
    """
    is_over, left = threading.Event(), [None] * good

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_good = self.path == "/health" and (is_healthy or bool(left))
            if self.path != "/health" and left:
                left.pop()
                is_good = True
            if not is_good and code is None:
                is_over.wait()
                return
            self.send_response(200 if is_good else code)
            content = EXPERIMENT.encode() if is_good else b"no"
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        is_over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def repository(tmp_path):
    """A repository without data."""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    return tmp_path


def _ask(repository, address, words):
    """Run a verb as a person does; return its exit code, what it said, and how long it took."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "MLFLOW_TRACKING_URI": address, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hyperskin.cli", *words]
    started = time.monotonic()
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - started


def _require_one_sentence(address, answer):
    returncode, printed, said, seconds = answer
    assert (returncode, printed) == (1, "")
    assert len(said.splitlines()) == 1, said
    assert said.startswith(f"hyperskin: MLflow at {address} must answer; ")
    assert said.endswith(": see whether it runs.\n")
    assert seconds < LIMIT_S


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_port_where_nobody_listens(repository, words):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    _require_one_sentence(address, _ask(repository, address, words))


@pytest.mark.parametrize("words", SOME, ids=" ".join)
def test_a_server_in_trouble(repository, words):
    with serving(500) as address:
        _require_one_sentence(address, _ask(repository, address, words))


@pytest.mark.parametrize("words", SOME, ids=" ".join)
def test_a_server_that_never_answers(repository, words):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)  # the system accepts for it
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        _require_one_sentence(address, _ask(repository, address, words))


@pytest.mark.parametrize("words", SOME, ids=" ".join)
def test_a_server_that_gets_into_trouble_in_between(repository, words):
    with serving(500, good=2, is_healthy=True) as address:  # which is when the experiments are looked for
        _require_one_sentence(address, _ask(repository, address, words))


@pytest.mark.slow
@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_server_that_falls_silent_in_between(repository, words):
    with serving(None, good=2) as address:
        _require_one_sentence(address, _ask(repository, address, words))


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
@pytest.mark.parametrize("words", SOME, ids=" ".join)
def test_a_store_that_is_damaged(repository, words, damage):
    """None of them may change it either: a part of it may still be saved."""
    prepare_store(repository)
    path = repository / STORE
    content = path.read_bytes()
    path.write_bytes(
        content[: len(content) // 2] if damage == "cut off" else content[:100] + bytes(600) + content[700:]
    )
    damaged = path.read_bytes()
    returncode, printed, said, seconds = _ask(repository, "", words)
    assert (returncode, printed) == (1, "")
    assert re.fullmatch(r"hyperskin: The MLflow store must be a whole database; .*mlflow\.db is damaged \(.*\n", said)
    assert "`hyperskin sync --lost`" in said
    assert seconds < LIMIT_S
    assert path.read_bytes() == damaged


@pytest.mark.slow
def test_a_server_that_dies_while_it_is_asked(repository, monkeypatch, caplog):
    """What is asked may take long for as long as somebody is at home, and no longer."""
    from hyperskin.commands.models import rollback
    from hyperskin.errors import ServiceError
    from hyperskin.tracking import answers, promotion, store

    monkeypatch.chdir(repository)
    for name, value in closed_settings(repository).items():
        if name.startswith("MLFLOW_HTTP_REQUEST"):
            monkeypatch.setenv(name, value)
    monkeypatch.setitem(answers.ask.__kwdefaults__, "patience_s", 0.3)
    with serving(200) as address:
        monkeypatch.setattr(store, "prepare_store", lambda _: address)
        slow = promotion.Promotion(True, "it is done")
        monkeypatch.setattr(promotion, "roll_back", lambda *_: time.sleep(1.5) or slow)
        with caplog.at_level(logging.INFO, "hyperskin"):
            rollback("rgb_vis")
        assert caplog.messages == ["it is done"]
        monkeypatch.setattr(promotion, "roll_back", lambda *_: time.sleep(30))
        threading.Timer(1.0, lambda: monkeypatch.setattr(answers, "answers", lambda _: False)).start()
        started = time.monotonic()
        with pytest.raises(ServiceError, match="nothing came within"):
            rollback("rgb_vis")
        assert 0.9 < time.monotonic() - started < 5
