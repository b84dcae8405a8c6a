"""`hyperskin up`: the Prefect server, for this machine alone, and who runs its deployments, until Ctrl-C."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import platform
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from hyperskin.commands.prefect_server import (
    ACCESS_FILE,
    CLIENT_SECRET,
    HOST,
    Running,
    ask,
    is_served,
    require_free,
    require_running,
    server_command,
    server_environment,
    wait_for,
    write_access,
)
from hyperskin.environment import (
    PREFECT_PORT,
    child_environment,
    prefect_address,
    repository_root,
    shared_database,
)
from hyperskin.errors import ServiceError
from hyperskin.params import FILE_NAME, Params
from hyperskin.processes import FLOW_PATIENCE_S, Children, deaf_to_signals, interrupted_by_signals

_log = logging.getLogger(__name__)

WORKERS_READY = "The workers are up."
"""The line by which the workers of a machine tell that they ask for work."""

_DEPLOYMENT = "train-all"
_SERVER_PATIENCE_S = (10.0, 5.0)  # a server first answers whoever it is talking to


def up(*, port: int = PREFECT_PORT, join: bool = False) -> None:
    """Start the Prefect server and serve the deployments; stay until Ctrl-C.

    With `execution.training: workers` in params.yaml it starts workers instead: one for flows that wait, and one per
    GPU that trains. Other machines join with `--join`.

    Args:
        port: Where the server listens, on this machine only.
        join: Start only workers that train, for the server that PREFECT_API_URL names.
    """
    root = repository_root()
    if join:
        _join()
        return
    require_free(port)
    on_workers = Params.read(root / FILE_NAME).execution.training == "workers"
    secret = write_access(root / ACCESS_FILE, port)
    environment = server_environment(root, port)
    servers = Children(root, environment, patience_s=_SERVER_PATIENCE_S)
    runners = Children(root, environment, patience_s=FLOW_PATIENCE_S)
    stopping, asking = threading.Event(), threading.Event()

    with ThreadPoolExecutor(max_workers=2) as pool, contextlib.suppress(KeyboardInterrupt), interrupted_by_signals():
        try:
            _log.info("Starting the Prefect server on port %d; the first start takes longest.", port)
            server = _start_server(pool, servers, port)
            begin = dt.datetime.now(dt.UTC)
            who = "The keeper of the workers" if on_workers else "The runner of the deployments"
            command = [sys.executable, "-m", "flows.work" if on_workers else "flows.deploy"]
            runner = pool.submit(runners.run, command, on_line=_pass_on(stopping, asking))
            wait_for(who, runner, asking.is_set if on_workers else lambda: is_served(port, secret, _DEPLOYMENT, begin))
            _say_what_next(port)
            if on_workers:
                _say_how_to_join(port)
            while not runner.done():  # without its server a flow goes on, so that it may be gone for a while
                wait((server, runner), return_when=FIRST_COMPLETED)
                if not runner.done():
                    _log.warning("The Prefect server ended (%s); it is started again.", server.exception() or "no word")
                    server = _start_server(pool, servers, port)
            require_running(who, runner)
        finally:
            with deaf_to_signals():
                stopping.set()
                _log.info("Stopping.")
                runners.stop()
                servers.stop()
                _log.info("The Prefect server and its %s are stopped.", "workers" if on_workers else "runner")


def _start_server(pool: ThreadPoolExecutor, servers: Children, port: int) -> Running:
    server = pool.submit(servers.run, server_command(port), on_line=_log.debug)
    wait_for("The Prefect server", server, lambda: ask(port, "/api/health") is True)
    return server


def _join() -> None:
    """Start the workers of this machine for a server elsewhere; stay until Ctrl-C."""
    root = repository_root()
    address, database = prefect_address(), shared_database()
    if not address:
        raise ServiceError(
            "`PREFECT_API_URL` must name the Prefect server that this machine joins; it is unset: set it as "
            "`hyperskin up` says there."
        )
    if not database:
        raise ServiceError(
            "`HYPERSKIN_DATABASE` must name the database that all machines share, or one would take the trainings of "
            "another for dead; it is unset: set it to postgresql+psycopg://USER@HOST:PORT/DATABASE on all of them."
        )
    stopping, asking = threading.Event(), threading.Event()
    children = Children(root, child_environment(root), patience_s=FLOW_PATIENCE_S)
    with contextlib.suppress(KeyboardInterrupt), interrupted_by_signals():
        try:
            _log.info("Joining the Prefect server at %s; Ctrl-C ends the workers of this machine.", address)
            children.run([sys.executable, "-m", "flows.work", "--join"], on_line=_pass_on(stopping, asking))
        finally:
            with deaf_to_signals():
                stopping.set()
                children.stop()
                _log.info("The workers are stopped.")


def _pass_on(stopping: threading.Event, asking: threading.Event) -> Callable[[str], None]:
    def pass_on(line: str) -> None:
        if line == WORKERS_READY:
            asking.set()
        _log.log(logging.DEBUG if stopping.is_set() else logging.INFO, "%s", line)  # Prefect ends with a traceback

    return pass_on


def _say_what_next(port: int) -> None:
    _log.info(
        "\nPrefect is up. In another terminal, in this folder:\n"
        "    prefect deployment run %s --watch\n"
        "Its page is http://%s:%d, for this machine only; the password it asks for is %s in the file %s.\n"
        "Ctrl-C stops it.\n",
        _DEPLOYMENT,
        HOST,
        port,
        CLIENT_SECRET,
        ACCESS_FILE,
    )


def _say_how_to_join(port: int) -> None:
    _log.info(
        "Another machine joins in its own copy of this folder, with the same code, params.yaml and data, and mlruns on "
        "a disk that both see:\n"
        "    ssh -N -L %d:%s:%d %s &\n"
        "    export PREFECT_API_URL=http://%s:%d/api %s=...  # the password, as in the file %s here\n"
        "    export HYPERSKIN_DATABASE=... MLFLOW_TRACKING_URI=...  # the same as here\n"
        "    hyperskin up --join\n",
        port,
        HOST,
        port,
        platform.node(),
        HOST,
        port,
        CLIENT_SECRET,
        ACCESS_FILE,
    )
