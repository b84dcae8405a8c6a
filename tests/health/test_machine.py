"""What the machine lacks is told with figures, and who holds a port by name."""

import http.server
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from hyperskin.health import machine
from hyperskin.health.machine import look_at_disk, look_at_folders, look_at_memory, look_at_port
from tests.health.repository import HERE, free_port

MUCH = 1e18


def test_a_disk_with_little_room_is_a_warning_and_a_full_one_is_broken(tmp_path):
    assert list(look_at_disk(tmp_path, enough_bytes=0, least_bytes=0)) == []
    [little] = look_at_disk(tmp_path, enough_bytes=MUCH, least_bytes=0)
    [none] = look_at_disk(tmp_path, enough_bytes=MUCH, least_bytes=MUCH)
    assert (little.severity, none.severity) == ("warning", "broken")
    assert little.what.startswith("The disk of this folder must have 1e+09 GB free")


def test_little_memory_is_a_warning():
    assert list(look_at_memory(least_bytes=0)) == []
    [finding] = look_at_memory(least_bytes=MUCH)
    assert finding.severity == "warning"


def test_the_holder_of_a_port_is_named_and_another_port_offered(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        [finding] = look_at_port(port, "the MLflow pages", "/health", "hyperskin ui")
        assert f"(process {os.getpid()}) listens there." in finding.what
        other = int(finding.remedy.removeprefix("hyperskin ui --port "))
        assert other > port
    assert list(look_at_port(port, "the MLflow pages", "/health", "hyperskin ui")) == []


@pytest.mark.parametrize(("body", "is_found"), [(b"true", False), (b"OK", False), (b"hello", True)])
def test_the_server_that_belongs_to_a_port_is_no_stranger(body, is_found):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = list(look_at_port(server.server_address[1], "the MLflow pages", "/health", "hyperskin ui"))
        server.shutdown()
    assert bool(found) == is_found


# What making captures does, and what doctor says beforehand.
WORKER = """
import multiprocessing
from hyperskin.health.machine import look_at_temporary_folder

if __name__ == "__main__":
    print([(one.severity, one.remedy) for one in look_at_temporary_folder()], flush=True)
    worker = multiprocessing.get_context("forkserver").Process(target=abs, args=(1,))
    worker.start()
    worker.join()
"""


@pytest.mark.parametrize(("length", "is_fine"), [(75, True), (76, False)])
def test_a_folder_of_temporary_files_is_too_long_where_no_worker_starts(length, is_fine):
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        folder = Path(base) / ("x" * (length - len(base) - 1))
        folder.mkdir()
        script = Path(base) / "script.py"
        script.write_text(WORKER)
        environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(HERE)}
        result = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
        )
    assert (result.returncode == 0) == is_fine
    assert ("AF_UNIX path too long" in result.stderr) != is_fine
    assert result.stdout.strip() == ("[]" if is_fine else "[('warning', 'export TMPDIR=/tmp')]")


@pytest.fixture
def everybodys_folder():
    """A folder that every user of this machine may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_another_user_is_broken(everybodys_folder):
    (everybodys_folder / "data").mkdir(mode=0o755)
    (everybodys_folder / "mlruns").mkdir(mode=0o755)
    os.chown(everybodys_folder / "data", 65534, 65534)
    script = (
        "import os, sys; from pathlib import Path; from hyperskin.health.machine import look_at_folders\n"
        "os.setuid(65534)\n"
        f"print([one.remedy for one in look_at_folders(Path({str(everybodys_folder)!r}))])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['sudo chown -R $USER .', 'sudo chown -R $USER mlruns']"
    assert list(look_at_folders(everybodys_folder)) == []


def test_a_free_port_is_free():
    assert list(look_at_port(free_port(), "the MLflow pages", "/health", "hyperskin ui")) == []
    assert machine.PAGES_PORT == 5000
