"""A real MLflow server for tests, which can go away and come back, and a store that loses what it held."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from hyperskin.environment import child_environment
from hyperskin.tracking.answers import answers
from hyperskin.tracking.store import STORE

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


def lose_runs(root: Path) -> None:
    """Empty a store of its runs, as if an old copy had come back; MLflow may have it open."""
    with closing(sqlite3.connect(root / STORE)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if "run_uuid" in columns:
                connection.execute(f"DELETE FROM {table}")
