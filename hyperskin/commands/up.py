"""`hyperskin up`: starts the Prefect server, for this machine alone, and serves the deployments until Ctrl-C."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import http.client
import json
import logging
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from hyperskin.atomic import write_text
from hyperskin.environment import PREFECT_PORT, child_environment, own_origins, repository_root
from hyperskin.errors import ServiceError
from hyperskin.processes import FLOW_PATIENCE_S, Children, deaf_to_signals, interrupted_by_signals

_log = logging.getLogger(__name__)

ACCESS_FILE = ".env"  # Prefect reads it from the working folder, so that no command needs an export
_SERVER_SECRET = "PREFECT_SERVER_API_AUTH_STRING"  # noqa: S105 - the name of a setting
_CLIENT_SECRET = "PREFECT_API_AUTH_STRING"  # noqa: S105 - the name of a setting
_ADDRESS = "PREFECT_API_URL"
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<key>\w+)\s*=\s*(?P<value>.*?)\s*")

_HOST = "127.0.0.1"
_DEPLOYMENT = "train-all"
_START_UP_S = 300.0  # 12 s on an idle machine, a minute on a busy small one; the first start makes a database
_SAY_EVERY_S = 10.0
_POLL_S = 0.5
_ANSWER_S = 5.0
_SERVER_PATIENCE_S = (10.0, 5.0)  # a server first answers whoever it is talking to

_Running = Future[list[str]]


def up(*, port: int = PREFECT_PORT) -> None:
    """Start the Prefect server and serve the deployments; stay until Ctrl-C.

    Args:
        port: Where the server listens, on this machine only.
    """
    root = repository_root()
    _require_free(port)
    secret = write_access(root / ACCESS_FILE, port)
    environment = _environment(root, port)
    servers = Children(root, environment, patience_s=_SERVER_PATIENCE_S)
    runners = Children(root, environment, patience_s=FLOW_PATIENCE_S)
    stopping = threading.Event()

    def pass_on(line: str) -> None:
        _log.log(logging.DEBUG if stopping.is_set() else logging.INFO, "%s", line)  # Prefect ends with a traceback

    with ThreadPoolExecutor(max_workers=2) as pool, contextlib.suppress(KeyboardInterrupt), interrupted_by_signals():
        try:
            _log.info("Starting the Prefect server on port %d; the first start takes longest.", port)
            server = pool.submit(servers.run, _server_command(port), on_line=_log.debug)
            _wait_for("The Prefect server", server, lambda: _ask(port, "/api/health") is True)
            begin = dt.datetime.now(dt.UTC)
            runner = pool.submit(runners.run, [sys.executable, "-m", "flows.deploy"], on_line=pass_on)
            _wait_for("The runner of the deployments", runner, lambda: _is_served(port, secret, begin))
            _say_what_next(port)
            wait((server, runner), return_when=FIRST_COMPLETED)
            _require_running("The Prefect server", server)
            _require_running("The runner of the deployments", runner)
        finally:
            with deaf_to_signals():
                stopping.set()
                _log.info("Stopping.")
                runners.stop()
                servers.stop()
                _log.info("The Prefect server and its runner are stopped.")


def write_access(path: Path, port: int) -> str:
    """Make the file at `path` hold the server's address and a secret for it; return the secret.

    A secret that stands there is kept, and so are all other lines.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    assignments = [_ASSIGNMENT.fullmatch(line) for line in lines]
    known = {match["key"]: match["value"] for match in assignments if match}
    secret = known.get(_SERVER_SECRET) or known.get(_CLIENT_SECRET) or f"hyperskin:{secrets.token_urlsafe(24)}"
    ours = {_SERVER_SECRET: secret, _CLIENT_SECRET: secret, _ADDRESS: f"http://{_HOST}:{port}/api"}
    others = [line for line, match in zip(lines, assignments, strict=True) if match is None or match["key"] not in ours]
    write_text(path, "\n".join([*others, *(f"{key}={value}" for key, value in ours.items())]) + "\n")
    return secret.strip("\"'")


def _environment(root: Path, port: int) -> dict[str, str]:
    environment = child_environment(
        root,
        {
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": own_origins(port),
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        },
    )
    address = environment.get(_ADDRESS)
    if address:
        _log.warning("In this shell %s is %s, so `prefect` goes there and not to this server.", _ADDRESS, address)
    for name in (_SERVER_SECRET, _CLIENT_SECRET, _ADDRESS):
        environment.pop(name, None)  # the access file has the word
    return environment


def _server_command(port: int) -> list[str]:
    return [sys.executable, "-m", "prefect", "server", "start", "--host", _HOST, "--port", str(port)]


def _require_free(port: int) -> None:
    if not 0 < port < 1 << 16:
        raise ServiceError(f"`port` must lie between 1 and 65535; got {port}.")
    if _can_bind(port):
        return
    holder = "a Prefect server" if _ask(port, "/api/health") is True else "another program"
    other = next((free for free in range(port + 1, min(port + 100, 1 << 16)) if _can_bind(free)), None)
    advice = f", or run `hyperskin up --port {other}`" if other else ""
    raise ServiceError(f"Port {port} must be free for the Prefect server; {holder} listens there: stop it{advice}.")


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed a moment ago is free
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _wait_for(what: str, running: _Running, is_ready: Callable[[], bool]) -> None:
    begin = time.monotonic()
    said_s = 0.0
    while not is_ready():
        _require_running(what, running)
        elapsed_s = time.monotonic() - begin
        if elapsed_s > _START_UP_S:
            raise ServiceError(
                f"{what} must be ready within {_START_UP_S:.0f} s; it is not: is the machine overloaded?"
            )
        if elapsed_s - said_s > _SAY_EVERY_S:
            said_s = elapsed_s
            _log.info("%s is starting, %.0f s", what, elapsed_s)
        time.sleep(_POLL_S)


def _require_running(what: str, running: _Running) -> None:
    if not running.done():
        return
    try:
        said = running.result()
    except ServiceError as error:
        reason = str(error)
    else:
        reason = said[-1] if said else "it said nothing"
    raise ServiceError(f"{what} must keep running; it ended: {reason}")


def _is_served(port: int, secret: str, since: dt.datetime) -> bool:
    """Return whether a runner has asked the server for work on the deployment after `since`."""
    credentials = base64.b64encode(secret.encode()).decode()
    path = f"/api/deployments/name/{_DEPLOYMENT}/{_DEPLOYMENT}"
    deployment = _ask(port, path, {"Authorization": f"Basic {credentials}"})
    asked = deployment.get("last_polled") if isinstance(deployment, dict) else None
    return asked is not None and dt.datetime.fromisoformat(asked) > since


def _ask(port: int, path: str, headers: Mapping[str, str] | None = None) -> Any:
    """Return the server's answer, or None where there is no good one."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _say_what_next(port: int) -> None:
    _log.info(
        "\nPrefect is up. In another terminal, in this folder:\n"
        "    prefect deployment run %s --watch\n"
        "Its page is http://%s:%d, for this machine only; the password it asks for is %s in the file %s.\n"
        "Ctrl-C stops it.\n",
        _DEPLOYMENT,
        _HOST,
        port,
        _CLIENT_SECRET,
        ACCESS_FILE,
    )
