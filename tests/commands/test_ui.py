import http.server
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing

import pytest

from hyperskin.commands.ui import require_free_port, ui
from hyperskin.errors import ServiceError
from hyperskin.tracking import compare, store


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def no_store(monkeypatch):
    monkeypatch.setattr(store, "experiment_id", lambda uri: "7")
    monkeypatch.setattr(compare, "scored_pairs", lambda uri: ["rgb_vis"])


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_port_in_use_is_named_and_another_offered():
    with closing(socket.socket()) as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"Port {port} must be free.*hyperskin ui --port \d+"):
            require_free_port(port)
    require_free_port(port)


def test_server_of_others_is_not_started_again(repository, monkeypatch, no_store, capsys):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(store, "prepare_store", lambda root: f"{address}/")
        ui(port=1)
        server.shutdown()
    printed = capsys.readouterr().out
    assert f"{address}/#/experiments/7/runs?workflowType=machine_learning" in printed
    assert "Ctrl-C" not in printed


def test_nothing_starts_on_a_port_in_use(repository, monkeypatch, no_store):
    monkeypatch.setattr(store, "prepare_store", lambda root: "sqlite:///nowhere.db")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(ServiceError, match="another program holds it"):
            ui(port=other.server_port)
        other.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ss") is None, reason="needs `ss` to see who listens")
@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_pages_answer_on_loopback_only_and_are_gone_after_they_are_stopped(repository, request_to_end):
    port = _free_port()
    code = f"from hyperskin.commands.ui import ui; ui(port={port})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=repository, stdout=subprocess.PIPE, text=True) as process:
        printed = next(line for line in process.stdout if "Ctrl-C" in line)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            assert answer.status == 200
        assert _listeners(port) == [f"127.0.0.1:{port}"]
        process.send_signal(request_to_end)
    assert printed == "Ctrl-C stops the pages.\n"
    assert process.returncode == 0
    assert _listeners(port) == []


def _listeners(port):
    listed = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return [line.split()[3] for line in listed.splitlines()]
