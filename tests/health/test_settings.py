"""A Dask scheduler is told from whoever else listens at its address, soon; params.yaml is told of once."""

import contextlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from hyperskin.health.settings import look
from tests.health.repository import edit, free_port

SOON_S = 3.0


@pytest.fixture
def found(root):
    """Look at the settings, which name a Dask scheduler; return what is found and how long it took."""

    def look_at(address):
        edit(root, 'dask: ""', f'dask: "{address}"')
        started = time.monotonic()
        return list(look(root)), time.monotonic() - started

    return look_at


def _answer(listener, words):
    """Say something to whoever comes, and wait until he leaves."""

    def answer():
        caller, _ = listener.accept()
        with caller, contextlib.suppress(ConnectionError):
            caller.sendall(words)
            caller.recv(100)

    threading.Thread(target=answer, daemon=True).start()


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
@pytest.mark.parametrize("words", [None, b"", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_whoever_speaks_no_dask_is_found_soon(found, scheme, words):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if words is not None:
            _answer(listener, words)
        [finding], seconds = found(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
    assert seconds < SOON_S
    assert "whoever listens there said nothing of Dask's within 2 s" in finding.what
    assert finding.remedy.startswith('in params.yaml, `execution.dask: ""`')


def test_an_address_of_params_and_its_profiles_is_called_once(root, found):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        (root / "params.tuned.yaml").write_text(
            (root / "params.yaml").read_text().replace('dask: ""', f'dask: "{address}"')
        )
        [finding], seconds = found(address)
    assert seconds < SOON_S
    assert finding.what.startswith("params.yaml: ")


def test_a_port_that_cannot_be_is_said(found):
    [finding], _ = found("tcp://127.0.0.1:99999")
    assert "nobody does (Port out of range 0-65535)" in finding.what


@pytest.fixture
def scheduler(tmp_path):
    """Start a real scheduler; return its address."""
    pytest.importorskip("distributed")
    started = []

    def start(scheme, *options):
        address = f"{scheme}://127.0.0.1:{(port := free_port())}"
        words = [
            "scheduler",
            "--host",
            f"{scheme}://127.0.0.1",
            "--port",
            str(port),
            "--dashboard-address",
            "127.0.0.1:0",
        ]
        with (tmp_path / "log").open("wb") as log:
            command = [sys.executable, "-m", "dask", *words, *options]
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log))
        deadline = time.monotonic() + 60
        while b"Scheduler at" not in (tmp_path / "log").read_bytes():
            assert started[-1].poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return address

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_scheduler_is_fine(found, scheduler):
    assert found(scheduler("tcp"))[0] == []


def test_a_scheduler_that_wants_certificates_is_fine(found, scheduler, tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    try:
        subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed here")
    files = ("--tls-ca-file", str(certificate), "--tls-cert", str(certificate), "--tls-key", str(key))
    assert found(scheduler("tls", *files))[0] == []
