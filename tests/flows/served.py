"""`hyperskin up` in a project of its own, and who runs there."""

import base64
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

# `hyperskin up`, without the program that the stand-in has taken the place of.
UP = """
import logging, os, sys

os.umask(0o077)
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
from hyperskin.commands.up import up

up(port=int(sys.argv[1]), join="--join" in sys.argv)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Up:
    """A running `hyperskin up`, and what it says."""

    process: subprocess.Popen
    said: list[str] = field(default_factory=list)

    def __post_init__(self):
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with self.process.stdout:
            self.said += iter(self.process.stdout.readline, "")

    def wait_until(self, words, patience_s=300):
        deadline = time.monotonic() + patience_s
        while words not in "".join(self.said):
            assert self.process.poll() is None, "".join(self.said)
            assert time.monotonic() < deadline, "".join(self.said)
            time.sleep(0.1)

    def end(self, number=signal.SIGTERM, patience_s=60):
        """Ask for the end; return the exit code and all that was said."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(patience_s)
        self._reader.join()
        return code, "".join(self.said)


@contextlib.contextmanager
def running_up(project, environment, port, *words, ready="Prefect is up"):
    command = [sys.executable, "-c", UP, str(port), *words]
    process = subprocess.Popen(
        command, cwd=project.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    up = Up(process)
    try:
        up.wait_until(ready)
        yield up
    finally:
        up.end()


def read_access(root):
    return dict(line.split("=", 1) for line in (root / ".env").read_text().splitlines())


def processes_in(folder):
    """Return the command lines of our processes whose working folder this is."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if re.fullmatch(r"\d+", process.name) and (process / "cwd").resolve() == folder.resolve():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def read_run(project, port, run_id):
    """Return a flow run as the server knows it."""
    secret = read_access(project.root)["PREFECT_API_AUTH_STRING"]
    known = {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"/api/flow_runs/{run_id}", headers=known)
            return json.loads(connection.getresponse().read())
        except OSError:
            return {"state_type": "no answer"}


def start_run(project, environment, deployment, **parameters):
    """Ask for a run of a deployment, as a person does; return its id."""
    words = [word for name, value in parameters.items() for word in ("--param", f"{name}={json.dumps(value)}")]
    command = ["prefect", "deployment", "run", deployment, *words]
    asked = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=True)
    return re.search(r"UUID: ([0-9a-f-]{36})", asked.stdout)[1]


def wait_for(what, patience_s=180):
    """Wait until `what()` is true, and return it."""
    deadline = time.monotonic() + patience_s
    while not (answer := what()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)
    return answer
