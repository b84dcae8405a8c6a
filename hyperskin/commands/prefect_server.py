"""The Prefect server of this machine: its port, its secret, its start, and what it answers; not what runs on it."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import json
import logging
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hyperskin.atomic import write_text
from hyperskin.environment import child_environment, own_origins
from hyperskin.errors import ServiceError

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
ACCESS_FILE = ".env"  # Prefect reads it from the working folder, so that no command needs an export
CLIENT_SECRET = "PREFECT_API_AUTH_STRING"  # noqa: S105 - the name of a setting
_SERVER_SECRET = "PREFECT_SERVER_API_AUTH_STRING"  # noqa: S105 - the name of a setting
_ADDRESS = "PREFECT_API_URL"
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<key>\w+)\s*=\s*(?P<value>.*?)\s*")

_START_UP_S = 300.0  # 12 s on an idle machine, a minute on a busy small one; the first start makes a database
_SAY_EVERY_S = 10.0
_POLL_S = 0.5
_ANSWER_S = 5.0

Running = Future[list[str]]


def write_access(path: Path, port: int) -> str:
    """Make the file at `path` hold the server's address and a secret for it; return the secret.

    A secret that stands there is kept, and so are all other lines.
    """
    lines = path.read_text().splitlines() if path.exists() else []
    assignments = [_ASSIGNMENT.fullmatch(line) for line in lines]
    known = {match["key"]: match["value"] for match in assignments if match}
    secret = known.get(_SERVER_SECRET) or known.get(CLIENT_SECRET) or f"hyperskin:{secrets.token_urlsafe(24)}"
    ours = {_SERVER_SECRET: secret, CLIENT_SECRET: secret, _ADDRESS: f"http://{HOST}:{port}/api"}
    others = [line for line, match in zip(lines, assignments, strict=True) if match is None or match["key"] not in ours]
    write_text(path, "\n".join([*others, *(f"{key}={value}" for key, value in ours.items())]) + "\n")
    return secret.strip("\"'")


def server_environment(root: Path, port: int) -> dict[str, str]:
    """Return the environment of the server and of all that talks to it; its own database it may have elsewhere."""
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
    for name in (_SERVER_SECRET, CLIENT_SECRET, _ADDRESS):
        environment.pop(name, None)  # the access file has the word
    return environment


def server_command(port: int) -> list[str]:
    """Return the command that runs the server."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]


def require_free(port: int) -> None:
    """Refuse a port that somebody listens on, and name one that is free."""
    if not 0 < port < 1 << 16:
        raise ServiceError(f"`port` must lie between 1 and 65535; got {port}.")
    if can_bind(port):
        return
    holder = "a Prefect server" if ask(port, "/api/health") is True else "another program"
    other = next((free for free in range(port + 1, min(port + 100, 1 << 16)) if can_bind(free)), None)
    advice = f", or run `hyperskin up --port {other}`" if other else ""
    raise ServiceError(f"Port {port} must be free for the Prefect server; {holder} listens there: stop it{advice}.")


def can_bind(port: int) -> bool:
    """Return whether nobody listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed a moment ago is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def wait_for(what: str, running: Running, is_ready: Callable[[], bool]) -> None:
    """Wait until a process that runs is ready, and say now and then that it takes its time.

    Raises:
        ServiceError: It ended, or is not ready after minutes.
    """
    begin = time.monotonic()
    said_s = 0.0
    while not is_ready():
        require_running(what, running)
        elapsed_s = time.monotonic() - begin
        if elapsed_s > _START_UP_S:
            raise ServiceError(
                f"{what} must be ready within {_START_UP_S:.0f} s; it is not: is the machine overloaded?"
            )
        if elapsed_s - said_s > _SAY_EVERY_S:
            said_s = elapsed_s
            _log.info("%s is starting, %.0f s", what, elapsed_s)
        time.sleep(_POLL_S)


def require_running(what: str, running: Running) -> None:
    """Raise with a process's last words if it ended."""
    if not running.done():
        return
    try:
        said = running.result()
    except ServiceError as error:
        reason = str(error)
    else:
        reason = said[-1] if said else "it said nothing"
    raise ServiceError(f"{what} must keep running; it ended: {reason}")


def is_served(port: int, secret: str, deployment: str, since: dt.datetime) -> bool:
    """Return whether a runner has asked the server for work on a deployment after `since`."""
    credentials = base64.b64encode(secret.encode()).decode()
    path = f"/api/deployments/name/{deployment}/{deployment}"
    known = ask(port, path, {"Authorization": f"Basic {credentials}"})
    asked = known.get("last_polled") if isinstance(known, dict) else None
    return asked is not None and dt.datetime.fromisoformat(asked) > since


def ask(port: int, path: str, headers: Mapping[str, str] | None = None) -> Any:
    """Return the server's answer, or None where there is no good one."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
