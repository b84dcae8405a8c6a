"""A real MLflow server for tests, on a free port of this machine, which can go away and come back."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from hyperskin.environment import child_environment
from hyperskin.tracking.answers import answers

_START_UP_S = 120


class MlflowServer:
    """`mlflow server` with a database, a file in its folder unless another is named, and artefacts of its own."""

    def __init__(self, folder: Path, *, database: str = "") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "mlflow", "server"]
        self._folder = folder
        self._environment = child_environment(
            folder,
            {
                "OMP_NUM_THREADS": "1",
                "MLFLOW_BACKEND_STORE_URI": database or f"sqlite:///{folder}/server.db",
                "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "files"),
                "MLFLOW_HOST": "127.0.0.1",
                "MLFLOW_PORT": str(port),
                "MLFLOW_WORKERS": "1",
            },
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_UP_S
        while not answers(self.uri):
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def send(self, number: int) -> None:
        """Send a signal to the server and its worker."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Let it go away in the middle of whatever it does."""
        if self._process is not None:
            self.send(signal.SIGKILL)
            self._process.wait()
            self._process = None
