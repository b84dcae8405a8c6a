"""`hyperskin ui`: MLflow's pages on this machine, and where to look in them."""

from __future__ import annotations

import collections
import http.client
import logging
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from hyperskin.environment import child_environment, repository_root
from hyperskin.errors import ServiceError
from hyperskin.processes import deaf_to_signals, how_it_ended, interrupted_by_signals, lines, start, stop

_HOST = "127.0.0.1"
_READY_WITHIN_S = 180
_POLL_S = 0.5
_log = logging.getLogger(__name__)


def ui(*, port: int = 5000) -> None:
    """Serve the MLflow pages until Ctrl-C: runs, charts, comparison, registry.

    Args:
        port: Port on this machine.

    Raises:
        ServiceError: The server that MLFLOW_TRACKING_URI names does not answer, or ours does not start.
    """
    from hyperskin.tracking.answers import ask
    from hyperskin.tracking.compare import scored_pairs
    from hyperskin.tracking.store import experiment_id, prepare_store
    from hyperskin.tracking.views import page_links

    root = repository_root()
    uri = prepare_store(root)
    is_served = uri.startswith("http")
    address = uri.rstrip("/") if is_served else f"http://{_HOST}:{port}"
    links = page_links(address, ask(uri, lambda: experiment_id(uri)), scored_pairs(uri))
    if is_served:
        _show(links)
        return
    require_free_port(port)
    with interrupted_by_signals():
        process = _start_server(root, uri, port)
        try:
            _wait_until_healthy(process, port)
            _show(links)
            sys.stdout.write("Ctrl-C stops the pages.\n")
            sys.stdout.flush()
            process.wait()
            raise ServiceError(
                f"The MLflow pages must run until Ctrl-C; they ended: {how_it_ended(process.returncode, '')}."
            )
        except KeyboardInterrupt:
            _log.info("stopping the MLflow pages ...")
        finally:
            with deaf_to_signals():
                stop(process)


def require_free_port(port: int) -> None:
    """Raise ServiceError where something listens on `port` already; MLflow itself would end with exit code 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just left is free
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise ServiceError(
                f"Port {port} must be free for the MLflow pages; another program holds it: stop that one, or use "
                f"`hyperskin ui --port {_free_port()}`."
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _start_server(root: Path, uri: str, port: int) -> subprocess.Popen[str]:
    """Start MLflow with one worker and no jobs, on loopback only; the store's address stays out of `ps`."""
    settings = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_ARTIFACTS_DESTINATION": str(root / "mlruns" / "artifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]
    return start(command, folder=root, environment=child_environment(root, settings))


def _wait_until_healthy(process: subprocess.Popen[str], port: int) -> None:
    """Return when the server answers.

    Raises:
        ServiceError: It ended, or does not answer in time.
    """
    said: collections.deque[str] = collections.deque(maxlen=1)
    threading.Thread(target=_listen, args=(process, said), daemon=True).start()
    _log.info("starting the MLflow pages ...")
    deadline = time.monotonic() + _READY_WITHIN_S
    while not _is_healthy(port):
        if process.poll() is not None:
            raise ServiceError(f"MLflow did not start: {how_it_ended(process.returncode, ''.join(said))}.")
        if time.monotonic() > deadline:
            raise ServiceError(f"MLflow must answer on port {port} within {_READY_WITHIN_S} s; it did not.")
        time.sleep(_POLL_S)


def _listen(process: subprocess.Popen[str], said: collections.deque[str]) -> None:
    """Keep the server's last line, and let no full pipe stop it."""
    for line in lines(process):
        said.append(line)
        _log.debug("mlflow: %s", line)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{port}/health", timeout=5) as answer:
            return bool(answer.status == http.client.OK)
    except OSError:
        return False


def _show(links: dict[str, str]) -> None:
    width = max(map(len, links))
    sys.stdout.writelines(f"{what:{width}}  {link}\n" for what, link in links.items())
